//! Payload indexes: which rows of a segment have which values, for the fields that a collection's schema names.
//!
//! A filter means what [`super::filter`] says; an index finds the same rows without reading payloads. It answers twice:
//! how many rows match (`estimate`, from counts alone), which a search plans with, and which ones
//! (`row_set`). Where it can only say which rows *may* match, the payload decides.
//!
//! One file a segment, `payload_index.bin`, holds all fields; a field's part is an `image`: arrays that are used as they
//! are, checked when they are opened. A segment that lacks a field of the schema (it is older than the index) builds it in memory
//! when it is opened or the schema changes; merges store it.
//!
//! ```text
//! u64 fields, per field: u64 bytes of its name, u64 words of its image
//! per field: name (JSON: [kind, path], of texts with other settings than the default ones with these), zeros up to a multiple of 8, image
//! ```
//!
//! | module | what |
//! |---|---|
//! | `schema` | which fields |
//! | `collect` | payloads to images |
//! | `field` | one field: `terms` with `postings`, `sorted` values, `places` |
//! | `answer` | a whole filter |
//! | `entries` | rows in the order of their values |

mod answer;
mod collect;
mod entries;
mod estimate;
mod field;
mod image;
mod places;
mod postings;
mod row_set;
mod schema;
mod sorted;
mod terms;

use std::sync::Arc;

use super::error::EngineError;
use super::path::Path;
use super::payload;
use super::text::{Analyzer, TextParams};
pub(crate) use answer::{Answer, Asked};
use collect::Collector;
pub(crate) use entries::Entries;
pub(crate) use field::FieldIndex;
pub(crate) use row_set::RowSet;
pub use schema::{FieldKind, PayloadSchema};

/// The indexed fields of a segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct PayloadIndex {
    fields: Vec<Arc<FieldIndex>>,
}

/// A field and how it is indexed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Indexed {
    field: String,
    kind: FieldKind,
    /// Of texts.
    analyzer: Arc<Analyzer>,
}

/// Fields being indexed, row by row.
#[derive(Debug, Default)]
pub(crate) struct Indexer {
    fields: Vec<(Indexed, Collector)>,
    keys: Vec<String>,
    rows: u32,
}

