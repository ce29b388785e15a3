//! Parameters of collections, by way of JSON: they are few, and REST's form has all checks.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::json::object;
use super::{bad, unknown};
use crate::api::dto::collection::CreateCollectionDto;
use crate::api::grpc::proto;
use crate::error::ServiceError;

/// A JSON object with the fields that were given.
#[derive(Default)]
pub(super) struct Doc(Map<String, Value>);

impl Doc {
    /// Adds a field, if it was given.
    pub(super) fn put(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    pub(super) fn into_map(self) -> Map<String, Value> {
        self.0
    }
}

impl From<Doc> for Value {
    fn from(doc: Doc) -> Self {
        Self::Object(doc.0)
    }
}

pub(super) type Read<T> = Result<T, ServiceError>;

/// The request that a document is.
pub(super) fn typed<'de, T: Deserialize<'de>>(doc: Doc) -> Read<T> {
    T::deserialize(Value::from(doc)).map_err(|e| bad(e.to_string()))
}

/// A collection to create.
pub(in crate::api::grpc) fn create(message: proto::CreateCollection) -> Read<CreateCollectionDto> {
    let proto::CreateCollection {
        collection_name: _,
        hnsw_config,
        wal_config,
        optimizers_config,
        shard_number,
        on_disk_payload,
        timeout: _,
        vectors_config,
        replication_factor,
        write_consistency_factor,
        quantization_config,
        sharding_method,
        sparse_vectors_config,
        strict_mode_config,
        metadata,
        payload,
        id_tracker,
    } = message;
    let mut doc = Doc::default();
    doc.put(
        "vectors",
        vectors_config.map(vectors).transpose()?.flatten(),
    );
    doc.put(
        "sparse_vectors",
        sparse_vectors_config.map(sparse).transpose()?,
    );
    doc.put("shard_number", shard_number);
    doc.put(
        "sharding_method",
        sharding_method.map(sharding).transpose()?,
    );
    doc.put("hnsw_config", hnsw_config.map(hnsw).transpose()?);
    doc.put("wal_config", wal_config.map(wal));
    doc.put("optimizers_config", optimizers_config.map(optimizers));
    doc.put("on_disk_payload", on_disk_payload);
    doc.put("replication_factor", replication_factor);
    doc.put("write_consistency_factor", write_consistency_factor);
    let codes = quantization_config.map(quantization).transpose()?;
    doc.put("quantization_config", codes);
    doc.put("strict_mode_config", strict_mode_config.map(strict_mode));
    doc.put("metadata", given_object(metadata)?);
    let kept = payload.map(|p| kept(p.memory)).transpose()?;
    doc.put("payload", kept);
    let kept = id_tracker.map(|p| self::kept(p.memory)).transpose()?;
    doc.put("id_tracker", kept);
    typed(doc)
}

/// A map cannot be absent: an empty one says nothing.
fn given_object(fields: BTreeMap<String, proto::Value>) -> Read<Option<Map<String, Value>>> {
    match fields.is_empty() {
        true => Ok(None),
        false => object(fields).map(Some),
    }
}

/// Where payload or ids are kept.
pub(super) fn kept(place: Option<i32>) -> Read<Doc> {
    let mut doc = Doc::default();
    doc.put("memory", memory(place)?);
    Ok(doc)
}

/// Where a structure is kept.
pub(super) fn memory(number: Option<i32>) -> Read<Option<&'static str>> {
    use proto::Memory as Kind;
    Ok(match number.map(Kind::try_from) {
        None | Some(Ok(Kind::Unknown)) => None,
        Some(Ok(Kind::Cold)) => Some("cold"),
        Some(Ok(Kind::Cached)) => Some("cached"),
        Some(Ok(Kind::Pinned)) => Some("pinned"),
        Some(Err(_)) => return Err(unknown("memory", number.unwrap_or_default())),
    })
}

fn vectors(config: proto::VectorsConfig) -> Read<Option<Value>> {
    use proto::vectors_config::Config;
    Ok(match config.config {
        None => None,
        Some(Config::Params(params)) => Some(vector(params)?.into()),
        Some(Config::ParamsMap(named)) => Some(by_name(named.map, vector)?),
    })
}

/// Parameters of vectors by name.
pub(super) fn by_name<T>(named: BTreeMap<String, T>, read: impl Fn(T) -> Read<Doc>) -> Read<Value> {
    let named = named.into_iter().map(|(name, params)| {
        let place = |e: ServiceError| e.within(&name);
        Ok((name.clone(), read(params).map_err(place)?.into()))
    });
    named.collect::<Read<Map<_, _>>>().map(Value::Object)
}

