//! Payloads as stored bytes (MessagePack), read whole or only where a filter looks, and cut to what a request wants back.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::model::{Payload, PayloadSelector};

use super::error::EngineError;
use super::path::{Path, Step};

/// Encodes a payload.
///
/// # Errors
/// [`EngineError::Encode`].
pub fn encode(payload: &Payload) -> Result<Vec<u8>, EngineError> {
    rmp_serde::to_vec(payload).map_err(|e| EngineError::Encode {
        what: "payload",
        reason: e.to_string(),
    })
}

/// Decodes a payload.
///
/// # Errors
/// [`EngineError::Decode`].
pub fn decode(bytes: &[u8]) -> Result<Payload, EngineError> {
    rmp_serde::from_slice(bytes).map_err(|e| decode_error(&e))
}

/// Decodes only the top-level `keys` of a payload; the rest is skipped without being built.
///
/// # Errors
/// [`EngineError::Decode`].
pub fn decode_keys(bytes: &[u8], keys: &[String]) -> Result<Payload, EngineError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    Keys(keys)
        .deserialize(&mut deserializer)
        .map_err(|e| decode_error(&e))
}

fn decode_error(e: &rmp_serde::decode::Error) -> EngineError {
    EngineError::Decode {
        what: "payload",
        reason: e.to_string(),
    }
}

struct Keys<'k>(&'k [String]);

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = Payload;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Payload, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = Payload;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a payload")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload, A::Error> {
        let mut payload = Payload::new();
        while let Some(key) = map.next_key::<&str>()? {
            if self.0.iter().any(|wanted| wanted == key) {
                let value: Value = map.next_value()?;
                payload.insert(key.to_owned(), value);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(payload)
    }
}

/// A [`PayloadSelector`] whose paths are parsed.
#[derive(Clone, Debug)]
pub enum Selection {
    /// No payload at all.
    None,
    /// The whole payload.
    All,
    /// Only what these paths lead to.
    Include(Vec<Path>),
    /// All but what these paths lead to.
    Exclude(Vec<Path>),
}

impl Selection {
    /// Parses the paths of a selector.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a path that cannot be read.
    pub fn new(selector: &PayloadSelector) -> Result<Self, EngineError> {
        let parse = |paths: &[String]| {
            paths
                .iter()
                .map(|p| Path::parse(p))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(match selector {
            PayloadSelector::None => Self::None,
            PayloadSelector::All => Self::All,
            PayloadSelector::Include(paths) => Self::Include(parse(paths)?),
            PayloadSelector::Exclude(paths) => Self::Exclude(parse(paths)?),
        })
    }

    /// Whether any payload is wanted.
    #[must_use]
    pub fn wants_any(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// What is left of a payload.
    #[must_use]
    pub fn apply(&self, payload: Payload) -> Option<Payload> {
        match self {
            Self::None => None,
            Self::All => Some(payload),
            Self::Include(paths) => Some(keep_keys(payload, &top(paths))),
            Self::Exclude(paths) => Some(drop_keys(payload, &top(paths))),
        }
    }
}

/// What is left of the paths under each key of a payload.
type Tails<'s> = Vec<(&'s str, &'s [Step])>;

fn top(paths: &[Path]) -> Tails<'_> {
    paths
        .iter()
        .map(|path| (path.first.as_str(), path.rest.as_slice()))
        .collect()
}

/// The members that a path leads to or through.
fn keep_keys(map: Payload, paths: &Tails<'_>) -> Payload {
    map.into_iter()
        .filter_map(|(key, value)| {
            let below = below(paths, &key);
            (!below.is_empty()).then(|| {
                let kept = keep(value, &below);
                (key, kept)
            })
        })
        .collect()
}

/// The part of `value` that `tails` lead to. As in Qdrant, a value that ends on the way is kept, of lists `[]` selects every
/// element, and `[0]` none.
fn keep(value: Value, tails: &[&[Step]]) -> Value {
    if tails.iter().any(|tail| tail.is_empty()) {
        return value;
    }
    match value {
        Value::Object(map) => Value::Object(keep_keys(map, &by_key(tails))),
        Value::Array(items) => {
            let each = in_each(tails);
            if each.is_empty() {
                return Value::Array(Vec::new());
            }
            Value::Array(items.into_iter().map(|item| keep(item, &each)).collect())
        }
        scalar => scalar,
    }
}

/// All members but what the paths lead to.
fn drop_keys(map: Payload, paths: &Tails<'_>) -> Payload {
    map.into_iter()
        .filter_map(|(key, value)| {
            let below = below(paths, &key);
            let gone = below.iter().any(|tail| tail.is_empty());
            (!gone).then(|| {
                let left = drop_below(value, &below);
                (key, left)
            })
        })
        .collect()
}

/// What is left of `value`; `[]` empties a list, `[0]` changes nothing, as in Qdrant.
fn drop_below(value: Value, tails: &[&[Step]]) -> Value {
    match value {
        Value::Object(map) => Value::Object(drop_keys(map, &by_key(tails))),
        Value::Array(items) => {
            let each = in_each(tails);
            if each.iter().any(|tail| tail.is_empty()) {
                return Value::Array(Vec::new());
            }
            Value::Array(
                items
                    .into_iter()
                    .map(|item| drop_below(item, &each))
                    .collect(),
            )
        }
        scalar => scalar,
    }
}

fn below<'s>(paths: &Tails<'s>, key: &str) -> Vec<&'s [Step]> {
    paths
        .iter()
        .filter(|(first, _)| *first == key)
        .map(|(_, rest)| *rest)
        .collect()
}

