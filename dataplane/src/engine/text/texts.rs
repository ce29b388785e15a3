//! Which fields have which settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::path::Path;

use super::analyzer::Analyzer;

/// The analyzers of fields with a text index whose settings are not the default ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts(BTreeMap<String, (Path, Arc<Analyzer>)>);

impl Texts {
    /// Sets that of a field.
    pub fn insert(&mut self, field: &str, path: Path, analyzer: Analyzer) {
        if analyzer != *Analyzer::plain() {
            self.0.insert(field.to_owned(), (path, Arc::new(analyzer)));
        }
    }

    /// That of the field of this name.
    #[must_use]
    pub fn of_field(&self, field: &str) -> Arc<Analyzer> {
        let found = self.0.get(field);
        found.map_or_else(Analyzer::plain, |(_, analyzer)| Arc::clone(analyzer))
    }

    /// That of the field at a path.
    #[must_use]
    pub fn of(&self, path: &Path) -> Arc<Analyzer> {
        let found = self.0.values().find(|(own, _)| own == path);
        found.map_or_else(Analyzer::plain, |(_, analyzer)| Arc::clone(analyzer))
    }
}