/// A dense vector.
pub(super) fn vector(params: proto::VectorParams) -> Read<Doc> {
    let proto::VectorParams {
        size,
        distance,
        hnsw_config,
        quantization_config,
        on_disk,
        datatype,
        multivector_config,
        memory,
    } = params;
    let mut doc = Doc::default();
    doc.put("size", Some(size));
    doc.put("distance", Some(self::distance(distance)?));
    doc.put("hnsw_config", hnsw_config.map(hnsw).transpose()?);
    let codes = quantization_config.map(quantization).transpose()?;
    doc.put("quantization_config", codes);
    doc.put("on_disk", on_disk);
    doc.put("datatype", self::datatype(datatype)?);
    let multi = multivector_config.map(multivector).transpose()?;
    doc.put("multivector_config", multi);
    doc.put("memory", self::memory(memory)?);
    Ok(doc)
}

fn multivector(config: proto::MultiVectorConfig) -> Read<Value> {
    match proto::MultiVectorComparator::try_from(config.comparator) {
        Ok(proto::MultiVectorComparator::MaxSim) => Ok(json!({"comparator": "max_sim"})),
        Err(_) => Err(unknown("comparator", config.comparator)),
    }
}

fn distance(number: i32) -> Read<&'static str> {
    use proto::Distance as Kind;
    Ok(match Kind::try_from(number) {
        Ok(Kind::Cosine) => "Cosine",
        Ok(Kind::Euclid) => "Euclid",
        Ok(Kind::Dot) => "Dot",
        Ok(Kind::Manhattan) => "Manhattan",
        Ok(Kind::UnknownDistance) => return Err(bad("'distance' is missing")),
        Err(_) => return Err(unknown("distance", number)),
    })
}

/// How components are stored.
pub(super) fn datatype(number: Option<i32>) -> Read<Option<&'static str>> {
    use proto::Datatype as Kind;
    Ok(match number.map(Kind::try_from) {
        None | Some(Ok(Kind::Default)) => None,
        Some(Ok(Kind::Float32)) => Some("float32"),
        Some(Ok(Kind::Uint8)) => Some("uint8"),
        Some(Ok(Kind::Float16)) => Some("float16"),
        Some(Ok(Kind::Turbo4)) => Some("turbo4"),
        Some(Ok(Kind::Turbo8)) => Some("turbo8"),
        Some(Ok(Kind::Turbo16)) => Some("turbo16"),
        Some(Err(_)) => return Err(unknown("datatype", number.unwrap_or_default())),
    })
}

fn sharding(number: i32) -> Read<&'static str> {
    match proto::ShardingMethod::try_from(number) {
        Ok(proto::ShardingMethod::Auto) => Ok("auto"),
        Ok(proto::ShardingMethod::Custom) => Ok("custom"),
        Err(_) => Err(unknown("sharding_method", number)),
    }
}

/// Sparse vectors by name.
pub(super) fn sparse(config: proto::SparseVectorConfig) -> Read<Value> {
    by_name(config.map, sparse_vector)
}

fn sparse_vector(params: proto::SparseVectorParams) -> Read<Doc> {
    let proto::SparseVectorParams { index, modifier } = params;
    let mut doc = Doc::default();
    if let Some(number) = modifier {
        doc.put("modifier", Some(self::modifier(number)?));
    }
    if let Some(index) = index {
        let proto::SparseIndexConfig {
            full_scan_threshold,
            on_disk,
            datatype,
            memory,
        } = index;
        let mut index = Doc::default();
        index.put("full_scan_threshold", full_scan_threshold);
        index.put("on_disk", on_disk);
        index.put("datatype", self::datatype(datatype)?);
        index.put("memory", self::memory(memory)?);
        doc.put("index", Some(index));
    }
    Ok(doc)
}

/// What is done to weights of terms.
pub(super) fn modifier(number: i32) -> Read<&'static str> {
    match proto::Modifier::try_from(number) {
        Ok(proto::Modifier::None) => Ok("none"),
        Ok(proto::Modifier::Idf) => Ok("idf"),
        Err(_) => Err(unknown("modifier", number)),
    }
}

/// The graph.
pub(super) fn hnsw(config: proto::HnswConfigDiff) -> Read<Doc> {
    let proto::HnswConfigDiff {
        m,
        ef_construct,
        full_scan_threshold,
        max_indexing_threads,
        on_disk,
        payload_m,
        inline_storage,
        memory,
    } = config;
    let mut doc = Doc::default();
    doc.put("m", m);
    doc.put("ef_construct", ef_construct);
    doc.put("full_scan_threshold", full_scan_threshold);
    doc.put("max_indexing_threads", max_indexing_threads);
    doc.put("on_disk", on_disk);
    doc.put("payload_m", payload_m);
    doc.put("inline_storage", inline_storage);
    doc.put("memory", self::memory(memory)?);
    Ok(doc)
}

