//! The reference of the resource as Markdown, written from the same types as the definition.
//!
//! [`section`] finds out what there is to say of which fields, [`words`] how types, limits and descriptions are put,
//! [`values`] what the values of an enumeration mean. Here it becomes a page.

mod section;
mod values;
mod words;

use std::fmt::Write;

use crate::conditions::{ConditionType, Reason};
use crate::names::DOCUMENTED;
use crate::{Error, crd, schema};
use section::{Row, Section, sections};
use values::Meanings;
use words::{cell, code, prose};

/// A cluster with everything that has no default.
const SMALLEST: &str = "\
apiVersion: brainy.io/v1alpha1
kind: BrainyCluster
metadata:
  name: search
spec:
  storage:
    bucket: example-search
    region: eu-central-1
";

const READING: &str = "\
Names with dots are paths: `credentials.secretRef.name` under *spec.storage* is `spec.storage.credentials.secretRef.name`. A field
without a default may be absent, unless it is marked *required*; a field that is null counts as absent. **Refused** lists what the API
server refuses beyond types and limits, in its own words.

- A *duration* is whole numbers with units from `ms`, `s`, `m` and `h`: `500ms`, `1m30s`.
- A *quantity* is a number of bytes as Kubernetes writes it: `512Mi`, `6Gi`.
- *Kubernetes* types are those of the pods' API; `kubectl explain pod.spec` has their fields.
";

const CONDITIONS: &str = "\
All of them are there once the operator has seen the cluster, and each names the generation of the spec that it speaks of. The time of
the last transition moves only with the status. `kubectl wait --for=condition=Ready brainycluster/search` works with each. Reasons are
part of the API; messages are for people.
";

/// The reference of `BrainyCluster`: fields, conditions and reasons, labels and annotations.
///
/// # Errors
/// As [`schema`].
pub fn reference() -> Result<String, Error> {
    let meanings = Meanings::collect();
    let root = schema()?;
    let mut page = String::new();
    // Writing to a String does not fail.
    let _infallible = write_page(&mut page, root, &meanings, &columns()?);
    Ok(page)
}

fn write_page(
    page: &mut String,
    root: &serde_json::Value,
    meanings: &Meanings,
    columns: &[Column],
) -> std::fmt::Result {
    writeln!(
        page,
        "<!-- Generated from the Rust types in crds/src; do not edit. Write it anew with UPDATE_GOLDEN=1 cargo test -p brainy-crds. -->\n"
    )?;
    writeln!(page, "# BrainyCluster\n")?;
    let what = root["description"].as_str().unwrap_or_default();
    writeln!(
        page,
        "{what} `brainy.io/v1alpha1`, namespaced; `kubectl get bc` lists them.\n"
    )?;
    writeln!(page, "```yaml\n{SMALLEST}```\n")?;
    writeln!(
        page,
        "[examples/production.yaml](../../examples/production.yaml) is a larger one; [operations](../operations.md) says how to run one.\n"
    )?;
    let [spec, status] = ["spec", "status"].map(|name| sections(root, name, meanings));
    writeln!(
        page,
        "[Spec](#spec) · [Status](#status) · [Conditions](#conditions) · [Labels and annotations](#labels-and-annotations) · \
         [Columns](#columns)\n\n{READING}"
    )?;
    for rule in section::rules(root, "") {
        writeln!(
            page,
            "**Refused** for the whole resource: {}.\n",
            prose(&rule.message)
        )?;
    }
    for section in &spec {
        write_section(page, section, true)?;
    }
    for section in &status {
        write_section(page, section, false)?;
    }
    write_conditions(page)?;
    writeln!(page, "## Labels and annotations\n")?;
    let rows = DOCUMENTED
        .iter()
        .map(|(key, documentation)| vec![code(key), cell(documentation)]);
    write_table(page, &["key", "meaning"], rows)?;
    writeln!(page, "## Columns\n")?;
    writeln!(
        page,
        "What `kubectl get brainyclusters` shows; with `-o wide` all of them.\n"
    )?;
    let rows = columns.iter().map(|column| {
        let wide = if column.wide { " (wide)" } else { "" };
        vec![
            format!("{}{wide}", column.name),
            cell(&column.meaning),
            code(&column.path),
        ]
    });
    write_table(page, &["column", "meaning", "from"], rows)?;
    // One line end at the end.
    page.truncate(page.trim_end().len());
    page.push('\n');
    Ok(())
}

