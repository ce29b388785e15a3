//! What a handler takes and answers, read from its signature: so the document cannot say anything else.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};

use super::body::{Body, OptionalBody};
use super::extract::{Call, Document, Path, Reply, envelope_schema};

/// Media type of JSON.
pub(super) const JSON: &str = "application/json";

/// Collects schemas: those of requests and those of answers, which differ where defaults may be left out.
pub(super) struct Schemas {
    /// Of what clients send.
    pub(super) taken: SchemaGenerator,
    /// Of what the server answers.
    pub(super) given: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|s| {
                s.definitions_path = "/components/schemas".into();
                s.meta_schema = None;
            })
        };
        Self {
            taken: settings().for_deserialize().into_generator(),
            given: settings().for_serialize().into_generator(),
        }
    }
}

/// A body: media type and schema.
pub(super) struct Content {
    pub(super) media: &'static str,
    pub(super) schema: Schema,
}

impl Content {
    fn json(schema: Schema) -> Self {
        Self {
            media: JSON,
            schema,
        }
    }
}

/// What an operation takes and answers.
#[derive(Default)]
pub(super) struct Signature {
    /// The body of requests, and whether they need one.
    pub(super) takes: Option<(Content, bool)>,
    /// The body of successful answers.
    pub(super) gives: Option<Content>,
}

/// A parameter of a handler.
pub(super) trait Taken {
    fn describe(_: &mut Signature, _: &mut Schemas) {}
}

impl Taken for Call {}
impl<T> Taken for Path<T> {}
impl<S> Taken for State<S> {}

impl<T: JsonSchema> Taken for Body<T> {
    fn describe(signature: &mut Signature, schemas: &mut Schemas) {
        let schema = schemas.taken.subschema_for::<T>();
        signature.takes = Some((Content::json(schema), true));
    }
}

impl<T: JsonSchema> Taken for OptionalBody<T> {
    fn describe(signature: &mut Signature, schemas: &mut Schemas) {
        let schema = schemas.taken.subschema_for::<T>();
        signature.takes = Some((Content::json(schema), false));
    }
}

/// A body that the handler reads by itself, as it arrives.
impl Taken for Request {
    fn describe(signature: &mut Signature, _: &mut Schemas) {
        let content = Content {
            media: "application/octet-stream",
            schema: Schema::default(),
        };
        signature.takes = Some((content, true));
    }
}

/// What a handler answers if all goes well.
pub(super) trait Given {
    fn describe(schemas: &mut Schemas) -> Content;
}

impl<T: Given, E> Given for Result<T, E> {
    fn describe(schemas: &mut Schemas) -> Content {
        T::describe(schemas)
    }
}

impl<T: JsonSchema> Given for Reply<T> {
    fn describe(schemas: &mut Schemas) -> Content {
        let result = schemas.given.subschema_for::<T>();
        Content::json(envelope_schema(&result))
    }
}

impl<T: JsonSchema> Given for Document<T> {
    fn describe(schemas: &mut Schemas) -> Content {
        Content::json(schemas.given.subschema_for::<T>())
    }
}

macro_rules! raw {
    ($($(#[$doc:meta])* $name:ident: $media:literal)+) => {$(
        $(#[$doc])*
        #[allow(dead_code, reason = "not every media type has a route now")]
        pub(super) struct $name(pub(super) Response);

        impl IntoResponse for $name {
            fn into_response(self) -> Response {
                self.0
            }
        }

        impl Given for $name {
            fn describe(_: &mut Schemas) -> Content {
                Content {
                    media: $media,
                    schema: Schema::default(),
                }
            }
        }
    )+};
}

raw! {
    /// An answer that is plain text.
    Text: "text/plain"
    /// An answer that is metrics.
    OpenMetrics: "application/openmetrics-text"
    /// An answer that is a file.
    Octets: "application/octet-stream"
}

/// A handler whose parameters and answer are described; `T` is what axum calls its type.
pub(super) trait Described<T> {
    fn describe(schemas: &mut Schemas) -> Signature;
}

impl<F, Fut, R> Described<((),)> for F
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = R>,
    R: Given,
{
    fn describe(schemas: &mut Schemas) -> Signature {
        Signature {
            takes: None,
            gives: Some(R::describe(schemas)),
        }
    }
}

macro_rules! described {
    ($($parameter:ident),+) => {
        impl<F, Fut, R, M, $($parameter),+> Described<(M, $($parameter),+,)> for F
        where
            F: FnOnce($($parameter),+) -> Fut,
            Fut: Future<Output = R>,
            R: Given,
            $($parameter: Taken,)+
        {
            fn describe(schemas: &mut Schemas) -> Signature {
                let mut signature = Signature::default();
                $($parameter::describe(&mut signature, schemas);)+
                signature.gives = Some(R::describe(schemas));
                signature
            }
        }
    };
}

described!(A);
described!(A, B);
described!(A, B, C);
described!(A, B, C, D);