fn wal(config: proto::WalConfigDiff) -> Doc {
    let proto::WalConfigDiff {
        wal_capacity_mb,
        wal_segments_ahead,
        wal_retain_closed,
    } = config;
    let mut doc = Doc::default();
    doc.put("wal_capacity_mb", wal_capacity_mb);
    doc.put("wal_segments_ahead", wal_segments_ahead);
    doc.put("wal_retain_closed", wal_retain_closed);
    doc
}

/// What Qdrant's optimizers do.
pub(super) fn optimizers(config: proto::OptimizersConfigDiff) -> Doc {
    use proto::max_optimization_threads::Variant;
    let proto::OptimizersConfigDiff {
        deleted_threshold,
        vacuum_min_vector_number,
        default_segment_number,
        max_segment_size,
        memmap_threshold,
        indexing_threshold,
        flush_interval_sec,
        deprecated_max_optimization_threads,
        max_optimization_threads,
        prevent_unoptimized,
    } = config;
    let threads = match max_optimization_threads.and_then(|t| t.variant) {
        Some(Variant::Value(n)) => Some(json!(n)),
        Some(Variant::Setting(_)) => Some(json!("auto")),
        None => deprecated_max_optimization_threads.map(Value::from),
    };
    let mut doc = Doc::default();
    doc.put("deleted_threshold", deleted_threshold);
    doc.put("vacuum_min_vector_number", vacuum_min_vector_number);
    doc.put("default_segment_number", default_segment_number);
    doc.put("max_segment_size", max_segment_size);
    doc.put("memmap_threshold", memmap_threshold);
    doc.put("indexing_threshold", indexing_threshold);
    doc.put("flush_interval_sec", flush_interval_sec);
    doc.put("max_optimization_threads", threads);
    doc.put("prevent_unoptimized", prevent_unoptimized);
    doc
}

fn quantization(config: proto::QuantizationConfig) -> Read<Value> {
    match config.quantization {
        None => Err(bad("'quantization_config' is empty")),
        Some(kind) => quantized(kind),
    }
}

/// Codes of one kind.
pub(super) fn quantized(kind: proto::quantization_config::Quantization) -> Read<Value> {
    use proto::quantization_config::Quantization as Kind;
    match kind {
        Kind::Scalar(scalar) => self::scalar(scalar),
        Kind::Product(product) => self::product(product),
        Kind::Binary(binary) => self::binary(binary),
        Kind::Turboquant(turbo) => self::turbo(turbo),
    }
}

