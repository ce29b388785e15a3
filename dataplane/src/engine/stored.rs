//! The vectors of one row, borrowed from the layer that holds it. Fields are numbered in the order of their names in the
//! schema, dense and sparse ones each from 0 on.

use std::borrow::Cow;

use brainy_index::kernels::FloatPair;

use crate::model::{
    DenseParams, MultiVector, SparseVector, Vector, VectorSchema, VectorSelector, Vectors,
};

/// Dense vectors of equal length, one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct DenseRows<'a> {
    data: Cow<'a, [f32]>,
    size: usize,
    stride: usize,
}

impl<'a> DenseRows<'a> {
    /// Vectors of `size` components, each `stride` after the one before.
    pub(crate) fn new(data: &'a [f32], size: usize, stride: usize) -> Self {
        Self {
            data: Cow::Borrowed(data),
            size,
            stride,
        }
    }

    /// As [`Self::new`], of a copy.
    pub(crate) fn owned(data: Vec<f32>, size: usize, stride: usize) -> Self {
        Self {
            data: Cow::Owned(data),
            size,
            stride,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        let size = self.size;
        self.data
            .chunks(self.stride.max(1))
            .map(move |row| &row[..size])
    }

    /// A copy; none if there are no vectors.
    fn copied(self, params: &DenseParams) -> Option<Vector> {
        let data: Vec<f32> = self.iter().flatten().copied().collect();
        if params.multivector {
            MultiVector::from_flat(self.size, data)
                .ok()
                .map(Vector::Multi)
        } else {
            (!data.is_empty()).then_some(Vector::Dense(data))
        }
    }

    /// Internal distance to a query of one or several vectors: the sum of the distance of each to the nearest of these. Lower
    /// is nearer; never NaN. There is at least one vector on both sides, and all are padded with zeros to the length that
    /// kernels expect.
    pub(crate) fn distance(&self, pair: FloatPair, query: &[Vec<f32>]) -> f32 {
        let nearest = query.iter().map(|q| {
            let rows = self.data.chunks_exact(self.stride.max(1));
            rows.map(|row| pair(q, row)).fold(f32::INFINITY, f32::min)
        });
        let sum: f32 = nearest.sum();
        if sum.is_nan() { f32::INFINITY } else { sum }
    }
}

/// A sparse vector: unique, ascending indices and the value of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SparseRef<'a> {
    pub(crate) indices: &'a [u32],
    pub(crate) values: &'a [f32],
}

impl SparseRef<'_> {
    /// A copy; none if the rules of sparse vectors are broken.
    pub(crate) fn to_owned(self) -> Option<SparseVector> {
        SparseVector::new(self.indices.to_vec(), self.values.to_vec()).ok()
    }

    /// Dot product, always finite; none if no index is in both. What [`SparseVector::dot`] gives.
    pub(crate) fn dot(&self, other: SparseRef<'_>) -> Option<f32> {
        let (mut i, mut j) = (0, 0);
        let mut sum: Option<f64> = None;
        while let (Some(a), Some(b)) = (self.indices.get(i), other.indices.get(j)) {
            if a == b {
                let product = f64::from(self.values[i]) * f64::from(other.values[j]);
                sum = Some(sum.unwrap_or(0.0) + product);
            }
            i += usize::from(a <= b);
            j += usize::from(b <= a);
        }
        sum.map(|s| (s as f32).clamp(f32::MIN, f32::MAX))
    }
}

impl<'a> From<&'a SparseVector> for SparseRef<'a> {
    fn from(vector: &'a SparseVector) -> Self {
        Self {
            indices: vector.indices(),
            values: vector.values(),
        }
    }
}

/// One row's vectors.
pub(crate) trait RowVectors {
    /// Those of a dense field: one, several in a field of multi-vectors, none if the row has no such vector.
    fn dense(&self, field: usize) -> DenseRows<'_>;
    /// That of a sparse field.
    fn sparse(&self, field: usize) -> Option<SparseRef<'_>>;
}

