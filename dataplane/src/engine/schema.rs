//! Checks vectors against the schema and brings them into the form in which they are stored.

use crate::model::{DenseParams, Distance, Vector, VectorSchema, Vectors};

use super::distance::normalise;
use super::error::EngineError;

/// Where a name leads in a schema: the number of the field and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Dense(usize, DenseParams),
    Sparse(usize),
}

/// The field of this name.
///
/// # Errors
/// [`EngineError::Invalid`] with the names that there are.
pub(crate) fn field(schema: &VectorSchema, name: &str) -> Result<Field, EngineError> {
    let dense = schema.vectors.iter().enumerate();
    if let Some((number, (_, params))) = dense.into_iter().find(|(_, (n, _))| *n == name) {
        return Ok(Field::Dense(number, *params));
    }
    if let Some(number) = schema.sparse_vectors.keys().position(|n| n == name) {
        return Ok(Field::Sparse(number));
    }
    Err(EngineError::invalid(
        what(name),
        format!(
            "the collection has none of that name, {}",
            vector_names(schema)
        ),
    ))
}

fn what(name: &str) -> String {
    match name {
        "" => "the unnamed vector".to_owned(),
        name => format!("vector '{name}'"),
    }
}

/// Which vectors there are, in words.
pub(crate) fn vector_names(schema: &VectorSchema) -> String {
    let names: Vec<String> = schema.names().map(|name| format!("'{name}'")).collect();
    if names.is_empty() {
        return "it has no vectors".to_owned();
    }
    format!("its vectors are {}", names.join(", "))
}

/// Checks vectors and scales those of cosine fields to unit length.
///
/// # Errors
/// [`EngineError::Invalid`] with the vector and the rule that it breaks.
pub(crate) fn prepare(schema: &VectorSchema, vectors: &mut Vectors) -> Result<(), EngineError> {
    for (name, vector) in vectors.iter_mut() {
        let field = field(schema, name)?;
        prepare_one(&field, name, vector)?;
    }
    Ok(())
}

/// Checks vectors that the API prepared: names, kinds and sizes.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn check(schema: &VectorSchema, vectors: &Vectors) -> Result<(), EngineError> {
    for (name, vector) in vectors.iter() {
        let size = |params: &DenseParams| params.size as usize;
        let fits = match (field(schema, name)?, vector) {
            (Field::Dense(_, params), Vector::Dense(data)) => {
                !params.multivector && data.len() == size(&params)
            }
            (Field::Dense(_, params), Vector::Multi(list)) => {
                params.multivector && list.size() == size(&params)
            }
            (Field::Sparse(_), Vector::Sparse(_)) => true,
            _ => false,
        };
        if !fits {
            let rule = "the collection's vectors of that name are of another kind or size now";
            return Err(EngineError::invalid(what(name), rule));
        }
    }
    Ok(())
}

/// As [`prepare`], of one vector. A field of multi-vectors takes lists, others do not.
pub(crate) fn prepare_one(
    field: &Field,
    name: &str,
    vector: &mut Vector,
) -> Result<(), EngineError> {
    match (field, vector) {
        (Field::Dense(_, params), Vector::Dense(data)) if !params.multivector => {
            prepare_row(params, name, data)
        }
        (Field::Dense(_, params), Vector::Multi(list)) if params.multivector => list
            .rows_mut()
            .try_for_each(|row| prepare_row(params, name, row)),
        (Field::Sparse(_), Vector::Sparse(_)) => Ok(()),
        (field, _) => {
            let kind = match field {
                Field::Sparse(_) => "sparse",
                Field::Dense(_, params) if params.multivector => "lists of dense vectors",
                Field::Dense(..) => "dense",
            };
            let rule = format!("the collection's vectors of that name are {kind}");
            Err(EngineError::invalid(what(name), rule))
        }
    }
}

fn prepare_row(params: &DenseParams, name: &str, row: &mut [f32]) -> Result<(), EngineError> {
    let size = params.size as usize;
    if row.len() != size {
        let rule = format!(
            "it has {} components, the collection's vectors have {size}",
            row.len()
        );
        return Err(EngineError::invalid(what(name), rule));
    }
    finite(name, row)?;
    if params.distance == Distance::Cosine {
        normalise(row);
    }
    Ok(())
}

fn finite(name: &str, row: &[f32]) -> Result<(), EngineError> {
    if let Some(i) = row.iter().position(|v| !v.is_finite()) {
        let rule = format!(
            "component {i} is {}, it must be a finite 32-bit number",
            row[i]
        );
        return Err(EngineError::invalid(what(name), rule));
    }
    Ok(())
}

/// Whether all of a vector is finite, whatever collection it is for.
///
/// # Errors
/// [`EngineError::Invalid`] with the vector and the component.
pub(crate) fn check_finite(name: &str, vector: &Vector) -> Result<(), EngineError> {
    match vector {
        Vector::Dense(data) => finite(name, data),
        Vector::Multi(list) => list.rows().try_for_each(|row| finite(name, row)),
        Vector::Sparse(sparse) => finite(name, sparse.values()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MultiVector, SparseParams, SparseVector};
    use std::collections::BTreeMap;

    fn schema() -> VectorSchema {
        let lists = DenseParams {
            multivector: true,
            ..DenseParams::new(2, Distance::Cosine)
        };
        VectorSchema {
            vectors: BTreeMap::from([
                ("a".to_owned(), DenseParams::new(2, Distance::Dot)),
                ("b".to_owned(), lists),
            ]),
            sparse_vectors: BTreeMap::from([("s".to_owned(), SparseParams::default())]),
            ..VectorSchema::default()
        }
    }

    fn prepared(name: &str, vector: impl Into<Vector>) -> Result<Vector, String> {
        let mut vectors = Vectors::default();
        vectors.insert(name, vector.into());
        prepare(&schema(), &mut vectors).map_err(|e| e.to_string())?;
        Ok(vectors.get(name).unwrap().clone())
    }

    #[test]
    fn vectors_that_do_not_fit_are_named_with_the_rule() {
        let list = |rows: &[Vec<f32>]| Vector::from(MultiVector::new(rows).unwrap());
        for (name, vector, words) in [
            ("x", vec![1.0].into(), ["'x'", "'a', 'b', 's'"]),
            ("", vec![1.0].into(), ["unnamed", "'a', 'b', 's'"]),
            ("a", vec![1.0].into(), ["'a'", "1 components"]),
            ("a", vec![1.0, f32::NAN].into(), ["'a'", "component 1"]),
            ("a", list(&[vec![1.0, 2.0]]), ["'a'", "are dense"]),
            ("b", vec![1.0, 2.0].into(), ["'b'", "lists"]),
            ("b", list(&[vec![1.0]]), ["'b'", "1 components"]),
            ("s", vec![1.0, 2.0].into(), ["'s'", "sparse"]),
            ("a", SparseVector::default().into(), ["'a'", "are dense"]),
        ] {
            let text = prepared(name, vector).unwrap_err();
            assert!(words.iter().all(|w| text.contains(w)), "{text}");
        }
    }

    #[test]
    fn every_vector_of_a_cosine_list_gets_unit_length() {
        let list = MultiVector::new(&[vec![3.0, 4.0], vec![0.0, 0.0]]).unwrap();
        let unit = MultiVector::new(&[vec![0.6, 0.8], vec![0.0, 0.0]]).unwrap();
        assert_eq!(prepared("b", list), Ok(unit.into()));
        assert_eq!(prepared("a", vec![3.0, 4.0]), Ok(vec![3.0, 4.0].into()));
    }
}