fn scalar(config: proto::ScalarQuantization) -> Read<Value> {
    let proto::ScalarQuantization {
        r#type,
        quantile,
        always_ram,
        memory,
    } = config;
    if proto::QuantizationType::try_from(r#type) != Ok(proto::QuantizationType::Int8) {
        return Err(unknown("scalar.type", r#type));
    }
    let mut doc = Doc::default();
    doc.put("type", Some("int8"));
    doc.put("quantile", quantile);
    doc.put("always_ram", always_ram);
    doc.put("memory", self::memory(memory)?);
    Ok(json!({"scalar": Value::from(doc)}))
}

fn product(config: proto::ProductQuantization) -> Read<Value> {
    use proto::CompressionRatio as Ratio;
    let proto::ProductQuantization {
        compression,
        always_ram,
        memory,
    } = config;
    let ratio = match Ratio::try_from(compression) {
        Ok(Ratio::X4) => "x4",
        Ok(Ratio::X8) => "x8",
        Ok(Ratio::X16) => "x16",
        Ok(Ratio::X32) => "x32",
        Ok(Ratio::X64) => "x64",
        Err(_) => return Err(unknown("product.compression", compression)),
    };
    let mut doc = Doc::default();
    doc.put("compression", Some(ratio));
    doc.put("always_ram", always_ram);
    doc.put("memory", self::memory(memory)?);
    Ok(json!({"product": Value::from(doc)}))
}

fn binary(config: proto::BinaryQuantization) -> Read<Value> {
    use proto::BinaryQuantizationEncoding as Encoding;
    use proto::binary_quantization_query_encoding::{Setting, Variant};
    let proto::BinaryQuantization {
        always_ram,
        encoding,
        query_encoding,
        memory,
    } = config;
    let encoding = match encoding.map(Encoding::try_from) {
        None => None,
        Some(Ok(Encoding::OneBit)) => Some("one_bit"),
        Some(Ok(Encoding::TwoBits)) => Some("two_bits"),
        Some(Ok(Encoding::OneAndHalfBits)) => Some("one_and_half_bits"),
        Some(Err(_)) => {
            return Err(unknown("binary.encoding", encoding.unwrap_or_default()));
        }
    };
    let query_encoding = match query_encoding.and_then(|q| q.variant) {
        None => None,
        Some(Variant::Setting(number)) => Some(match Setting::try_from(number) {
            Ok(Setting::Default) => "default",
            Ok(Setting::Binary) => "binary",
            Ok(Setting::Scalar4Bits) => "scalar4bits",
            Ok(Setting::Scalar8Bits) => "scalar8bits",
            Err(_) => return Err(unknown("binary.query_encoding", number)),
        }),
    };
    let mut doc = Doc::default();
    doc.put("encoding", encoding);
    doc.put("query_encoding", query_encoding);
    doc.put("always_ram", always_ram);
    doc.put("memory", self::memory(memory)?);
    Ok(json!({"binary": Value::from(doc)}))
}

fn turbo(config: proto::TurboQuantization) -> Read<Value> {
    use proto::TurboQuantBitSize as Bits;
    let proto::TurboQuantization {
        always_ram,
        bits,
        memory,
    } = config;
    let bits = match bits.map(Bits::try_from) {
        None => None,
        Some(Ok(Bits::Bits1)) => Some("bits1"),
        Some(Ok(Bits::Bits15)) => Some("bits1_5"),
        Some(Ok(Bits::Bits2)) => Some("bits2"),
        Some(Ok(Bits::Bits4)) => Some("bits4"),
        Some(Ok(Bits::Bits8)) => Some("bits8"),
        Some(Err(_)) => return Err(unknown("turboquant.bits", bits.unwrap_or_default())),
    };
    let mut doc = Doc::default();
    doc.put("bits", bits);
    doc.put("always_ram", always_ram);
    doc.put("memory", self::memory(memory)?);
    Ok(json!({"turbo": Value::from(doc)}))
}

/// Limits of a collection.
pub(super) fn strict_mode(config: proto::StrictModeConfig) -> Doc {
    let proto::StrictModeConfig {
        enabled,
        max_query_limit,
        max_timeout,
        unindexed_filtering_retrieve,
        unindexed_filtering_update,
        search_max_hnsw_ef,
        search_allow_exact,
        search_max_oversampling,
        upsert_max_batchsize,
        search_max_batchsize,
        max_collection_vector_size_bytes,
        read_rate_limit,
        write_rate_limit,
        max_collection_payload_size_bytes,
        filter_max_conditions,
        condition_max_size,
        multivector_config,
        sparse_config,
        max_points_count,
        max_payload_index_count,
        max_resident_memory_percent,
    } = config;
    let multi = multivector_config.map(|config| {
        let named = config.multivector_config.into_iter();
        named
            .map(|(name, own)| (name, json!({"max_vectors": own.max_vectors})))
            .collect::<Map<_, _>>()
    });
    let sparse = sparse_config.map(|config| {
        let named = config.sparse_config.into_iter();
        named
            .map(|(name, own)| (name, json!({"max_length": own.max_length})))
            .collect::<Map<_, _>>()
    });
    let mut doc = Doc::default();
    doc.put("enabled", enabled);
    doc.put("max_query_limit", max_query_limit);
    doc.put("max_timeout", max_timeout);
    doc.put("unindexed_filtering_retrieve", unindexed_filtering_retrieve);
    doc.put("unindexed_filtering_update", unindexed_filtering_update);
    doc.put("search_max_hnsw_ef", search_max_hnsw_ef);
    doc.put("search_allow_exact", search_allow_exact);
    doc.put("search_max_oversampling", search_max_oversampling);
    doc.put("upsert_max_batchsize", upsert_max_batchsize);
    doc.put("search_max_batchsize", search_max_batchsize);
    let bytes = max_collection_vector_size_bytes;
    doc.put("max_collection_vector_size_bytes", bytes);
    doc.put("read_rate_limit", read_rate_limit);
    doc.put("write_rate_limit", write_rate_limit);
    let bytes = max_collection_payload_size_bytes;
    doc.put("max_collection_payload_size_bytes", bytes);
    doc.put("filter_max_conditions", filter_max_conditions);
    doc.put("condition_max_size", condition_max_size);
    doc.put("multivector_config", multi);
    doc.put("sparse_config", sparse);
    doc.put("max_points_count", max_points_count);
    doc.put("max_payload_index_count", max_payload_index_count);
    doc.put("max_resident_memory_percent", max_resident_memory_percent);
    doc
}
