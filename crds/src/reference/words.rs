//! How types, limits, defaults and descriptions are put into a table.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::section::foreign;
use crate::duration::DURATION_PATTERN;

/// The bounds of a duration's rule.
static BOUNDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"^duration\(self\) >= duration\('(\w+)'\) && duration\(self\) <= duration\('(\w+)'\)$",
    )
    .ok()
});

/// The type of a field with its limits.
pub(super) fn kind(name: &str, node: &Value, values_follow: bool) -> String {
    let type_ = node["type"].as_str().unwrap_or_default();
    if let Some(foreign) = foreign(name) {
        let list = if type_ == "array" { "list of " } else { "" };
        let most = limit(node, "maxItems").map_or(String::new(), |n| format!(", at most {n}"));
        return format!("{list}Kubernetes `{foreign}`{most}");
    }
    if node["x-kubernetes-int-or-string"] == true {
        return "quantity".to_owned();
    }
    if let Some(values) = node["enum"].as_array() {
        let values: Vec<String> = values.iter().filter_map(Value::as_str).map(code).collect();
        return if values_follow {
            "one of".to_owned()
        } else {
            values.join(", ")
        };
    }
    match type_ {
        "string" if node["pattern"] == DURATION_PATTERN => range("duration", bounds(node)),
        "string" => text(node),
        "integer" => {
            let bounds = limit(node, "minimum").zip(limit(node, "maximum"));
            range("integer", bounds)
        }
        "array" => {
            let most = limit(node, "maxItems").map_or(String::new(), |n| format!(", at most {n}"));
            format!("list{most}")
        }
        "object" if node["additionalProperties"].is_object() => {
            let most =
                limit(node, "maxProperties").map_or(String::new(), |n| format!(", at most {n}"));
            format!("map of texts{most}")
        }
        other => other.to_owned(),
    }
}

fn text(node: &Value) -> String {
    match (limit(node, "minLength"), limit(node, "maxLength")) {
        (Some(min), Some(max)) => format!("text, {min} to {max} characters"),
        (None, Some(max)) => format!("text, at most {max} characters"),
        _ => "text".to_owned(),
    }
}

fn range(what: &str, bounds: Option<(String, String)>) -> String {
    bounds.map_or(what.to_owned(), |(min, max)| {
        format!("{what}, {min} to {max}")
    })
}

/// A limit of the schema, which has them as floating point numbers.
fn limit(node: &Value, name: &str) -> Option<String> {
    let limit = node[name].as_f64()?;
    Some(format!("{limit:.0}"))
}

fn bounds(node: &Value) -> Option<(String, String)> {
    let rules = node["x-kubernetes-validations"].as_array()?;
    let texts = rules.iter().filter_map(|rule| rule["rule"].as_str());
    texts
        .filter_map(|rule| BOUNDS.as_ref()?.captures(rule))
        .find_map(|found| {
            Some((
                found.get(1)?.as_str().to_owned(),
                found.get(2)?.as_str().to_owned(),
            ))
        })
}

/// The default, or that there must be a value.
pub(super) fn default(node: &Value, required: bool) -> String {
    match node.get("default") {
        Some(Value::String(text)) if !text.is_empty() => code(text),
        Some(Value::Object(_)) if !is_map(node) => String::new(),
        Some(Value::Array(_) | Value::Object(_)) => "none".to_owned(),
        Some(other @ (Value::Number(_) | Value::Bool(_))) => code(&other.to_string()),
        _ if required => "*required*".to_owned(),
        _ => String::new(),
    }
}

fn is_map(node: &Value) -> bool {
    node.get("additionalProperties").is_some()
}

/// The description, without what the columns before it say, and the values that there are.
pub(super) fn meaning(node: &Value, values: Option<&[(String, String)]>) -> String {
    let mut text = paragraphs(node).join(" ");
    for said in said(node) {
        text = without(&text, &said);
    }
    let mut lines = vec![cell(&text)];
    for (value, meaning) in values.into_iter().flatten() {
        lines.push(format!("{}: {}", code(value), cell(meaning)));
    }
    lines.join("<br>")
}

/// Parts of descriptions that other columns repeat. `kubectl explain` has no such columns, so there they are needed.
fn said(node: &Value) -> Vec<String> {
    let default = default(node, false).replace('`', "");
    let bounds = limit(node, "minimum")
        .zip(limit(node, "maximum"))
        .or_else(|| bounds(node));
    let bounds = bounds.map(|(min, max)| format!(", {min} to {max}"));
    let default = (!default.is_empty()).then(|| format!(" Default: {default}"));
    bounds.into_iter().chain(default).collect()
}

/// Takes out `part`, unless the rest of its sentence depends on it.
fn without(text: &str, part: &str) -> String {
    let Some((before, after)) = text.split_once(part) else {
        return text.to_owned();
    };
    // A default is a sentence of its own and takes its full stop along; a range leaves it to the sentence around it.
    let rest = if before.ends_with('.') {
        after.strip_prefix('.')
    } else {
        Some(after).filter(|after| after.starts_with(['.', ';']))
    };
    rest.map_or(text.to_owned(), |rest| format!("{before}{rest}"))
}

/// The paragraphs of a description, each on one line.
pub(super) fn paragraphs(node: &Value) -> Vec<String> {
    let text = node["description"].as_str().unwrap_or_default();
    text.split("\n\n").map(prose).collect()
}

/// Text on one line.
pub(super) fn prose(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text for a table.
pub(super) fn cell(text: &str) -> String {
    prose(text).replace('|', "\\|")
}

/// A value, name or path.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// What a heading is called in links: lower case, without punctuation, dashes for spaces.
pub(super) fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-');
    kept.map(|c| {
        if c == ' ' {
            '-'
        } else {
            c.to_ascii_lowercase()
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_other_columns_say_is_not_said_twice() {
        for (description, expected) in [
            ("Moves at once, 1 to 256. Default: 4.", "Moves at once."),
            (
                "Readers, 1 to 256; fewer if there are fewer. Default: 4. A few do.",
                "Readers; fewer if there are fewer. A few do.",
            ),
            (
                "A time, 1 to 256 and more. Default: 4, because.",
                "A time, 1 to 256 and more. Default: 4, because.",
            ),
        ] {
            let node = json!({"type": "integer", "minimum": 1.0, "maximum": 256.0, "default": 4, "description": description});
            assert_eq!(meaning(&node, None), expected);
            assert_eq!(kind("moves", &node, false), "integer, 1 to 256");
        }
    }

    #[test]
    fn bounds_of_durations_come_from_their_rule() {
        let rule = "duration(self) >= duration('1s') && duration(self) <= duration('15m')";
        let node = json!({"type": "string", "pattern": DURATION_PATTERN, "x-kubernetes-validations": [{"rule": rule}]});
        assert_eq!(kind("leaseTtl", &node, false), "duration, 1s to 15m");
    }
}