/// Whether `row` has a vector of this name.
pub(crate) fn has(schema: &VectorSchema, row: &dyn RowVectors, name: &str) -> bool {
    let dense = schema.vectors.keys().position(|n| n == name);
    let sparse = schema.sparse_vectors.keys().position(|n| n == name);
    dense.is_some_and(|field| !row.dense(field).is_empty())
        || sparse.is_some_and(|field| row.sparse(field).is_some())
}

/// A copy of the vectors of `row` that are wanted.
pub(crate) fn collect(
    schema: &VectorSchema,
    row: &dyn RowVectors,
    wanted: &VectorSelector,
) -> Vectors {
    let dense = schema.vectors.iter().enumerate();
    let dense = dense
        .filter(|(_, (name, _))| wanted.wants(name))
        .filter_map(|(field, (name, params))| {
            let vector = row.dense(field).copied(params)?;
            Some((name.clone(), vector))
        });
    let sparse = schema.sparse_vectors.keys().enumerate();
    let sparse = sparse
        .filter(|(_, name)| wanted.wants(name))
        .filter_map(|(field, name)| {
            let vector = row.sparse(field)?.to_owned()?;
            Some((name.clone(), vector.into()))
        });
    dense.chain(sparse).collect()
}

/// Vectors of a point as a row of `schema`, which they fit.
pub(crate) struct Named<'a> {
    pub(crate) schema: &'a VectorSchema,
    pub(crate) vectors: &'a Vectors,
}

impl RowVectors for Named<'_> {
    fn dense(&self, field: usize) -> DenseRows<'_> {
        let name = self.schema.vectors.keys().nth(field);
        match name.and_then(|name| self.vectors.get(name)) {
            Some(Vector::Dense(data)) => DenseRows::new(data, data.len(), data.len()),
            Some(Vector::Multi(list)) => DenseRows::new(list.data(), list.size(), list.size()),
            _ => DenseRows::default(),
        }
    }

    fn sparse(&self, field: usize) -> Option<SparseRef<'_>> {
        let name = self.schema.sparse_vectors.keys().nth(field)?;
        match self.vectors.get(name)? {
            Vector::Sparse(vector) => Some(vector.into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brainy_index::kernels::kernels;
    use brainy_index::measure::Measure;
    use brainy_index::vectors::{padded, stride};

    #[test]
    fn distances_of_lists_are_sums_of_the_nearest() {
        let distance = |measure, rows: &[Vec<f32>], query: &[Vec<f32>]| {
            let size = query[0].len();
            let pad = |rows: &[Vec<f32>]| -> Vec<Vec<f32>> {
                rows.iter().map(|row| padded(row, size)).collect()
            };
            let data = pad(rows).concat();
            let rows = DenseRows::new(&data, size, stride(size));
            rows.distance(kernels().pair(measure), &pad(query))
        };
        let rows = [vec![1.0, 0.0], vec![0.0, 1.0]];
        let query = [vec![2.0, 0.0], vec![0.0, 3.0]];
        assert_eq!(distance(Measure::Dot, &rows, &query), -5.0);
        assert_eq!(distance(Measure::Euclid, &rows, &query), 1.0 + 4.0);
        assert_eq!(distance(Measure::Manhattan, &rows, &query), 1.0 + 2.0);
        let huge = [vec![f32::MAX], vec![f32::MIN]];
        assert!(!distance(Measure::Dot, &huge, &huge).is_nan());
    }

    #[test]
    fn sparse_products_need_a_common_index() {
        let vector = |indices: &[u32]| {
            SparseVector::new(indices.to_vec(), vec![2.0; indices.len()]).unwrap()
        };
        let dot = |a: &[u32], b: &[u32]| SparseRef::from(&vector(a)).dot((&vector(b)).into());
        assert_eq!(dot(&[1, 5, 9], &[0, 5, 9, 11]), Some(8.0));
        assert_eq!(dot(&[1, 5], &[2, 6]), None);
        assert_eq!(dot(&[], &[2]), None);
    }
}
