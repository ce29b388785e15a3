//! Where the fields of one schema are in another. Collections gain and lose vectors; what is stored keeps the fields that it
//! was written with and is presented in those of the collection as it is now.

use crate::model::{DenseParams, Point, SparseParams, VectorSchema};

use super::schema::{Field, field};
use super::stored::{DenseRows, RowVectors, SparseRef};

/// For each field of a schema its number in another, if that has it: a vector of the same name that came with the same
/// version of the schema.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) dense: Vec<Option<usize>>,
    pub(crate) sparse: Vec<Option<usize>>,
}

impl Fields {
    /// Those of `to` in `from`.
    pub(crate) fn new(from: &VectorSchema, to: &VectorSchema) -> Self {
        let dense = |(name, params): (&String, &DenseParams)| {
            let mut all = from.vectors.iter();
            all.position(|(n, p)| n == name && p.since == params.since)
        };
        let sparse = |(name, params): (&String, &SparseParams)| {
            let mut all = from.sparse_vectors.iter();
            all.position(|(n, p)| n == name && p.since == params.since)
        };
        Self {
            dense: to.vectors.iter().map(dense).collect(),
            sparse: to.sparse_vectors.iter().map(sparse).collect(),
        }
    }
}

/// A row in the fields of another schema than its own.
pub(crate) struct Presented<'r> {
    pub(crate) fields: &'r Fields,
    pub(crate) row: &'r dyn RowVectors,
}

impl RowVectors for Presented<'_> {
    fn dense(&self, field: usize) -> DenseRows<'_> {
        let own = self.fields.dense[field];
        own.map(|own| self.row.dense(own)).unwrap_or_default()
    }

    fn sparse(&self, field: usize) -> Option<SparseRef<'_>> {
        self.row.sparse(self.fields.sparse[field]?)
    }
}

/// Takes away the vectors of a point, written with version `written` of the collection's vectors, that the collection does not
/// have any more, or has anew under their name.
pub(crate) fn forget_dropped(schema: &VectorSchema, written: u64, point: &mut Point) {
    if schema.version == written {
        return;
    }
    let gone = |name: &str| schema.since(name).is_none_or(|since| since > written);
    let names = point.vectors.iter().map(|(name, _)| name);
    let gone: Vec<String> = names.filter(|name| gone(name)).map(str::to_owned).collect();
    for name in gone {
        point.vectors.remove(&name);
    }
}

/// Whether rows of one can be read as rows of the other as they are: fields have the same numbers and terms are counted alike.
pub(crate) fn same_layout(a: &VectorSchema, b: &VectorSchema) -> bool {
    let idf = |schema: &VectorSchema| -> Vec<bool> {
        schema.sparse_vectors.values().map(|p| p.idf).collect()
    };
    a.same_shape(b) && idf(a) == idf(b)
}

/// Whether a schema has the vectors that a write names.
pub(crate) fn has_all<'n>(schema: &VectorSchema, names: impl IntoIterator<Item = &'n str>) -> bool {
    names
        .into_iter()
        .all(|name| matches!(field(schema, name), Ok(Field::Dense(..) | Field::Sparse(_))))
}
