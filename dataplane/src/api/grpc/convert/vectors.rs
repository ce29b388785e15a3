//! Ids and vectors.

use serde_json::Value;
use uuid::Uuid;

use super::json::object;
use super::{bad, needed};
use crate::api::dto::document::Document;
use crate::api::dto::vector::{VectorInput, VectorsInput};
use crate::api::grpc::proto;
use crate::error::ServiceError;
use crate::model::{PointId, PointIdError, Vector, Vectors};

const INFERENCE: &str = "server-side inference of anything but texts";

pub(super) fn id(name: &str, id: Option<proto::PointId>) -> Result<PointId, ServiceError> {
    use proto::point_id::PointIdOptions;
    match needed(name, id)?.point_id_options {
        Some(PointIdOptions::Num(n)) => Ok(PointId::Num(n)),
        Some(PointIdOptions::Uuid(text)) => {
            let id = Uuid::try_parse(&text).map(PointId::Uuid);
            let error = || PointIdError(text.chars().take(64).collect());
            id.map_err(|_| bad(format!("'{name}': {}", error())))
        }
        None => Err(bad(format!(
            "'{name}' is empty: set its number or its UUID"
        ))),
    }
}

pub(super) fn ids(name: &str, list: Vec<proto::PointId>) -> Result<Vec<PointId>, ServiceError> {
    list.into_iter().map(|one| id(name, Some(one))).collect()
}

pub(super) fn from_id(id: PointId) -> proto::PointId {
    use proto::point_id::PointIdOptions;
    proto::PointId {
        point_id_options: Some(match id {
            PointId::Num(n) => PointIdOptions::Num(n),
            PointId::Uuid(uuid) => PointIdOptions::Uuid(uuid.hyphenated().to_string()),
        }),
    }
}

fn document(document: proto::Document) -> Result<VectorInput, ServiceError> {
    let proto::Document {
        text,
        model,
        options,
    } = document;
    let options = match options.is_empty() {
        true => None,
        false => Some(Value::Object(object(options)?)),
    };
    Ok(VectorInput::Document(Box::new(Document {
        text,
        model,
        options,
    })))
}

fn multi(list: proto::MultiDenseVector) -> VectorInput {
    VectorInput::Multi(list.vectors.into_iter().map(|v| v.data).collect())
}

/// A vector of a point, in the form of newer clients or of older ones.
pub(super) fn vector(vector: proto::Vector) -> Result<VectorInput, ServiceError> {
    use proto::vector::Vector as Kind;
    let proto::Vector {
        data,
        indices,
        vectors_count,
        vector,
    } = vector;
    Ok(match vector {
        Some(Kind::Dense(dense)) => VectorInput::Dense(dense.data),
        Some(Kind::Sparse(sparse)) => VectorInput::Sparse(sparse.indices, sparse.values),
        Some(Kind::MultiDense(list)) => multi(list),
        Some(Kind::Document(text)) => return document(text),
        Some(Kind::Image(_) | Kind::Object(_)) => VectorInput::Refused(INFERENCE),
        None => match (indices, vectors_count) {
            (None, None) => VectorInput::Dense(data),
            (Some(indices), None) => VectorInput::Sparse(indices.data, data),
            (None, Some(rows)) => VectorInput::Multi(split(&data, rows)?),
            (Some(_), Some(_)) => {
                return Err(bad("a vector has 'indices' or 'vectors_count', not both"));
            }
        },
    })
}

/// A list of vectors that was sent as one.
fn split(data: &[f32], rows: u32) -> Result<Vec<Vec<f32>>, ServiceError> {
    let rows = rows as usize;
    if rows == 0 || data.is_empty() || !data.len().is_multiple_of(rows) {
        return Err(bad(format!(
            "'vectors_count' is {rows}, which does not divide {} components",
            data.len()
        )));
    }
    let size = data.len() / rows;
    Ok(data.chunks_exact(size).map(<[f32]>::to_vec).collect())
}

pub(super) fn vectors(vectors: proto::Vectors) -> Result<VectorsInput, ServiceError> {
    use proto::vectors::VectorsOptions;
    match needed("vectors", vectors.vectors_options)? {
        VectorsOptions::Vector(one) => vector(one).map(VectorsInput::One),
        VectorsOptions::Vectors(named) => named
            .vectors
            .into_iter()
            .map(|(name, one)| Ok((name, vector(one)?)))
            .collect::<Result<_, _>>()
            .map(VectorsInput::Named),
    }
}

/// What a query starts from.
pub(super) fn input(
    name: &str,
    input: Option<proto::VectorInput>,
) -> Result<VectorInput, ServiceError> {
    use proto::vector_input::Variant;
    Ok(match needed(name, input.and_then(|i| i.variant))? {
        Variant::Id(point) => VectorInput::Id(id(name, Some(point))?),
        Variant::Dense(dense) => VectorInput::Dense(dense.data),
        Variant::Sparse(sparse) => VectorInput::Sparse(sparse.indices, sparse.values),
        Variant::MultiDense(list) => multi(list),
        Variant::Document(text) => return document(text),
        Variant::Image(_) | Variant::Object(_) => VectorInput::Refused(INFERENCE),
    })
}

/// The vector of the older query API, with the indices of a sparse one.
pub(super) fn searched(vector: Vec<f32>, indices: Option<proto::SparseIndices>) -> VectorInput {
    match indices {
        None => VectorInput::Dense(vector),
        Some(indices) => VectorInput::Sparse(indices.data, vector),
    }
}

fn from_vector(vector: Vector) -> proto::VectorOutput {
    use proto::vector_output::Vector as Kind;
    let kind = match vector {
        Vector::Dense(data) => Kind::Dense(proto::DenseVector { data }),
        Vector::Sparse(sparse) => {
            let (indices, values) = sparse.into_parts();
            Kind::Sparse(proto::SparseVector { values, indices })
        }
        Vector::Multi(list) => Kind::MultiDense(proto::MultiDenseVector {
            vectors: list
                .rows()
                .map(|row| proto::DenseVector { data: row.to_vec() })
                .collect(),
        }),
    };
    proto::VectorOutput {
        vector: Some(kind),
        ..proto::VectorOutput::default()
    }
}

/// A lone unnamed vector bare, others by name.
pub(super) fn from_vectors(mut vectors: Vectors) -> proto::VectorsOutput {
    use proto::vectors_output::VectorsOptions;
    let lone = match vectors.len() {
        1 => vectors.remove(""),
        _ => None,
    };
    let options = match lone {
        Some(vector) => VectorsOptions::Vector(from_vector(vector)),
        None => VectorsOptions::Vectors(proto::NamedVectorsOutput {
            vectors: vectors
                .into_iter()
                .map(|(name, vector)| (name, from_vector(vector)))
                .collect(),
        }),
    };
    proto::VectorsOutput {
        vectors_options: Some(options),
    }
}
