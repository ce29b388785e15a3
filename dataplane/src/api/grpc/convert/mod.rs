//! Messages into the requests that JSON becomes, and answers into messages. Messages are taken apart field by field, so that
//! the compiler names every place that has to know of a new one.

pub(super) mod answers;
pub(super) mod examples;
pub(super) mod filter;
pub(super) mod formula;
pub(super) mod groups;
pub(super) mod indexes;
pub(super) mod info;
pub(super) mod json;
pub(super) mod order;
pub(super) mod parameters;
pub(super) mod queries;
pub(super) mod reads;
pub(super) mod select;
pub(super) mod shards;
pub(super) mod update;
pub(super) mod vectors;
pub(super) mod writes;

use crate::api::dto::{Anything, Given};
use crate::error::ServiceError;

/// Whether a field is there that is looked at only to be refused.
fn given<T>(field: &Option<T>) -> Given {
    field.as_ref().map(|_| Anything::default())
}

fn bad(text: impl Into<String>) -> ServiceError {
    ServiceError::BadRequest(text.into())
}

/// What has to be there.
fn needed<T>(name: &str, field: Option<T>) -> Result<T, ServiceError> {
    field.ok_or_else(|| bad(format!("'{name}' is missing")))
}

/// A count; beyond the address space it is over every limit anyway.
fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A field of an enumeration whose number this version does not know.
fn unknown(name: &str, number: i32) -> ServiceError {
    bad(format!("'{name}' has no value {number}"))
}