impl Indexer {
    /// Indexes the fields of `schema`.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a path that cannot be read.
    pub(crate) fn new(schema: &PayloadSchema) -> Result<Self, EngineError> {
        let mut own = Self::default();
        for (field, kind) in &schema.fields {
            let path = Path::parse(field)?;
            own.keys.push(path.first.clone());
            let indexed = Indexed {
                field: field.clone(),
                kind: *kind,
                analyzer: schema.texts().of_field(field),
            };
            let collector = Collector::new(path, &indexed);
            own.fields.push((indexed, collector));
        }
        own.keys.sort_unstable();
        own.keys.dedup();
        Ok(own)
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// A payload that does not decode.
    pub(crate) fn add(&mut self, payload: &[u8]) -> Result<(), EngineError> {
        if !self.fields.is_empty() {
            let payload = payload::decode_keys(payload, &self.keys)?;
            for (_, collector) in &mut self.fields {
                collector.add(self.rows, &payload);
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The index of all rows taken.
    ///
    /// # Errors
    /// [`EngineError::Encode`] for more than a segment's index can hold.
    pub(crate) fn finish(self) -> Result<PayloadIndex, EngineError> {
        let rows = self.rows as usize;
        let build = |(indexed, collector): (Indexed, Collector)| {
            let field = indexed.field.clone();
            let failed = |reason| EngineError::Encode {
                what: "payload index",
                reason: format!("field '{field}': {reason}"),
            };
            let words = collector.finish(rows).map_err(failed)?;
            FieldIndex::open(indexed, words, rows)
                .map(Arc::new)
                .map_err(failed)
        };
        let fields = self
            .fields
            .into_iter()
            .map(build)
            .collect::<Result<_, _>>()?;
        Ok(PayloadIndex { fields })
    }
}

impl Indexed {
    /// What its file holds; see the module.
    fn name(&self) -> serde_json::Result<Vec<u8>> {
        if self.analyzer == Analyzer::plain() {
            return serde_json::to_vec(&(self.kind, &self.field));
        }
        serde_json::to_vec(&(self.kind, &self.field, self.analyzer.params()))
    }

    fn of_name(name: &[u8]) -> serde_json::Result<Self> {
        if let Ok((kind, field)) = serde_json::from_slice(name) {
            let analyzer = Analyzer::plain();
            return Ok(Self {
                field,
                kind,
                analyzer,
            });
        }
        let (kind, field, params): (FieldKind, String, TextParams) = serde_json::from_slice(name)?;
        Ok(Self {
            field,
            kind,
            analyzer: Arc::new(Analyzer::new(params)),
        })
    }
}

impl PayloadIndex {
    /// The index of the field at `path`.
    pub(crate) fn field(&self, path: &Path) -> Option<&FieldIndex> {
        let found = self.fields.iter().find(|f| f.path == *path);
        found.map(AsRef::as_ref)
    }

    /// Every field with the number of rows that have a value in its index.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, usize)> {
        self.fields
            .iter()
            .map(|f| (f.of.field.as_str(), f.points()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Bytes held in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.fields.iter().map(|f| size_of_val(f.words())).sum()
    }

    /// The fields of `schema` that are indexed here, and a schema of those that are not.
    pub(crate) fn fit(&self, schema: &PayloadSchema) -> (Self, PayloadSchema) {
        let wanted = |f: &Arc<FieldIndex>| {
            schema.fields.get(&f.of.field) == Some(&f.of.kind)
                && schema.texts().of_field(&f.of.field) == f.of.analyzer
        };
        let fields: Vec<_> = self
            .fields
            .iter()
            .filter(|f| wanted(f))
            .map(Arc::clone)
            .collect();
        let mut missing = schema.clone();
        missing
            .fields
            .retain(|field, _| !fields.iter().any(|f| f.of.field == *field));
        (Self { fields }, missing)
    }

    /// Adds the fields of `other`.
    pub(crate) fn join(&mut self, other: Self) {
        self.fields.extend(other.fields);
        self.fields.sort_by(|a, b| a.of.field.cmp(&b.of.field));
    }

    /// The contents of its file.
    pub(crate) fn encode(&self) -> Result<Vec<u64>, EngineError> {
        let mut words = vec![self.fields.len() as u64];
        let mut parts = Vec::new();
        for field in &self.fields {
            let name = field.of.name().map_err(|e| EngineError::Encode {
                what: "payload index",
                reason: e.to_string(),
            })?;
            words.extend([name.len() as u64, field.words().len() as u64]);
            for chunk in name.chunks(8) {
                let mut bytes = [0; 8];
                bytes[..chunk.len()].copy_from_slice(chunk);
                parts.push(u64::from_le_bytes(bytes));
            }
            parts.extend_from_slice(field.words());
        }
        words.append(&mut parts);
        Ok(words)
    }

    /// Reads what [`Self::encode`] gave, about a segment of `rows` rows.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(crate) fn decode(words: &[u64], rows: usize) -> Result<Self, String> {
        let cut = "it ends too early";
        let (count, rest) = words.split_first().ok_or(cut)?;
        let count = usize::try_from(*count).map_err(|_| cut)?;
        let (table, mut rest) = count
            .checked_mul(2)
            .and_then(|n| rest.split_at_checked(n))
            .ok_or(cut)?;
        let mut fields = Vec::new();
        for [name, image] in table.as_chunks::<2>().0 {
            let name_bytes = usize::try_from(*name).map_err(|_| cut)?;
            let image_words = usize::try_from(*image).map_err(|_| cut)?;
            let (name, after) = rest.split_at_checked(name_bytes.div_ceil(8)).ok_or(cut)?;
            let (image, after) = after.split_at_checked(image_words).ok_or(cut)?;
            rest = after;
            let name: Vec<u8> = name.iter().flat_map(|w| w.to_le_bytes()).collect();
            let indexed = Indexed::of_name(&name[..name_bytes])
                .map_err(|e| format!("it names a field that cannot be read: {e}"))?;
            let field = indexed.field.clone();
            let index = FieldIndex::open(indexed, image.to_vec(), rows)
                .map_err(|e| format!("field '{field}': {e}"))?;
            fields.push(Arc::new(index));
        }
        if !rest.is_empty() {
            return Err("it is longer than its fields".into());
        }
        Ok(Self { fields })
    }
}

#[cfg(test)]
mod tests;
