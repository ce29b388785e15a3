//! Manifests of the clusters that suites and demo start.

use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use crate::HarnessError;

/// The checkout that this crate was built from.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A BrainyCluster manifest that can be changed field by field.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest(Value);

impl Manifest {
    /// A cluster named `test` with these replicas; everything else has its default.
    #[must_use]
    pub fn new(writers: u32, readers: u32) -> Self {
        let mut manifest = Self(Value::Mapping(Mapping::new()));
        manifest.set("apiVersion", "brainy.io/v1alpha1");
        manifest.set("kind", "BrainyCluster");
        manifest.set("metadata.name", "test");
        manifest.set("spec.writers.replicas", writers);
        manifest.set("spec.readers.replicas", readers);
        // Nothing to wait for between a change and the next look: suites want to be quick.
        manifest.set("spec.coordination.pollInterval", "500ms");
        manifest
    }

    /// `examples/quickstart.yaml`.
    ///
    /// # Errors
    /// The file cannot be read or is not YAML.
    pub fn quickstart() -> Result<Self, HarnessError> {
        let path = repository().join("examples/quickstart.yaml");
        let text = std::fs::read_to_string(&path).map_err(HarnessError::io("read", &path))?;
        serde_yaml::from_str(&text)
            .map(Self)
            .map_err(|e| HarnessError::Content {
                path,
                message: e.to_string(),
            })
    }

    /// Sets the field at the dotted `path`, making what is missing on the way.
    pub fn set(&mut self, path: &str, value: impl Into<Value>) -> &mut Self {
        let mut at = &mut self.0;
        for part in path.split('.') {
            if !at.is_mapping() {
                *at = Value::Mapping(Mapping::new());
            }
            // It is a mapping since the line above; a mapping makes what is missing.
            at = &mut at[part];
        }
        *at = value.into();
        self
    }

    /// Removes the field at the dotted `path`, if it is there.
    pub fn remove(&mut self, path: &str) -> &mut Self {
        let mut at = Some(&mut self.0);
        let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
        for part in parents.split('.').filter(|part| !part.is_empty()) {
            at = at.and_then(|value| value.get_mut(part));
        }
        if let Some(Value::Mapping(fields)) = at {
            fields.remove(last);
        }
        self
    }

    /// As [`Manifest::set`], by value.
    #[must_use]
    pub fn with(mut self, path: &str, value: impl Into<Value>) -> Self {
        self.set(path, value);
        self
    }

    /// The number at the dotted `path`, 0 if there is none.
    #[must_use]
    pub fn number(&self, path: &str) -> u64 {
        let mut at = &self.0;
        for part in path.split('.') {
            at = at.get(part).unwrap_or(&Value::Null);
        }
        at.as_u64().unwrap_or(0)
    }

    /// The text at the dotted `path`, empty if there is none.
    #[must_use]
    pub fn text(&self, path: &str) -> String {
        let mut at = &self.0;
        for part in path.split('.') {
            at = at.get(part).unwrap_or(&Value::Null);
        }
        at.as_str().unwrap_or_default().to_owned()
    }

    /// Names of the instances that the manifest asks for, as they are called on one machine.
    #[must_use]
    pub fn instances(&self) -> Vec<String> {
        let named = |role: &'static str| {
            let replicas = self.number(&format!("spec.{role}s.replicas"));
            (0..replicas).map(move |n| format!("{role}-{n}"))
        };
        named("hybrid")
            .chain(named("reader"))
            .chain(named("writer"))
            .collect()
    }

    /// The text.
    #[must_use]
    pub fn yaml(&self) -> String {
        // A tree of strings, numbers and mappings always has a text.
        serde_yaml::to_string(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_set_where_the_path_says_and_the_result_is_a_valid_manifest() {
        let manifest = Manifest::new(2, 1).with("spec.rebalance.unreadyGracePeriod", "3s");
        assert_eq!(manifest.number("spec.writers.replicas"), 2);
        assert_eq!(manifest.instances(), ["reader-0", "writer-0", "writer-1"]);
        brainy_crds::parse_manifest(&manifest.yaml()).unwrap();
    }

    #[test]
    fn the_quick_start_is_readable() {
        assert_eq!(Manifest::quickstart().unwrap().instances().len(), 5);
    }
}
