//! Collections.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Given;
use super::schema::{HnswDto, QuantizationInput, SparseParamsDto, VectorParamsDto, quantization};
use super::update::check_strict;
use crate::error::ServiceError;
use crate::model::{
    CollectionSettings, DenseParams, HnswParams, Payload, Quantization, StrictMode, Tuning,
    VectorSchema,
};
use crate::service::{CollectionInfo, CreateCollection, Limits};

objects!(CreateCollectionDto);

/// What Qdrant's create request can hold. Fields with an underscore tune Qdrant's storage and have no meaning here.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct CreateCollectionDto {
    #[schemars(with = "Option<VectorsConfig>")]
    pub(crate) vectors: Option<Map<String, Value>>,
    pub(crate) shard_number: Option<u32>,
    pub(crate) hnsw_config: Option<HnswDto>,
    pub(crate) sharding_method: Option<String>,
    #[schemars(with = "Option<QuantizationInput>")]
    pub(crate) quantization_config: Option<Value>,
    pub(crate) sparse_vectors: Option<BTreeMap<String, SparseParamsDto>>,
    pub(crate) strict_mode_config: Option<StrictMode>,
    pub(crate) metadata: Option<Payload>,
    #[serde(rename = "replication_factor")]
    pub(crate) _replication_factor: Option<u32>,
    #[serde(rename = "write_consistency_factor")]
    pub(crate) _write_consistency_factor: Option<u32>,
    #[serde(rename = "on_disk_payload")]
    pub(crate) _on_disk_payload: Given,
    #[serde(rename = "payload")]
    pub(crate) _payload: Given,
    #[serde(rename = "id_tracker")]
    pub(crate) _id_tracker: Given,
    #[serde(rename = "wal_config")]
    pub(crate) _wal_config: Given,
    #[serde(rename = "optimizers_config")]
    pub(crate) _optimizers_config: Given,
}

/// What [`by_name`] reads.
enum VectorsConfig {}

schema!(VectorsConfig, "VectorsConfig", generator => {
    "anyOf": [
        generator.subschema_for::<VectorParamsDto>(),
        generator.subschema_for::<BTreeMap<String, VectorParamsDto>>(),
    ],
});

impl CreateCollectionDto {
    pub(crate) fn into_spec(self, limits: &Limits) -> Result<CreateCollection, ServiceError> {
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
        if self.shard_number == Some(0) {
            return Err(ServiceError::BadRequest(
                "shard_number is 0, it must be at least 1".to_owned(),
            ));
        }
        let codes = self
            .quantization_config
            .map(|value| quantization("quantization_config", value))
            .transpose()?;
        let mut settings = CollectionSettings {
            metadata: self.metadata,
            strict_mode: self.strict_mode_config.map(check_strict).transpose()?,
            tuning: Tuning {
                quantization: codes,
                ..self.hnsw_config.unwrap_or_default().tuning()?
            },
            vectors: BTreeMap::new(),
        };
        let mut schema = VectorSchema::default();
        for (name, field, value) in by_name(self.vectors.unwrap_or_default()) {
            let params: VectorParamsDto = serde_json::from_value(value)
                .map_err(|e| ServiceError::BadRequest(format!("{field}: {e}")))?;
            let (params, own) = params.into_model(&field, limits)?;
            if own != Tuning::default() {
                settings.vectors.insert(name.clone(), own);
            }
            schema.vectors.insert(name, params);
        }
        for (name, params) in self.sparse_vectors.unwrap_or_default() {
            let field = format!("sparse_vectors.{name}");
            schema
                .sparse_vectors
                .insert(name, params.into_model(&field)?);
        }
        settings.tune(&mut schema);
        schema
            .validate()
            .map_err(|e| ServiceError::BadRequest(e.to_string()))?;
        Ok(CreateCollection {
            schema,
            settings,
            partitions: self.shard_number,
        })
    }
}

/// Parameters of every vector, with its name and what to call them in errors: `{"size": ..., ...}` are those of the unnamed
/// one, `{"name": {...}, ...}` of named ones.
fn by_name(vectors: Map<String, Value>) -> Vec<(String, String, Value)> {
    let named = vectors.values().all(Value::is_object);
    if !named {
        let own = Value::Object(vectors);
        return vec![(String::new(), "vectors".to_owned(), own)];
    }
    vectors
        .into_iter()
        .map(|(name, own)| {
            let field = match name.as_str() {
                "" => "vectors".to_owned(),
                name => format!("vectors.{name}"),
            };
            (name, field, own)
        })
        .collect()
}

