//! Who may do what: three keys, each allowing what the one before does and more.

use std::fmt;

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;

use super::errors::ApiError;
use crate::error::ServiceError;

/// What a key allows. Each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Read points and look at the node.
    Read,
    /// Change points.
    Write,
    /// Create and drop collections, rebalance, change the shared configuration.
    Admin,
}

/// The keys that open the API. Without any, everything is allowed.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<(Access, String)>);

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(access, _)| access))
            .finish()
    }
}

impl ApiKeys {
    /// Keys for the three levels of access.
    ///
    /// # Errors
    /// `BadRequest` for a key that is empty, not printable ASCII, or equal to another: an empty setting must not silently
    /// leave the API open, and a shared key would have an access that nobody chose.
    pub fn new(
        admin: Option<String>,
        read_write: Option<String>,
        read_only: Option<String>,
    ) -> Result<Self, ServiceError> {
        let mut keys: Vec<(Access, String)> = Vec::new();
        let given = [
            (Access::Admin, "admin", admin),
            (Access::Write, "read-write", read_write),
            (Access::Read, "read-only", read_only),
        ];
        for (access, name, key) in given {
            let Some(key) = key else { continue };
            let wrong = |rule| ServiceError::BadRequest(format!("the {name} API key {rule}"));
            if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(wrong(
                    "must be one or more printable ASCII characters without spaces",
                ));
            }
            if keys.iter().any(|(_, other)| *other == key) {
                return Err(wrong("is the same as another one: use different keys"));
            }
            keys.push((access, key));
        }
        Ok(Self(keys))
    }

    /// Whether everything is allowed to everybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks the key in `api-key` or `Authorization: Bearer`. Time does not depend on how much of a key is right, only
    /// on its length.
    pub(super) fn check(&self, headers: &HeaderMap, needed: Access) -> Result<(), ApiError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let Some(presented) = presented(headers) else {
            return Err(ApiError::unauthorized(
                "an API key is needed, in header 'api-key' or as 'Authorization: Bearer <key>'",
            ));
        };
        let mut granted = None;
        for (access, key) in &self.0 {
            if bool::from(key.as_bytes().ct_eq(presented)) {
                granted = Some(*access);
            }
        }
        match granted {
            None => Err(ApiError::unauthorized("the API key is not known here")),
            Some(access) if access < needed => Err(ApiError::forbidden(match needed {
                Access::Admin => "this needs the admin API key",
                Access::Write | Access::Read => "this needs the read-write or the admin API key",
            })),
            Some(_) => Ok(()),
        }
    }
}

fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("api-key") {
        return Some(key.as_bytes());
    }
    let (scheme, key) = headers
        .get(header::AUTHORIZATION)?
        .as_bytes()
        .split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| key.trim_ascii())
}
