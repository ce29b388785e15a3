//! The JSON of Qdrant's REST API and its way into [`crate::model`]. Parsing is typed and strict; a field that Brainy cannot
//! honour is parsed only as far as to say so.

pub(crate) mod collection;
mod document;
pub(crate) mod filter;
mod geo;
pub(crate) mod index;
mod numbers;
pub(crate) mod points;
mod prefetch;
pub(crate) mod query;
pub(crate) mod records;
mod schema;
pub(crate) mod select;
pub(crate) mod vector;

use serde::de::IgnoredAny;

use crate::engine::path::Path;
use crate::error::ServiceError;

/// Whether a field was given (and not null), whatever it held.
pub(crate) type Given = Option<IgnoredAny>;

/// Refuses the first of `fields` that was given.
pub(crate) fn refuse(fields: &[(&str, bool)]) -> Result<(), ServiceError> {
    match fields.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(ServiceError::Unsupported((*name).to_owned())),
        None => Ok(()),
    }
}

/// `BadRequest` unless `value` is from `min` to `max`.
pub(crate) fn in_range(
    field: &str,
    value: usize,
    min: usize,
    max: usize,
) -> Result<(), ServiceError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ServiceError::BadRequest(format!(
        "{field} is {value}, it must be from {min} to {max}"
    )))
}

/// `BadRequest` if there are more than `max`.
pub(crate) fn at_most(field: &str, count: usize, max: usize) -> Result<(), ServiceError> {
    if count <= max {
        return Ok(());
    }
    Err(ServiceError::BadRequest(format!(
        "{field} has {count} entries, at most {max} are allowed in one request"
    )))
}

/// `BadRequest` unless all of `paths` can be read as paths into a payload.
pub(crate) fn check_paths<'a>(
    field: &str,
    paths: impl IntoIterator<Item = &'a String>,
) -> Result<(), ServiceError> {
    for path in paths {
        Path::parse(path).map_err(|e| ServiceError::BadRequest(format!("{field}: {e}")))?;
    }
    Ok(())
}