fn by_key<'s>(tails: &[&'s [Step]]) -> Tails<'s> {
    tails
        .iter()
        .filter_map(|tail| match tail.split_first() {
            Some((Step::Key(key), rest)) => Some((key.as_str(), rest)),
            _ => None,
        })
        .collect()
}

fn in_each<'s>(tails: &[&'s [Step]]) -> Vec<&'s [Step]> {
    tails
        .iter()
        .filter_map(|tail| match tail.split_first() {
            Some((Step::Each, rest)) => Some(rest),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Payload {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn payloads_survive_encoding_whole_and_in_part() {
        let payload = map(json!({
            "int": -7, "big": u64::MAX, "float": 1.0, "text": "ü", "null": null, "yes": true,
            "list": [1, "two", [3.5], {}], "deep": {"a": {"b": []}}
        }));
        let bytes = encode(&payload).unwrap();
        assert_eq!(decode(&bytes).unwrap(), payload);
        let part = decode_keys(&bytes, &["deep".into(), "int".into(), "absent".into()]).unwrap();
        assert_eq!(
            Value::Object(part),
            json!({"int": -7, "deep": {"a": {"b": []}}})
        );
    }

    #[test]
    fn damaged_payloads_are_errors() {
        let bytes = encode(&map(json!({"a": [1, 2, 3]}))).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err());
            assert!(decode_keys(&bytes[..cut], &["a".into()]).is_err());
        }
    }

    #[test]
    fn selections_cut_payloads() {
        let payload = json!({"a": {"b": 1, "c": [ {"d": 1, "e": 2}, {"d": 3} ]}, "f": 4});
        let include =
            |paths: &[&str]| PayloadSelector::Include(paths.iter().map(|p| (*p).into()).collect());
        let exclude =
            |paths: &[&str]| PayloadSelector::Exclude(paths.iter().map(|p| (*p).into()).collect());
        let cases = [
            (PayloadSelector::None, None),
            (PayloadSelector::All, Some(payload.clone())),
            (include(&["f"]), Some(json!({"f": 4}))),
            (include(&["a.b", "f"]), Some(json!({"a": {"b": 1}, "f": 4}))),
            (
                include(&["a.c[].d"]),
                Some(json!({"a": {"c": [{"d": 1}, {"d": 3}]}})),
            ),
            (include(&["a.c[1]"]), Some(json!({"a": {"c": []}}))),
            (
                include(&["a.c[].nope"]),
                Some(json!({"a": {"c": [{}, {}]}})),
            ),
            (include(&["nope", "f.g"]), Some(json!({"f": 4}))),
            (exclude(&["a"]), Some(json!({"f": 4}))),
            (
                exclude(&["a.c", "nope"]),
                Some(json!({"a": {"b": 1}, "f": 4})),
            ),
            (
                exclude(&["a.b", "a.c[].e", "f.g"]),
                Some(json!({"a": {"c": [{"d": 1}, {"d": 3}]}, "f": 4})),
            ),
            (
                exclude(&["a.c[]"]),
                Some(json!({"a": {"b": 1, "c": []}, "f": 4})),
            ),
            (exclude(&["a.c[0]"]), Some(payload.clone())),
        ];
        for (selector, expected) in cases {
            let got = Selection::new(&selector)
                .unwrap()
                .apply(map(payload.clone()));
            assert_eq!(got.map(Value::Object), expected, "{selector:?}");
        }
        assert!(Selection::new(&include(&["a["])).is_err());
    }
}
