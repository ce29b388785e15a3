//! The reference in `docs/reference`: current, complete, and its links lead somewhere.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use brainy_crds::{ConditionType, Reason, reference, schema};
use serde_json::Value;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/brainycluster.md")
}

#[test]
fn checked_in_page_is_current() {
    let generated = reference().unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path(), &generated).unwrap();
    }
    assert!(
        std::fs::read_to_string(path()).unwrap() == generated,
        "docs/reference/brainycluster.md is not what the types say; write it anew with UPDATE_GOLDEN=1 cargo test -p brainy-crds"
    );
}

/// Texts that the page must have: of each field below `spec` and `status` its name, of each rule its message.
fn expected(node: &Value, texts: &mut BTreeSet<String>) {
    for rule in node["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        texts.insert(rule["message"].as_str().unwrap().to_owned());
    }
    for (name, property) in node["properties"].as_object().into_iter().flatten() {
        texts.insert(format!("{name}`"));
        let foreign = [
            "affinity",
            "env",
            "resources",
            "tolerations",
            "topologySpreadConstraints",
            "conditions",
        ];
        if !foreign.contains(&name.as_str()) {
            expected(property, texts);
        }
    }
    if node["items"].is_object() {
        expected(&node["items"], texts);
    }
}

#[test]
fn fields_rules_conditions_and_reasons_are_all_there() {
    let page = reference().unwrap();
    let mut texts = BTreeSet::new();
    let root = schema().unwrap();
    for name in ["spec", "status"] {
        expected(&root["properties"][name], &mut texts);
    }
    texts.extend(
        ConditionType::ALL
            .iter()
            .map(|type_| format!("### {type_}")),
    );
    texts.extend(Reason::ALL.iter().map(|reason| format!("| `{reason}` |")));
    assert!(texts.len() > 150, "only {} texts", texts.len());
    let missing: Vec<&String> = texts
        .iter()
        .filter(|text| !page.contains(text.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn tables_are_whole_and_links_lead_to_headings() {
    let page = reference().unwrap();
    let headings: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| {
            let heading = line.trim_start_matches('#').trim();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || *c == ' ');
            kept.collect::<String>().to_lowercase().replace(' ', "-")
        })
        .collect();
    let mut links = 0;
    for target in page.split("](#").skip(1) {
        let target = target.split(')').next().unwrap();
        assert!(
            headings.contains(target),
            "#{target} is no heading of {headings:?}"
        );
        links += 1;
    }
    assert!(links > 20, "only {links} links");
    let mut columns = None;
    for line in page.lines() {
        let separators = line.replace("\\|", "").matches('|').count();
        if !line.starts_with('|') {
            columns = None;
            continue;
        }
        assert_eq!(separators, *columns.get_or_insert(separators), "{line}");
    }
    for line in page.split("](../").skip(1) {
        let file = line.split(')').next().unwrap();
        let file = path().parent().unwrap().join("..").join(file);
        assert!(file.exists(), "{} does not exist", file.display());
    }
}
