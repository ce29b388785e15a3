//! Vectors of points: dense, lists of dense ones, sparse; and all vectors of a point by name.

use std::fmt;

use brainy_index::sparse::SparseVector;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::le_bytes;

/// A vector that breaks a rule that every vector of its kind keeps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    /// A list without vectors.
    #[error("the multi-vector is empty, it must have at least one vector")]
    NoRows,
    /// Vectors of a list have no components.
    #[error("vector {0} of the multi-vector is empty")]
    EmptyRow(usize),
    /// Vectors of a list differ in length.
    #[error("vector {row} of the multi-vector has {found} components, the first has {expected}")]
    Ragged {
        /// Which.
        row: usize,
        /// Its length.
        found: usize,
        /// Length of the first.
        expected: usize,
    },
}

/// Vectors of equal length, at least one, compared by max-sim.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "RawMultiVector")]
pub struct MultiVector {
    size: u32,
    #[serde(with = "le_bytes")]
    data: Vec<f32>,
}

#[derive(serde::Deserialize)]
struct RawMultiVector {
    size: u32,
    #[serde(with = "le_bytes")]
    data: Vec<f32>,
}

impl TryFrom<RawMultiVector> for MultiVector {
    type Error = VectorError;

    fn try_from(raw: RawMultiVector) -> Result<Self, VectorError> {
        Self::from_flat(raw.size as usize, raw.data)
    }
}

impl MultiVector {
    /// From its vectors.
    ///
    /// # Errors
    /// None, empty ones, or different lengths.
    pub fn new(rows: &[Vec<f32>]) -> Result<Self, VectorError> {
        let expected = rows.first().ok_or(VectorError::NoRows)?.len();
        for (row, vector) in rows.iter().enumerate() {
            match vector.len() {
                0 => return Err(VectorError::EmptyRow(row)),
                found if found != expected => {
                    return Err(VectorError::Ragged {
                        row,
                        found,
                        expected,
                    });
                }
                _ => {}
            }
        }
        Self::from_flat(expected, rows.concat())
    }

    /// From vectors of `size` components each, one after the other.
    ///
    /// # Errors
    /// None, or components left over.
    pub fn from_flat(size: usize, data: Vec<f32>) -> Result<Self, VectorError> {
        if data.is_empty() {
            return Err(VectorError::NoRows);
        }
        let rest = match size {
            0 => return Err(VectorError::EmptyRow(0)),
            size => data.len() % size,
        };
        if rest != 0 {
            return Err(VectorError::Ragged {
                row: data.len() / size,
                found: rest,
                expected: size,
            });
        }
        // Not over the length of the data, which a 32-bit length of bytes carries on the wire.
        Ok(Self {
            size: size as u32,
            data,
        })
    }

    /// Components of each vector.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size as usize
    }

    /// All components, vector after vector.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Its vectors.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.data.chunks_exact(self.size())
    }

    /// Its vectors, to be changed in place.
    pub fn rows_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [f32]> {
        let size = self.size();
        self.data.chunks_exact_mut(size)
    }
}

/// Sparse vectors as two byte strings, indices and values.
mod sparse_bytes {
    use brainy_index::sparse::SparseVector;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::{Serialize, Serializer};

    use super::le_bytes;

