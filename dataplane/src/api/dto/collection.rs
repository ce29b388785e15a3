//! Collections.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Given, in_range, refuse};
use crate::error::ServiceError;
use crate::model::{Distance, VectorParams};
use crate::service::{CollectionInfo, CreateCollection, Limits};

/// What Qdrant's create request can hold. Fields with an underscore tune Qdrant's storage and have no meaning here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateCollectionDto {
    vectors: Option<Value>,
    shard_number: Option<u32>,
    hnsw_config: Option<HnswDto>,
    sharding_method: Option<String>,
    quantization_config: Given,
    sparse_vectors: Option<BTreeMap<String, Value>>,
    strict_mode_config: Given,
    metadata: Given,
    #[serde(rename = "replication_factor")]
    _replication_factor: Option<u32>,
    #[serde(rename = "write_consistency_factor")]
    _write_consistency_factor: Option<u32>,
    #[serde(rename = "on_disk_payload")]
    _on_disk_payload: Given,
    #[serde(rename = "payload")]
    _payload: Given,
    #[serde(rename = "id_tracker")]
    _id_tracker: Given,
    #[serde(rename = "wal_config")]
    _wal_config: Given,
    #[serde(rename = "optimizers_config")]
    _optimizers_config: Given,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorParamsDto {
    size: usize,
    distance: Distance,
    hnsw_config: Option<HnswDto>,
    quantization_config: Given,
    multivector_config: Given,
    datatype: Option<String>,
    #[serde(rename = "on_disk")]
    _on_disk: Given,
    #[serde(rename = "memory")]
    _memory: Given,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HnswDto {
    m: Option<u32>,
    ef_construct: Option<u32>,
    #[serde(rename = "full_scan_threshold")]
    _full_scan_threshold: Given,
    #[serde(rename = "max_indexing_threads")]
    _max_indexing_threads: Given,
    #[serde(rename = "on_disk")]
    _on_disk: Given,
    #[serde(rename = "memory")]
    _memory: Given,
    #[serde(rename = "payload_m")]
    _payload_m: Given,
    #[serde(rename = "inline_storage")]
    _inline_storage: Given,
}

impl CreateCollectionDto {
    pub(crate) fn into_spec(self, limits: &Limits) -> Result<CreateCollection, ServiceError> {
        refuse(&[
            ("quantization_config", self.quantization_config.is_some()),
            (
                "sparse_vectors",
                self.sparse_vectors.is_some_and(|s| !s.is_empty()),
            ),
            ("strict_mode_config", self.strict_mode_config.is_some()),
            ("collection metadata", self.metadata.is_some()),
        ])?;
        match self.sharding_method.as_deref() {
            None | Some("auto") => {}
            Some("custom") => {
                return Err(ServiceError::Unsupported(
                    "sharding_method 'custom'".to_owned(),
                ));
            }
            Some(_) => {
                return Err(ServiceError::BadRequest(
                    "sharding_method must be 'auto'".to_owned(),
                ));
            }
        }
        let vectors = unnamed(self.vectors)?;
        refuse(&[
            (
                "vectors.quantization_config",
                vectors.quantization_config.is_some(),
            ),
            (
                "vectors.multivector_config",
                vectors.multivector_config.is_some(),
            ),
            (
                "vectors.datatype other than 'float32'",
                vectors.datatype.is_some_and(|t| t != "float32"),
            ),
        ])?;
        in_range("vectors.size", vectors.size, 1, limits.max_dimension)?;
        let size = u32::try_from(vectors.size).map_err(|_| {
            ServiceError::BadRequest("vectors.size does not fit 32 bits".to_owned())
        })?;
        if self.shard_number == Some(0) {
            return Err(ServiceError::BadRequest(
                "shard_number is 0, it must be at least 1".to_owned(),
            ));
        }
        let general = self.hnsw_config.unwrap_or_default();
        let own = vectors.hnsw_config.unwrap_or_default();
        let m = own.m.or(general.m);
        refuse(&[(
            "hnsw_config.m = 0 (collections without a graph)",
            m == Some(0),
        )])?;
        Ok(CreateCollection {
            vector: VectorParams {
                size,
                distance: vectors.distance,
            },
            partitions: self.shard_number,
            hnsw: (m, own.ef_construct.or(general.ef_construct)),
        })
    }
}

/// The parameters of the one unnamed vector: `{"size": ..., ...}` or `{"": {"size": ...}}`.
fn unnamed(vectors: Option<Value>) -> Result<VectorParamsDto, ServiceError> {
    let Some(mut vectors) = vectors else {
        return Err(ServiceError::Unsupported(
            "collections without vectors ('vectors' is missing)".to_owned(),
        ));
    };
    if let Value::Object(map) = &mut vectors {
        if map.is_empty() {
            return Err(ServiceError::Unsupported(
                "collections without vectors ('vectors' is empty)".to_owned(),
            ));
        }
        if map.len() == 1
            && let Some(own) = map.remove("")
        {
            vectors = own;
        } else if let Some((name, _)) = map.iter().find(|(_, v)| v.get("size").is_some()) {
            let name: String = name.chars().take(64).collect();
            return Err(ServiceError::Unsupported(format!(
                "named vectors ('{name}' in vectors)"
            )));
        }
    }
    serde_json::from_value(vectors).map_err(|e| ServiceError::BadRequest(format!("vectors: {e}")))
}

/// A payload index to create.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateIndexDto {
    field_name: String,
    #[serde(rename = "field_schema")]
    _field_schema: Given,
}

impl CreateIndexDto {
    pub(crate) fn check(&self) -> Result<(), ServiceError> {
        if self.field_name.is_empty() {
            return Err(ServiceError::BadRequest("field_name is empty".to_owned()));
        }
        Ok(())
    }
}

/// Qdrant's description of a collection. Figures that Qdrant's clients require and Brainy has no like of are 0.
pub(crate) fn info_document(info: &CollectionInfo) -> Value {
    let spec = &info.collection.spec;
    json!({
        "status": if info.all_serving { "green" } else { "yellow" },
        "optimizer_status": "ok",
        "indexed_vectors_count": info.indexed,
        "points_count": info.points,
        "segments_count": info.segments,
        "config": {
            "params": {
                "vectors": {"size": spec.vector.size, "distance": spec.vector.distance},
                "shard_number": spec.partitions,
                "replication_factor": 1,
                "write_consistency_factor": 1,
                "on_disk_payload": true,
            },
            "hnsw_config": {
                "m": spec.hnsw.m,
                "ef_construct": spec.hnsw.ef_construct,
                "full_scan_threshold": 0,
            },
            "optimizer_config": {"default_segment_number": 0, "flush_interval_sec": 0},
            "wal_config": null,
            "quantization_config": null,
        },
        "payload_schema": {},
    })
}
