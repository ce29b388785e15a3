//! What there is to say of which fields.

use serde_json::{Map, Value};

use super::values::Meanings;
use super::words;
use crate::crd::EMBEDDED;

/// A table of the page: `spec`, `status`, or one object right below them. Deeper fields are rows with dotted names.
pub(super) struct Section {
    /// Its path, or the paths of several that have the same fields.
    pub(super) title: String,
    /// Whether it is `spec` or `status` itself.
    pub(super) is_top: bool,
    /// Paragraphs.
    pub(super) description: Vec<String>,
    pub(super) rows: Vec<Row>,
    pub(super) rules: Vec<Refused>,
}

/// A field.
pub(super) struct Row {
    /// Relative to the section.
    pub(super) path: String,
    pub(super) kind: String,
    pub(super) default: String,
    pub(super) meaning: String,
    /// Of the section that has its fields.
    pub(super) anchor: Option<String>,
}

/// A rule.
pub(super) struct Refused {
    /// Of the field that is blamed, relative to the section.
    pub(super) path: String,
    pub(super) message: String,
    /// Whether it compares with what was stored before.
    compares: bool,
}

/// `spec` or `status` and the objects right below it.
pub(super) fn sections(root: &Value, name: &str, meanings: &Meanings) -> Vec<Section> {
    let top = &root["properties"][name];
    let groups = groups(top);
    let title = |group: &[&str]| {
        let paths: Vec<String> = group
            .iter()
            .map(|field| format!("{name}.{field}"))
            .collect();
        paths.join(", ")
    };
    let mut walk = Walk::new(meanings);
    walk.rules.extend(rules(top, ""));
    for (field, node) in properties(top) {
        let group = groups.iter().find(|group| group.contains(&field.as_str()));
        let anchor = group.map(|group| words::anchor(&title(group)));
        let required = is_required(top, field);
        match anchor {
            // Its rules stand in its own section.
            Some(anchor) => walk.row(field, node, required, Some(anchor)),
            None => walk.field(field, node, required),
        }
    }
    let mut description = words::paragraphs(top);
    if description.len() > 1 {
        // What a cluster is was said at the top of the page.
        description.remove(0);
    }
    let mut made = vec![walk.section(capital(name), true, description)];
    for group in &groups {
        let node = &top["properties"][group[0]];
        let mut walk = Walk::new(meanings);
        walk.inside("", node);
        // What it is stands in the row that leads here, for each of a group.
        made.push(walk.section(title(group), false, Vec::new()));
    }
    made
}

/// Names of the objects right below `top` that get sections, those with the same fields together.
fn groups(top: &Value) -> Vec<Vec<&str>> {
    let mut groups: Vec<(Value, Vec<&str>)> = Vec::new();
    for (name, node) in properties(top) {
        if properties(node).is_empty() && properties(&node["items"]).is_empty() || is_foreign(name)
        {
            continue;
        }
        let mut fields = node.clone();
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("default");
            fields.remove("description");
        }
        match groups.iter_mut().find(|(known, _)| *known == fields) {
            Some((_, group)) => group.push(name),
            None => groups.push((fields, vec![name])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// The rules of a node, as paths below `at`.
pub(super) fn rules(node: &Value, at: &str) -> Vec<Refused> {
    let rules = node["x-kubernetes-validations"].as_array();
    let rules = rules.into_iter().flatten().map(|rule| {
        let text = |name: &str| rule[name].as_str().unwrap_or_default();
        Refused {
            path: format!("{at}{}", text("fieldPath"))
                .trim_start_matches('.')
                .to_owned(),
            message: text("message").to_owned(),
            compares: text("rule").contains("oldSelf"),
        }
    });
    rules.collect()
}

struct Walk<'a> {
    meanings: &'a Meanings,
    rows: Vec<Row>,
    rules: Vec<Refused>,
}

impl<'a> Walk<'a> {
    fn new(meanings: &'a Meanings) -> Self {
        Self {
            meanings,
            rows: Vec::new(),
            rules: Vec::new(),
        }
    }

    fn field(&mut self, path: &str, node: &Value, required: bool) {
        self.row(path, node, required, None);
        if is_foreign(last(path)) {
            self.rules.extend(rules(node, path));
        } else {
            self.inside(path, node);
        }
    }

    /// The rules of a node and all fields below it.
    fn inside(&mut self, path: &str, node: &Value) {
        self.rules.extend(rules(node, path));
        let (node, prefix) = match node.get("items") {
            Some(items) => (items, format!("{path}[].")),
            None => (node, format!("{path}.")),
        };
        let prefix = if path.is_empty() { "" } else { prefix.as_str() };
        for (name, below) in properties(node) {
            self.field(&format!("{prefix}{name}"), below, is_required(node, name));
        }
    }

    fn row(&mut self, path: &str, node: &Value, required: bool, anchor: Option<String>) {
        let values = self.meanings.of(node);
        self.rows.push(Row {
            path: path.to_owned(),
            kind: words::kind(last(path), node, values.is_some()),
            default: words::default(node, required),
            meaning: words::meaning(node, values),
            anchor,
        });
    }

    fn section(mut self, title: String, is_top: bool, description: Vec<String>) -> Section {
        for row in &mut self.rows {
            if self
                .rules
                .iter()
                .any(|rule| rule.compares && rule.path == row.path)
            {
                row.kind.push_str("; changes are limited");
            }
        }
        // In the order of the fields; what concerns several comes first.
        let place = |rule: &Refused| self.rows.iter().position(|row| row.path == rule.path);
        self.rules.sort_by_key(place);
        Section {
            title,
            is_top,
            description,
            rows: self.rows,
            rules: self.rules,
        }
    }
}

fn properties(node: &Value) -> &Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    node["properties"].as_object().unwrap_or(&NONE)
}

fn is_required(node: &Value, name: &str) -> bool {
    let required = node["required"].as_array();
    required.is_some_and(|names| names.iter().any(|n| n == name))
}

/// Whether a field's type is Kubernetes' own.
fn is_foreign(name: &str) -> bool {
    foreign(name).is_some()
}

/// The name of a field's type in Kubernetes' own API.
pub(super) fn foreign(name: &str) -> Option<&'static str> {
    let known = EMBEDDED.iter().chain(&[("conditions", "Condition")]);
    known
        .copied()
        .find_map(|(field, type_)| (field == name).then_some(type_))
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn capital(name: &str) -> String {
    match name {
        "spec" => "Spec".to_owned(),
        "status" => "Status".to_owned(),
        other => other.to_owned(),
    }
}
