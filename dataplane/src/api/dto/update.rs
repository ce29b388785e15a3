//! Changes of a collection that exists.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::schema::{
    DistanceDto, HnswDto, ModifierDto, MultivectorDto, QuantizationInput, SparseParamsDto,
    check_datatype, dense, quantization,
};
use super::{Given, refuse};
use crate::error::ServiceError;
use crate::model::{
    CollectionChange, CollectionPatch, Distance, NewVector, Payload, SparseParams, StrictMode,
    Tuning, VectorPatch,
};
use crate::service::Limits;

objects!(
    UpdateCollectionDto,
    VectorDiffDto,
    NewDenseDto,
    NewSparseDto
);

/// What Qdrant's update request can hold. Fields with an underscore tune Qdrant's storage and have no meaning here.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub(crate) struct UpdateCollectionDto {
    pub(crate) vectors: Option<BTreeMap<String, VectorDiffDto>>,
    pub(crate) hnsw_config: Option<HnswDto>,
    #[schemars(with = "Option<QuantizationInput>")]
    pub(crate) quantization_config: Option<Value>,
    pub(crate) sparse_vectors: Option<BTreeMap<String, SparseParamsDto>>,
    pub(crate) strict_mode_config: Option<StrictMode>,
    pub(crate) metadata: Option<Payload>,
    #[serde(rename = "optimizers_config", alias = "optimizer_config")]
    pub(crate) _optimizers_config: Given,
    #[serde(rename = "params")]
    pub(crate) _params: Given,
}

/// New parameters of a dense vector.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub(crate) struct VectorDiffDto {
    pub(crate) hnsw_config: Option<HnswDto>,
    #[schemars(with = "Option<QuantizationInput>")]
    pub(crate) quantization_config: Option<Value>,
    #[serde(rename = "on_disk")]
    pub(crate) _on_disk: Given,
    #[serde(rename = "memory")]
    pub(crate) _memory: Given,
}

impl UpdateCollectionDto {
    pub(crate) fn into_model(self) -> Result<CollectionChange, ServiceError> {
        let hnsw = self.hnsw_config.unwrap_or_default();
        let codes = self
            .quantization_config
            .map(|value| quantization("quantization_config", value))
            .transpose()?;
        let vectors = self.vectors.unwrap_or_default().into_iter();
        let vectors = vectors.map(|(name, diff)| Ok((name.clone(), diff.into_model(&name)?)));
        let sparse = self.sparse_vectors.unwrap_or_default().into_iter();
        let sparse = sparse.map(|(name, params)| {
            let idf = params.modifier.as_ref().map(ModifierDto::is_idf);
            params.into_model(&format!("sparse_vectors.{name}"))?;
            Ok::<_, ServiceError>((name, idf))
        });
        Ok(CollectionChange::Patch(Box::new(CollectionPatch {
            tuning: Tuning {
                quantization: codes,
                ..hnsw.tuning()?
            },
            vectors: vectors.collect::<Result<_, ServiceError>>()?,
            sparse_idf: sparse.collect::<Result<_, _>>()?,
            strict_mode: self.strict_mode_config.map(check_strict).transpose()?,
            metadata: self.metadata,
        })))
    }
}

impl VectorDiffDto {
    fn into_model(self, name: &str) -> Result<VectorPatch, ServiceError> {
        let field = format!("vectors.{name}.quantization_config");
        Ok(VectorPatch {
            hnsw: self.hnsw_config.map(|hnsw| hnsw.tuning()).transpose()?,
            quantization: self
                .quantization_config
                .map(|value| quantization(&field, value))
                .transpose()?,
        })
    }
}

/// Refuses the limits that cannot be kept, and those that let nothing through.
pub(crate) fn check_strict(strict: StrictMode) -> Result<StrictMode, ServiceError> {
    refuse(&[
        (
            "strict_mode_config.read_rate_limit",
            strict.read_rate_limit.is_some(),
        ),
        (
            "strict_mode_config.write_rate_limit",
            strict.write_rate_limit.is_some(),
        ),
        (
            "strict_mode_config.max_resident_memory_percent (every node has a memory budget)",
            strict.max_resident_memory_percent.is_some(),
        ),
        (
            "strict_mode_config.max_collection_payload_size_bytes",
            strict.max_collection_payload_size_bytes.is_some(),
        ),
        (
            "strict_mode_config.max_collection_vector_size_bytes",
            strict.max_collection_vector_size_bytes.is_some(),
        ),
        (
            "strict_mode_config.max_points_count",
            strict.max_points_count.is_some(),
        ),
    ])?;
    let zero = |value: Option<usize>| value == Some(0);
    for (field, bad) in [
        ("max_query_limit", zero(strict.max_query_limit)),
        ("max_timeout", strict.max_timeout == Some(0)),
        ("search_max_batchsize", zero(strict.search_max_batchsize)),
        ("upsert_max_batchsize", zero(strict.upsert_max_batchsize)),
    ] {
        if bad {
            return Err(ServiceError::BadRequest(format!(
                "strict_mode_config.{field} is 0, it must be at least 1"
            )));
        }
    }
    Ok(strict)
}

/// A vector to add to a collection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NewVectorDto {
    Dense(NewDenseDto),
    Sparse(NewSparseDto),
}

/// A dense one, or a list of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct NewDenseDto {
    pub(crate) size: usize,
    #[schemars(with = "DistanceDto")]
    pub(crate) distance: Distance,
    pub(crate) multivector_config: Option<MultivectorDto>,
    pub(crate) datatype: Option<String>,
}

/// A sparse one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct NewSparseDto {
    pub(crate) modifier: Option<ModifierDto>,
    pub(crate) datatype: Option<String>,
}

impl NewVectorDto {
    pub(crate) fn into_model(
        self,
        name: String,
        limits: &Limits,
    ) -> Result<CollectionChange, ServiceError> {
        let vector = match self {
            Self::Dense(dto) => {
                check_datatype("dense.datatype", dto.datatype.as_deref())?;
                let multivector = dto.multivector_config.is_some();
                let params = dense("dense.size", dto.size, dto.distance, multivector, limits)?;
                NewVector::Dense(params)
            }
            Self::Sparse(dto) => {
                check_datatype("sparse.datatype", dto.datatype.as_deref())?;
                NewVector::Sparse(SparseParams {
                    idf: dto.modifier.as_ref().is_some_and(ModifierDto::is_idf),
                    ..SparseParams::default()
                })
            }
        };
        Ok(CollectionChange::AddVector { name, vector })
    }
}