fn write_section(page: &mut String, section: &Section, defaults: bool) -> std::fmt::Result {
    let level = if section.is_top { "##" } else { "###" };
    writeln!(page, "{level} {}\n", section.title)?;
    for paragraph in &section.description {
        writeln!(page, "{paragraph}\n")?;
    }
    let row = |row: &Row| {
        let name = match &row.anchor {
            Some(anchor) => format!("[`{}`](#{anchor})", row.path),
            None => code(&row.path),
        };
        let mut cells = vec![name, row.kind.clone()];
        if defaults {
            cells.push(row.default.clone());
        }
        cells.push(row.meaning.clone());
        cells
    };
    let header: &[&str] = if defaults {
        &["field", "type", "default", "meaning"]
    } else {
        &["field", "type", "meaning"]
    };
    write_table(page, header, section.rows.iter().map(row))?;
    if section.rules.is_empty() {
        return Ok(());
    }
    writeln!(page, "**Refused**\n")?;
    for rule in &section.rules {
        let at = if rule.path.is_empty() {
            String::new()
        } else {
            format!("`{}`: ", rule.path)
        };
        writeln!(page, "- {at}{}", prose(&rule.message))?;
    }
    writeln!(page)
}

fn write_table(
    page: &mut String,
    header: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> std::fmt::Result {
    writeln!(page, "| {} |", header.join(" | "))?;
    writeln!(page, "|{}", "---|".repeat(header.len()))?;
    for row in rows {
        writeln!(page, "| {} |", row.join(" | "))?;
    }
    writeln!(page)
}

fn write_conditions(page: &mut String) -> std::fmt::Result {
    writeln!(page, "## Conditions\n\n{CONDITIONS}")?;
    for type_ in ConditionType::ALL {
        writeln!(page, "### {type_}\n\n{}\n", prose(type_.documentation()))?;
        let rows = Reason::ALL.iter().flat_map(|reason| {
            let (carried, meaning) = carriers(*reason);
            let of_type = carried
                .into_iter()
                .filter(move |(name, _)| *name == type_.as_str());
            of_type.map(move |(_, status)| {
                vec![status.to_owned(), code(reason.as_str()), sentence(meaning)]
            })
        });
        write_table(page, &["status", "reason", "meaning"], rows)?;
    }
    Ok(())
}

/// The conditions that a reason's documentation names, with their status, and what it says.
fn carriers(reason: Reason) -> (Vec<(&'static str, &'static str)>, &'static str) {
    let (carried, meaning) = reason.documentation().split_once(": ").unwrap_or_default();
    let carried = carried.split(", ").filter_map(|c| c.trim().split_once('='));
    (carried.collect(), meaning)
}

/// A table cell that begins with a capital letter.
fn sentence(text: &str) -> String {
    let text = cell(text);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => text,
    }
}

/// A column of `kubectl get`.
struct Column {
    name: String,
    meaning: String,
    path: String,
    wide: bool,
}

fn columns() -> Result<Vec<Column>, Error> {
    let definition = crd()?;
    let version = definition
        .spec
        .versions
        .into_iter()
        .next()
        .ok_or(Error::NoSchema)?;
    let columns = version.additional_printer_columns.unwrap_or_default();
    let columns = columns.into_iter().map(|column| Column {
        name: column.name,
        meaning: column.description.unwrap_or_default(),
        path: column.json_path,
        wide: column.priority.is_some_and(|priority| priority > 0),
    });
    Ok(columns.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_says_whose_it_is_and_what_it_means() {
        for reason in Reason::ALL {
            let (carried, meaning) = carriers(*reason);
            assert!(!carried.is_empty() && !meaning.is_empty(), "{reason}");
            for (type_, status) in carried {
                let known = ConditionType::ALL.iter().any(|t| t.as_str() == type_);
                assert!(
                    known && ["True", "False", "Unknown"].contains(&status),
                    "{reason}: {type_}={status}"
                );
            }
        }
    }

    #[test]
    fn the_smallest_cluster_is_valid() {
        assert!(crate::parse_manifest(SMALLEST).is_ok());
    }
}
