//! Paths into payloads, as in Qdrant's public API: `a.b`, `a[].b` (every element), `a[0]` (one element), and quoted keys
//! for names that contain a separator: `"a.b".c`.

use serde_json::Value;

use crate::model::Payload;

use super::error::EngineError;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into an object.
    Key(String),
    /// Into every element of an array.
    Each,
    /// Into one element of an array.
    Index(usize),
}

/// A parsed path: a first key, then steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Key in the payload itself.
    pub first: String,
    /// What follows.
    pub rest: Vec<Step>,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for empty keys, unbalanced brackets or quotes.
    pub fn parse(text: &str) -> Result<Self, EngineError> {
        let bad = |reason: &str| {
            let shown: String = text.chars().take(64).collect();
            EngineError::invalid(format!("payload path '{shown}'"), reason)
        };
        let mut rest = text;
        let mut steps = Vec::new();
        loop {
            let (key, after) = if let Some(quoted) = rest.strip_prefix('"') {
                quoted
                    .split_once('"')
                    .ok_or_else(|| bad("a quote is not closed"))?
            } else {
                rest.split_at(rest.find(['.', '[', ']', '"']).unwrap_or(rest.len()))
            };
            if key.is_empty() {
                return Err(bad("it has an empty key"));
            }
            steps.push(Step::Key(key.to_owned()));
            rest = after;
            while let Some(bracket) = rest.strip_prefix('[') {
                let (inside, after) = bracket
                    .split_once(']')
                    .ok_or_else(|| bad("a bracket is not closed"))?;
                steps.push(if inside.is_empty() {
                    Step::Each
                } else {
                    Step::Index(
                        inside
                            .parse()
                            .map_err(|_| bad("brackets hold a number or nothing"))?,
                    )
                });
                rest = after;
            }
            if rest.is_empty() {
                break;
            }
            rest = rest
                .strip_prefix('.')
                .ok_or_else(|| bad("keys are separated by '.'"))?;
        }
        let mut steps = steps.into_iter();
        match steps.next() {
            Some(Step::Key(first)) => Ok(Self {
                first,
                rest: steps.collect(),
            }),
            _ => Err(bad("it has an empty key")),
        }
    }

    /// The path of what this path leads to inside the elements of an array.
    #[must_use]
    pub fn inside(&self, array: &Self) -> Self {
        let mut whole = array.clone();
        whole.rest.push(Step::Each);
        whole.rest.push(Step::Key(self.first.clone()));
        whole.rest.extend(self.rest.iter().cloned());
        whole
    }

    /// Calls `visit` for every value at the path until it answers true; whether it did.
    pub fn any<'v>(&self, payload: &'v Payload, visit: &mut dyn FnMut(&'v Value) -> bool) -> bool {
        payload
            .get(&self.first)
            .is_some_and(|value| any_at(value, &self.rest, visit))
    }

    /// Merges `source` into the object at the path, which is made where it is missing; what is in the way and no object is
    /// replaced. A null in `source` removes the key.
    pub fn merge(&self, payload: &mut Payload, source: &Payload) {
        let slot = payload.entry(self.first.as_str()).or_insert(Value::Null);
        merge_at(slot, &self.rest, source);
    }

    /// Removes what is at the path. At its end `[]` removes every element of a list and `[0]` none, as in Qdrant: the others
    /// would move, and a repeat would remove another.
    pub fn remove(&self, payload: &mut Payload) {
        if self.rest.is_empty() {
            payload.shift_remove(&self.first);
        } else if let Some(value) = payload.get_mut(&self.first) {
            remove_at(value, &self.rest);
        }
    }
}

fn any_at<'v>(value: &'v Value, steps: &[Step], visit: &mut dyn FnMut(&'v Value) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return visit(value);
    };
    match (step, value) {
        (Step::Key(key), Value::Object(map)) => {
            map.get(key).is_some_and(|v| any_at(v, rest, visit))
        }
        (Step::Each, Value::Array(items)) => items.iter().any(|v| any_at(v, rest, visit)),
        (Step::Index(i), Value::Array(items)) => {
            items.get(*i).is_some_and(|v| any_at(v, rest, visit))
        }
        _ => false,
    }
}

/// Merges top-level keys; null removes.
pub fn merge(target: &mut Payload, source: &Payload) {
    for (key, value) in source {
        if value.is_null() {
            target.shift_remove(key);
        } else {
            target.insert(key.clone(), value.clone());
        }
    }
}

