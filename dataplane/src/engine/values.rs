//! Values of payload fields that put points in order or are counted.

use serde_json::Value;
use uuid::Uuid;

use crate::model::{FacetValue, FacetValues, OrderValue, OrderedValues, Payload};

use super::error::EngineError;
use super::filter::datetime;
use super::path::Path;
use super::payload;

/// Calls `each` with every value at the path; arrays count as their elements.
fn each_value(path: &Path, payload: &Payload, each: &mut dyn FnMut(&Value)) {
    path.any(payload, &mut |value| {
        match value {
            Value::Array(items) => items.iter().for_each(&mut *each),
            single => each(single),
        }
        false
    });
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Payload, EngineError> {
    payload::decode_keys(bytes, std::slice::from_ref(&path.first))
}

/// The different values of a payload that can be put in order, ascending.
///
/// # Errors
/// A payload that does not decode.
pub(crate) fn ordered(
    path: &Path,
    bytes: &[u8],
    wanted: OrderedValues,
) -> Result<Vec<OrderValue>, EngineError> {
    let mut found = Vec::new();
    each_value(path, &decode(path, bytes)?, &mut |value| {
        found.extend(match wanted {
            OrderedValues::Integers => value.as_i64().map(OrderValue::Int),
            OrderedValues::Numbers => value.as_f64().map(OrderValue::Float),
            OrderedValues::Dates => value
                .as_str()
                .and_then(datetime::parse)
                .map(OrderValue::Int),
        });
    });
    found.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    found.dedup();
    Ok(found)
}

/// The different values of a payload that are counted.
///
/// # Errors
/// A payload that does not decode.
pub(crate) fn counted(
    path: &Path,
    bytes: &[u8],
    wanted: FacetValues,
) -> Result<Vec<FacetValue>, EngineError> {
    let mut found = Vec::new();
    each_value(path, &decode(path, bytes)?, &mut |value| {
        found.extend(match wanted {
            FacetValues::Texts | FacetValues::Uuids => {
                value.as_str().and_then(|text| counted_text(text, wanted))
            }
            FacetValues::Integers => value.as_i64().map(FacetValue::Int),
            FacetValues::Bools => value.as_bool().map(FacetValue::Bool),
        });
    });
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// As what a text is counted.
pub(crate) fn counted_text(text: &str, wanted: FacetValues) -> Option<FacetValue> {
    let text = match wanted {
        FacetValues::Uuids => Uuid::try_parse(text).ok()?.hyphenated().to_string(),
        _ => text.to_owned(),
    };
    Some(FacetValue::Text(text))
}