fn hnsw_document(hnsw: &HnswParams) -> Value {
    json!({
        "m": hnsw.m,
        "ef_construct": hnsw.ef_construct,
        "full_scan_threshold": 0,
    })
}

/// In words that Qdrant's clients know: 4 bits of rotated vectors are a kind of its turbo quantization.
fn quantization_document(quantization: Quantization) -> Value {
    match quantization {
        Quantization::Disabled => Value::Null,
        Quantization::Int8 => json!({"scalar": {"type": "int8"}}),
        Quantization::Int4 => json!({"turbo": {"bits": "bits4"}}),
        Quantization::Binary => json!({"binary": {"encoding": "one_bit"}}),
    }
}

/// Parameters of one vector; what it has in common with the collection's own is left out.
fn vector_document(params: &DenseParams, own: Option<&Tuning>, common: Quantization) -> Value {
    let mut document = json!({"size": params.size, "distance": params.distance});
    if params.multivector {
        document["multivector_config"] = json!({"comparator": "max_sim"});
    }
    let hnsw = own.map(|own| [("m", own.m), ("ef_construct", own.ef_construct)]);
    let hnsw = hnsw.into_iter().flatten();
    let hnsw: Map<String, Value> = hnsw
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
    if !hnsw.is_empty() {
        document["hnsw_config"] = hnsw.into();
    }
    if params.quantization != common {
        document["quantization_config"] = quantization_document(params.quantization);
    }
    document
}

/// Qdrant's description of a collection. Figures that Qdrant's clients require and Brainy has no like of are 0.
pub(crate) fn info_document(info: &CollectionInfo) -> Result<Value, ServiceError> {
    let spec = &info.collection.spec;
    let settings = CollectionSettings::of(&info.collection)?;
    let dense = &spec.schema.vectors;
    // Codes that nobody chose are said once, as those of the first vector. Clients cannot read that a single vector has none:
    // then the others say that they have some.
    let mut codes = dense.values().map(|params| params.quantization);
    let first = settings.tuning.quantization.or(codes.clone().next());
    let common = match codes.any(|codes| codes == Quantization::Disabled) {
        true => Quantization::Disabled,
        false => first.unwrap_or_default(),
    };
    let describe = |(name, params): (&String, &DenseParams)| {
        let own = settings.vectors.get(name);
        (name.clone(), vector_document(params, own, common))
    };
    let vectors = match (dense.len(), dense.get_key_value("")) {
        (1, Some(unnamed)) => describe(unnamed).1,
        _ => dense.iter().map(describe).collect::<Map<_, _>>().into(),
    };
    let mut params = json!({
        "vectors": vectors,
        "shard_number": spec.partitions,
        "replication_factor": 1,
        "write_consistency_factor": 1,
        "on_disk_payload": true,
    });
    let sparse = &spec.schema.sparse_vectors;
    if !sparse.is_empty() {
        let sparse = sparse.iter().map(|(name, params)| {
            let modifier = if params.idf { "idf" } else { "none" };
            (name.clone(), json!({"modifier": modifier}))
        });
        params["sparse_vectors"] = sparse.collect::<Map<_, _>>().into();
    }
    let mut document = json!({
        "status": if info.all_serving { "green" } else { "yellow" },
        "optimizer_status": "ok",
        "indexed_vectors_count": info.indexed,
        "points_count": info.points,
        "segments_count": info.segments,
        "config": {
            "params": params,
            "hnsw_config": hnsw_document(&settings.tuning.hnsw()),
            "optimizer_config": {"default_segment_number": 0, "flush_interval_sec": 0},
            "wal_config": null,
            "quantization_config": quantization_document(common),
        },
        "payload_schema": payload_schema(info),
    });
    if let Some(strict) = settings.strict_mode {
        document["config"]["strict_mode_config"] = json!(strict);
    }
    if let Some(metadata) = settings.metadata {
        document["config"]["metadata"] = metadata.into();
    }
    Ok(document)
}

/// Each indexed field: what it is indexed as, with which parameters, and how many points have a value in the index.
fn payload_schema(info: &CollectionInfo) -> Value {
    let fields = &info.collection.payload_indexes;
    let describe = |(field, schema): (&String, &Value)| {
        let mut described = json!({
            "data_type": schema.get("type").unwrap_or(schema),
            "points": info.indexed_fields.get(field).copied().unwrap_or(0),
        });
        if schema.is_object() {
            described["params"] = schema.clone();
        }
        (field.clone(), described)
    };
    Value::Object(fields.iter().map(describe).collect())
}