fn merge_at(slot: &mut Value, steps: &[Step], source: &Payload) {
    match steps.split_first() {
        Some((Step::Each, rest)) => {
            if let Value::Array(items) = slot {
                items.iter_mut().for_each(|v| merge_at(v, rest, source));
            } else {
                *slot = Value::Array(Vec::new());
            }
        }
        Some((Step::Index(i), rest)) => {
            if let Value::Array(items) = slot {
                if let Some(item) = items.get_mut(*i) {
                    merge_at(item, rest, source);
                }
            } else {
                *slot = Value::Array(Vec::new());
            }
        }
        Some((Step::Key(key), rest)) => {
            merge_at(
                object(slot).entry(key.as_str()).or_insert(Value::Null),
                rest,
                source,
            );
        }
        None => merge(object(slot), source),
    }
}

/// The object in `slot`, put there if something else was.
fn object(slot: &mut Value) -> &mut Payload {
    if !slot.is_object() {
        *slot = Value::Object(Payload::new());
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("an object was just put there"),
    }
}

fn remove_at(value: &mut Value, steps: &[Step]) {
    match (steps, value) {
        ([Step::Key(key)], Value::Object(map)) => {
            map.shift_remove(key);
        }
        ([Step::Each], Value::Array(items)) => items.clear(),
        ([Step::Key(key), rest @ ..], Value::Object(map)) => {
            if let Some(v) = map.get_mut(key) {
                remove_at(v, rest);
            }
        }
        ([Step::Each, rest @ ..], Value::Array(items)) => {
            items.iter_mut().for_each(|v| remove_at(v, rest))
        }
        ([Step::Index(i), rest @ ..], Value::Array(items)) => {
            if let Some(v) = items.get_mut(*i) {
                remove_at(v, rest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Payload {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn paths_are_read_or_refused() {
        for good in [
            "a",
            "a.b",
            "a[].b",
            "a[0]",
            "a[][1].b",
            "\"a.b\".c",
            "a b.c-d_1",
            "naïve.ключ",
        ] {
            assert!(Path::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "", ".", "a.", ".a", "a..b", "a[", "a[x]", "a]", "[]", "a[]b", "\"a", "\"\"",
        ] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Path::parse("a[].\"b.c\"[2]").unwrap(),
            Path {
                first: "a".into(),
                rest: vec![Step::Each, Step::Key("b.c".into()), Step::Index(2)]
            }
        );
    }

    #[test]
    fn merging_at_a_path() {
        let cases = [
            ("a", json!({}), json!({"a": {"x": 1}})),
            ("a", json!({"a": {"y": 2}}), json!({"a": {"y": 2, "x": 1}})),
            ("a", json!({"a": 5}), json!({"a": {"x": 1}})),
            (
                "a.b",
                json!({"a": {"c": 1}}),
                json!({"a": {"c": 1, "b": {"x": 1}}}),
            ),
            (
                "a[]",
                json!({"a": [{"y": 1}, 3]}),
                json!({"a": [{"y": 1, "x": 1}, {"x": 1}]}),
            ),
            ("a[1]", json!({"a": [{}, {}]}), json!({"a": [{}, {"x": 1}]})),
            ("a[7]", json!({"a": [{}]}), json!({"a": [{}]})),
            ("a[].b", json!({"a": 1}), json!({"a": []})),
            ("a", json!({"a": {"gone": 1}}), json!({"a": {"x": 1}})),
        ];
        for (path, before, after) in cases {
            let mut payload = map(before);
            Path::parse(path)
                .unwrap()
                .merge(&mut payload, &map(json!({"x": 1, "gone": null})));
            assert_eq!(Value::Object(payload), after, "{path}");
        }
    }

    #[test]
    fn removing_at_a_path() {
        let cases = [
            ("a", json!({"a": 1, "b": 2}), json!({"b": 2})),
            (
                "a.b",
                json!({"a": {"b": 1, "c": 2}}),
                json!({"a": {"c": 2}}),
            ),
            (
                "a[].b",
                json!({"a": [{"b": 1}, {"c": 2}, 4]}),
                json!({"a": [{}, {"c": 2}, 4]}),
            ),
            ("a[]", json!({"a": [1, 2]}), json!({"a": []})),
            ("a[1]", json!({"a": [1, 2, 3]}), json!({"a": [1, 2, 3]})),
            ("a.b", json!({"a": 1}), json!({"a": 1})),
            ("x.y", json!({"a": 1}), json!({"a": 1})),
        ];
        for (path, before, after) in cases {
            let mut payload = map(before);
            Path::parse(path).unwrap().remove(&mut payload);
            assert_eq!(Value::Object(payload), after, "{path}");
        }
    }
}
