//! Changes of collections: parameters and aliases.

use serde_json::{Value, json};

use super::json::object;
use super::parameters::{
    Doc, Read, by_name, datatype, hnsw, kept, modifier, optimizers, quantized, sparse, strict_mode,
    typed,
};
use super::{bad, needed};
use crate::api::dto::alias::{
    AliasActionDto, ChangeAliasesDto, CreateAliasDto, DeleteAliasDto, RenameAliasDto,
};
use crate::api::dto::update::{NewVectorDto, UpdateCollectionDto};
use crate::api::grpc::proto;

/// What is to change of a collection.
pub(in crate::api::grpc) fn update(message: proto::UpdateCollection) -> Read<UpdateCollectionDto> {
    let proto::UpdateCollection {
        collection_name: _,
        optimizers_config,
        timeout: _,
        params,
        hnsw_config,
        vectors_config,
        quantization_config,
        sparse_vectors_config,
        strict_mode_config,
        metadata,
    } = message;
    let mut doc = Doc::default();
    let optimizers = optimizers_config.map(optimizers);
    doc.put("optimizers_config", optimizers);
    doc.put("params", params.map(self::params).transpose()?);
    doc.put("hnsw_config", hnsw_config.map(hnsw).transpose()?);
    let vectors = vectors_config.map(self::vectors).transpose()?;
    doc.put("vectors", vectors.flatten());
    let codes = quantization_config.map(codes).transpose()?;
    doc.put("quantization_config", codes);
    let sparse = sparse_vectors_config.map(sparse).transpose()?;
    doc.put("sparse_vectors", sparse);
    doc.put("strict_mode_config", strict_mode_config.map(strict_mode));
    // A map cannot be absent: an empty one says nothing.
    if !metadata.is_empty() {
        doc.put("metadata", Some(object(metadata)?));
    }
    typed(doc)
}

fn params(params: proto::CollectionParamsDiff) -> Read<Doc> {
    let proto::CollectionParamsDiff {
        replication_factor,
        write_consistency_factor,
        on_disk_payload,
        read_fan_out_factor,
        read_fan_out_delay_ms,
        payload,
        id_tracker,
    } = params;
    let mut doc = Doc::default();
    doc.put("replication_factor", replication_factor);
    doc.put("write_consistency_factor", write_consistency_factor);
    doc.put("on_disk_payload", on_disk_payload);
    doc.put("read_fan_out_factor", read_fan_out_factor);
    doc.put("read_fan_out_delay_ms", read_fan_out_delay_ms);
    let payload = payload.map(|p| kept(p.memory)).transpose()?;
    doc.put("payload", payload);
    let id_tracker = id_tracker.map(|p| kept(p.memory)).transpose()?;
    doc.put("id_tracker", id_tracker);
    Ok(doc)
}

/// By name; the unnamed one has the empty name.
fn vectors(config: proto::VectorsConfigDiff) -> Read<Option<Value>> {
    use proto::vectors_config_diff::Config;
    Ok(match config.config {
        None => None,
        Some(Config::Params(params)) => Some(json!({"": Value::from(vector(params)?)})),
        Some(Config::ParamsMap(named)) => Some(by_name(named.map, vector)?),
    })
}

fn vector(params: proto::VectorParamsDiff) -> Read<Doc> {
    let proto::VectorParamsDiff {
        hnsw_config,
        quantization_config,
        on_disk,
        memory,
    } = params;
    let mut doc = Doc::default();
    doc.put("hnsw_config", hnsw_config.map(hnsw).transpose()?);
    let codes = quantization_config.map(codes).transpose()?;
    doc.put("quantization_config", codes);
    doc.put("on_disk", on_disk);
    doc.put("memory", super::parameters::memory(memory)?);
    Ok(doc)
}

fn codes(config: proto::QuantizationConfigDiff) -> Read<Value> {
    use proto::quantization_config::Quantization as Kind;
    use proto::quantization_config_diff::Quantization as Diff;
    quantized(match config.quantization {
        None => return Err(bad("'quantization_config' is empty")),
        Some(Diff::Disabled(_)) => return Ok(json!("Disabled")),
        Some(Diff::Scalar(scalar)) => Kind::Scalar(scalar),
        Some(Diff::Product(product)) => Kind::Product(product),
        Some(Diff::Binary(binary)) => Kind::Binary(binary),
        Some(Diff::Turboquant(turbo)) => Kind::Turboquant(turbo),
    })
}

/// All of these changes or none.
pub(in crate::api::grpc) fn aliases(
    actions: Vec<proto::AliasOperations>,
) -> Read<ChangeAliasesDto> {
    use proto::alias_operations::Action;
    let actions = actions.into_iter().map(|one| {
        Ok(match needed("action", one.action)? {
            Action::CreateAlias(proto::CreateAlias {
                collection_name,
                alias_name,
            }) => AliasActionDto::Create(CreateAliasDto {
                collection_name,
                alias_name,
            }),
            Action::RenameAlias(proto::RenameAlias {
                old_alias_name,
                new_alias_name,
            }) => AliasActionDto::Rename(RenameAliasDto {
                old_alias_name,
                new_alias_name,
            }),
            Action::DeleteAlias(proto::DeleteAlias { alias_name }) => {
                AliasActionDto::Delete(DeleteAliasDto { alias_name })
            }
        })
    });
    Ok(ChangeAliasesDto {
        actions: actions.collect::<Read<_>>()?,
    })
}

/// A vector to add to a collection.
pub(in crate::api::grpc) fn new_vector(
    config: Option<proto::create_vector_name_request::VectorConfig>,
) -> Read<NewVectorDto> {
    use proto::create_vector_name_request::VectorConfig;
    let (kind, doc) = match needed("vector_config", config)? {
        VectorConfig::DenseConfig(dense) => {
            let proto::DenseVectorCreationConfig {
                size,
                distance,
                multivector_config,
                datatype,
            } = dense;
            let params = super::parameters::vector(proto::VectorParams {
                size,
                distance,
                multivector_config,
                datatype,
                ..proto::VectorParams::default()
            })?;
            ("dense", params)
        }
        VectorConfig::SparseConfig(sparse) => {
            let proto::SparseVectorCreationConfig { modifier, datatype } = sparse;
            let mut doc = Doc::default();
            doc.put("modifier", modifier.map(self::modifier).transpose()?);
            doc.put("datatype", self::datatype(datatype)?);
            ("sparse", doc)
        }
    };
    let mut outer = Doc::default();
    outer.put(kind, Some(doc));
    typed(outer)
}
