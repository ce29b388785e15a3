//! The table of routes. Each line makes a route of the router and an operation of the OpenAPI document, so that neither can be
//! without the other.
//!
//! # How to add a route
//! - The handler takes any of [`Call`](super::extract::Call), [`Path`](super::extract::Path), [`Body`](super::body::Body) and
//!   [`OptionalBody`](super::body::OptionalBody), and returns [`Answer<T>`](super::errors::Answer) by
//!   [`Call::ok`](super::extract::Call::ok) (`T` in Qdrant's envelope), a [`Document`](super::extract::Document) (JSON without
//!   envelope), a [`Text`](super::describe::Text) or [`Octets`](super::describe::Octets).
//! - The types of body and answer derive [`schemars::JsonSchema`] beside their serde traits; where serde is written by hand, the
//!   schema is too, in `dto/schemas.rs`. Doc comments of types and fields become descriptions.
//! - Its line in the module's `routes()` gives an operation id (Qdrant's, where Qdrant has the operation), the path and one
//!   sentence on what it does. Names in the path are explained in `openapi.rs`.
//! - `make openapi` writes `docs/reference/openapi.json` anew.

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::AppState;
use super::describe::{Described, Schemas, Signature};
use super::guard::{self, Class};

/// An operation as the document needs it.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    /// In lower case.
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// What it is listed under.
    pub(super) tag: &'static str,
    /// Open to everybody without.
    pub(super) class: Option<Class>,
    /// What the handler takes and answers.
    pub(super) signature: fn(&mut Schemas) -> Signature,
}

/// Routes with their documentation.
pub(super) struct Routes {
    tag: &'static str,
    class: Option<Class>,
    entries: Vec<(Operation, MethodRouter<AppState>)>,
}

impl Routes {
    /// Routes behind the guard, listed under `tag`.
    pub(super) fn new(tag: &'static str, class: Class) -> Self {
        Self {
            tag,
            class: Some(class),
            entries: Vec::new(),
        }
    }

    /// Routes that need no key and have no parameters.
    pub(super) fn open(tag: &'static str) -> Self {
        Self {
            tag,
            class: None,
            entries: Vec::new(),
        }
    }

    /// These and `other`.
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self
    }

    /// The operations, in the order of the table.
    pub(super) fn operations(&self) -> impl Iterator<Item = Operation> {
        self.entries.iter().map(|(operation, _)| *operation)
    }

    /// The router.
    pub(super) fn into_router(self, state: &AppState) -> Router<AppState> {
        let routes = self.entries.into_iter();
        routes.fold(Router::new(), |router, (operation, methods)| {
            let methods = match operation.class {
                Some(class) => {
                    let guarded = (state.clone(), class);
                    methods.route_layer(from_fn_with_state(guarded, guard::guard))
                }
                None => methods,
            };
            router.route(operation.path, methods)
        })
    }

    fn add<H, T>(
        mut self,
        (filter, method): (MethodFilter, &'static str),
        id: &'static str,
        path: &'static str,
        handler: H,
        summary: &'static str,
    ) -> Self
    where
        H: Handler<T, AppState> + Described<T>,
        T: 'static,
    {
        let operation = Operation {
            method,
            path,
            id,
            summary,
            tag: self.tag,
            class: self.class,
            signature: <H as Described<T>>::describe,
        };
        self.entries.push((operation, on(filter, handler)));
        self
    }
}

macro_rules! methods {
    ($($name:ident $filter:ident $text:literal),+) => {
        impl Routes {$(
            #[allow(dead_code, reason = "not every method has a route now")]
            #[doc = concat!("Adds a route for ", $text, ": operation id, path, handler, what it does.")]
            pub(super) fn $name<H, T>(
                self,
                id: &'static str,
                path: &'static str,
                handler: H,
                summary: &'static str,
            ) -> Self
            where
                H: Handler<T, AppState> + Described<T>,
                T: 'static,
            {
                self.add((MethodFilter::$filter, $text), id, path, handler, summary)
            }
        )+}
    };
}

methods!(get GET "get", put PUT "put", post POST "post", delete DELETE "delete", patch PATCH "patch");