    #[derive(serde::Serialize)]
    struct Borrowed<'v>(
        #[serde(with = "le_bytes")] &'v [u32],
        #[serde(with = "le_bytes")] &'v [f32],
    );

    #[derive(serde::Deserialize)]
    struct Owned(
        #[serde(with = "le_bytes")] Vec<u32>,
        #[serde(with = "le_bytes")] Vec<f32>,
    );

    pub(super) fn serialize<S: Serializer>(
        vector: &SparseVector,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Borrowed(vector.indices(), vector.values()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SparseVector, D::Error> {
        let Owned(indices, values) = Owned::deserialize(deserializer)?;
        SparseVector::new(indices, values).map_err(D::Error::custom)
    }
}

/// One vector of a point.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Vector {
    /// Components.
    Dense(#[serde(with = "le_bytes")] Vec<f32>),
    /// A list of dense vectors.
    Multi(MultiVector),
    /// Values at some indices.
    Sparse(#[serde(with = "sparse_bytes")] SparseVector),
}

impl From<Vec<f32>> for Vector {
    fn from(components: Vec<f32>) -> Self {
        Self::Dense(components)
    }
}

impl From<MultiVector> for Vector {
    fn from(vectors: MultiVector) -> Self {
        Self::Multi(vectors)
    }
}

impl From<SparseVector> for Vector {
    fn from(vector: SparseVector) -> Self {
        Self::Sparse(vector)
    }
}

/// The vectors of a point by name, in the order of names. Most points have one or a few: a sorted list is smallest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors(Vec<(String, Vector)>);

impl Vectors {
    /// One vector without a name.
    #[must_use]
    pub fn unnamed(vector: impl Into<Vector>) -> Self {
        Self(vec![(String::new(), vector.into())])
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0
            .binary_search_by(|(other, _)| other.as_str().cmp(name))
    }

    /// The vector of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Vector> {
        self.find(name).ok().map(|at| &self.0[at].1)
    }

    /// Adds a vector, or replaces the one of that name, which is returned.
    pub fn insert(&mut self, name: impl Into<String>, vector: Vector) -> Option<Vector> {
        let name = name.into();
        match self.find(&name) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, vector)),
            Err(at) => {
                self.0.insert(at, (name, vector));
                None
            }
        }
    }

    /// Takes a vector away.
    pub fn remove(&mut self, name: &str) -> Option<Vector> {
        self.find(name).ok().map(|at| self.0.remove(at).1)
    }

    /// Names and vectors.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Vector)> {
        self.0.iter().map(|(name, vector)| (name.as_str(), vector))
    }

    /// Names and vectors, to be changed in place.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut Vector)> {
        let pairs = self.0.iter_mut();
        pairs.map(|(name, vector)| (name.as_str(), vector))
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Vectors {
    type Item = (String, Vector);
    type IntoIter = std::vec::IntoIter<(String, Vector)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The last of several vectors of one name stays.
impl FromIterator<(String, Vector)> for Vectors {
    fn from_iter<I: IntoIterator<Item = (String, Vector)>>(pairs: I) -> Self {
        let mut vectors = Self::default();
        for (name, vector) in pairs {
            vectors.insert(name, vector);
        }
        vectors
    }
}

impl Serialize for Vectors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, vector) in self.iter() {
            map.serialize_entry(name, vector)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Vectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Vectors;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("vectors by name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vectors, A::Error> {
                let mut vectors = Vectors::default();
                while let Some((name, vector)) = map.next_entry::<String, Vector>()? {
                    if vectors.insert(name, vector).is_some() {
                        return Err(A::Error::custom("a name of a vector comes twice"));
                    }
                }
                Ok(vectors)
            }
        }
        deserializer.deserialize_map(V)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_not_empty_and_of_one_length() {
        let list = MultiVector::new(&[vec![1.0, 2.0], vec![3.0, 4.0]]).unwrap();
        assert_eq!((list.size(), list.data()), (2, &[1.0, 2.0, 3.0, 4.0][..]));
        assert_eq!(list.rows().nth(1), Some(&[3.0, 4.0][..]));
        assert_eq!(MultiVector::new(&[]), Err(VectorError::NoRows));
        assert_eq!(MultiVector::new(&[vec![]]), Err(VectorError::EmptyRow(0)));
        assert!(matches!(
            MultiVector::new(&[vec![1.0], vec![1.0, 2.0]]),
            Err(VectorError::Ragged {
                row: 1,
                found: 2,
                expected: 1
            })
        ));
        assert!(MultiVector::from_flat(2, vec![1.0; 3]).is_err());
    }

    #[test]
    fn vectors_are_found_by_name_and_replaced() {
        let mut all = Vectors::unnamed(vec![1.0]);
        assert_eq!(all.insert("b", vec![2.0].into()), None);
        assert_eq!(all.insert("a", vec![3.0].into()), None);
        assert_eq!(all.insert("b", vec![4.0].into()), Some(vec![2.0].into()));
        let names: Vec<_> = all.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["", "a", "b"]);
        assert_eq!(all.remove("a"), Some(vec![3.0].into()));
        assert_eq!((all.get("a"), all.len()), (None, 2));
    }

    fn vector() -> impl Strategy<Value = Vector> {
        let floats = || proptest::collection::vec(-9f32..9.0, 1..6);
        prop_oneof![
            floats().prop_map(Vector::Dense),
            floats().prop_map(|data| MultiVector::from_flat(1, data).unwrap().into()),
            proptest::collection::btree_map(any::<u32>(), -9f32..9.0, 0..6).prop_map(|pairs| {
                let (indices, values) = pairs.into_iter().unzip();
                SparseVector::new(indices, values).unwrap().into()
            }),
        ]
    }

    proptest! {
        #[test]
        fn vectors_survive_encoding(pairs in proptest::collection::vec(("[a-c]{0,2}", vector()), 0..5)) {
            let vectors: Vectors = pairs.into_iter().collect();
            let bytes = rmp_serde::to_vec(&vectors).unwrap();
            prop_assert_eq!(rmp_serde::from_slice::<Vectors>(&bytes).unwrap(), vectors);
        }
    }

    #[test]
    fn vectors_that_break_their_rules_do_not_decode() {
        #[derive(serde::Serialize)]
        enum Raw {
            Sparse(
                #[serde(with = "le_bytes")] Vec<u32>,
                #[serde(with = "le_bytes")] Vec<f32>,
            ),
        }
        let encoded = |raw: Raw| rmp_serde::to_vec(&raw).unwrap();
        let good = encoded(Raw::Sparse(vec![1, 2], vec![1.0, 2.0]));
        assert!(rmp_serde::from_slice::<Vector>(&good).is_ok());
        for (indices, values) in [
            (vec![1, 1], vec![1.0, 2.0]),
            (vec![1], vec![]),
            (vec![1], vec![f32::INFINITY]),
        ] {
            let bad = encoded(Raw::Sparse(indices, values));
            assert!(rmp_serde::from_slice::<Vector>(&bad).is_err());
        }
    }
}
