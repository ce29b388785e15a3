//! Checks a value against the structural part of the schema: types, limits, patterns, required and unknown fields.
//!
//! The schema is the one that the API server gets, so there is one source of truth. Unlike the API server, which drops unknown
//! fields unless asked, every unknown field is an error: it is a typing mistake.

use regex::Regex;
use serde_json::{Map, Value};

use crate::duration::DURATION_PATTERN;
use crate::quantity::QUANTITY_PATTERN;
use crate::rules::{FieldError, Findings};

/// Checks `value`, found at `path`, against `schema`.
pub(crate) fn check(schema: &Value, value: &Value, path: &str, findings: &mut Findings) {
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        return;
    }
    let expected = expected_type(schema);
    if !has_type(value, expected) {
        report(
            findings,
            path,
            format!("must be {}, is {}", article(expected), describe(value)),
            "correct the value",
        );
        return;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let names: Vec<String> = allowed.iter().map(describe).collect();
        report(
            findings,
            path,
            format!("{} is not known", describe(value)),
            &format!("use one of {}", names.join(", ")),
        );
    }
    match value {
        Value::Object(fields) => check_object(schema, fields, path, findings),
        Value::Array(items) => check_array(schema, items, path, findings),
        Value::String(text) => check_text(schema, text, path, findings),
        Value::Number(_) => check_number(schema, value, path, findings),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_object(schema: &Value, fields: &Map<String, Value>, path: &str, findings: &mut Findings) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let additional = schema
        .get("additionalProperties")
        .filter(|additional| additional.is_object());
    if let Some(max) = limit(schema, "maxProperties")
        && fields.len() > max
    {
        report(
            findings,
            path,
            format!("has {} entries, at most {max} are allowed", fields.len()),
            "remove some",
        );
    }
    for required in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !fields.contains_key(required) {
            report(
                findings,
                &join(path, required),
                "is required".to_owned(),
                "add it",
            );
        }
    }
    for (name, value) in fields {
        let field = join(path, name);
        match (
            properties.and_then(|properties| properties.get(name)),
            additional,
        ) {
            (Some(below), _) | (None, Some(below)) => check(below, value, &field, findings),
            (None, None) => {
                let known = properties
                    .into_iter()
                    .flat_map(Map::keys)
                    .map(String::as_str);
                let remedy = match nearest(name, known) {
                    Some(known) => format!("did you mean {known}?"),
                    None => {
                        "remove it, or see `kubectl explain` for the fields that exist".to_owned()
                    }
                };
                report(findings, &field, "is not a known field".to_owned(), &remedy);
            }
        }
    }
}

fn check_array(schema: &Value, items: &[Value], path: &str, findings: &mut Findings) {
    if let Some(max) = limit(schema, "maxItems")
        && items.len() > max
    {
        report(
            findings,
            path,
            format!("has {} entries, at most {max} are allowed", items.len()),
            "remove some",
        );
    }
    if let Some(below) = schema.get("items") {
        for (i, item) in items.iter().enumerate() {
            check(below, item, &format!("{path}[{i}]"), findings);
        }
    }
    if let Some(keys) = schema
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array)
    {
        let identity = |item: &Value| {
            keys.iter()
                .filter_map(Value::as_str)
                .map(|k| item[k].clone())
                .collect::<Vec<_>>()
        };
        for (i, item) in items.iter().enumerate() {
            if items[..i]
                .iter()
                .any(|earlier| identity(earlier) == identity(item))
            {
                let names: Vec<String> = identity(item).iter().map(describe).collect();
                report(
                    findings,
                    &format!("{path}[{i}]"),
                    format!("{} is listed twice", names.join(", ")),
                    "keep one",
                );
            }
        }
    }
}

fn check_text(schema: &Value, text: &str, path: &str, findings: &mut Findings) {
    let length = text.chars().count();
    if let Some(max) = limit(schema, "maxLength")
        && length > max
    {
        report(
            findings,
            path,
            format!("has {length} characters, at most {max} are allowed"),
            "shorten it",
        );
    }
    if let Some(min) = limit(schema, "minLength")
        && length < min
    {
        let problem = if length == 0 {
            "is empty".to_owned()
        } else {
            format!("has {length} characters, at least {min} are needed")
        };
        report(
            findings,
            path,
            problem,
            "write a value, or remove the field if it is optional",
        );
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && !Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
    {
        let (kind, remedy) = match pattern {
            DURATION_PATTERN => (
                "a duration",
                "write whole numbers with ms, s, m or h, such as 500ms, 30s or 1m30s",
            ),
            QUANTITY_PATTERN => (
                "a quantity",
                "write a number with a unit, such as 512Mi, 10Gi or 500m",
            ),
            _ => ("of the right form", pattern),
        };
        report(findings, path, format!("`{text}` is not {kind}"), remedy);
    }
}

fn check_number(schema: &Value, value: &Value, path: &str, findings: &mut Findings) {
    // Limits in the schema are small enough to be exact as floating point numbers.
    let (Some(number), bound) = (value.as_f64(), |name: &str| {
        schema.get(name).and_then(Value::as_f64)
    }) else {
        return;
    };
    let (min, max) = (bound("minimum"), bound("maximum"));
    if min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max) {
        let range = match (min, max) {
            (Some(min), Some(max)) => format!("between {min} and {max}"),
            (Some(min), None) => format!("at least {min}"),
            (None, Some(max)) => format!("at most {max}"),
            (None, None) => return,
        };
        report(
            findings,
            path,
            format!("must be {range}, is {value}"),
            "choose a value within the limit",
        );
    }
}

fn report(findings: &mut Findings, path: &str, problem: String, remedy: &str) {
    findings.push(FieldError {
        field: path.to_owned(),
        problem,
        remedy: remedy.to_owned(),
    });
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema
        .get(name)
        .and_then(Value::as_u64)
        .and_then(|limit| usize::try_from(limit).ok())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn expected_type(schema: &Value) -> &str {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return "int-or-string";
    }
    schema.get("type").and_then(Value::as_str).unwrap_or("any")
}

fn has_type(value: &Value, expected: &str) -> bool {
    match expected {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "int-or-string" => value.is_string() || value.is_i64() || value.is_u64(),
        _ => true,
    }
}

fn article(expected: &str) -> &str {
    match expected {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "int-or-string" => "a whole number or a text",
        other => other,
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) => format!("`{text}`"),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
    }
}

/// The known name that differs by no more than two single-character edits or by case only.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .map(|candidate| (edit_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, by the row-wise algorithm of Wagner and Fischer.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_find_their_field() {
        let known = ["replicas", "resources", "cacheVolume", "tls"];
        assert_eq!(nearest("replica", known.into_iter()), Some("replicas"));
        assert_eq!(
            nearest("cachevolume", known.into_iter()),
            Some("cacheVolume")
        );
        assert_eq!(nearest("memory", known.into_iter()), None);
        assert_eq!(nearest("x", ["a"].into_iter()), None);
    }

    #[test]
    fn edit_distance_counts_single_edits() {
        for (a, b, distance) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "ab", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
        }
    }
}
