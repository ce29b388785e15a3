//! What a collection is, from the description that REST answers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::json::from_object;
use crate::api::grpc::proto;

/// A part of the description; what is missing reads as absent.
#[derive(Clone, Copy)]
struct Part<'v>(&'v Value);

impl<'v> Part<'v> {
    fn at(self, name: &str) -> Option<Self> {
        self.0.get(name).filter(|v| !v.is_null()).map(Part)
    }

    fn u64(self, name: &str) -> Option<u64> {
        self.at(name)?.0.as_u64()
    }

    fn u32(self, name: &str) -> Option<u32> {
        self.u64(name).and_then(|n| u32::try_from(n).ok())
    }

    fn f64(self, name: &str) -> Option<f64> {
        self.at(name)?.0.as_f64()
    }

    fn bool(self, name: &str) -> Option<bool> {
        self.at(name)?.0.as_bool()
    }

    fn text(self, name: &str) -> Option<&'v str> {
        self.at(name)?.0.as_str()
    }

    fn strings(self, name: &str) -> Vec<String> {
        let list = self.at(name).and_then(|v| v.0.as_array());
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }

    /// The fields of an object, each read by `read`.
    fn each<T>(self, read: impl Fn(Part<'v>) -> T) -> BTreeMap<String, T> {
        let fields = self.0.as_object().into_iter().flatten();
        fields
            .map(|(name, field)| (name.clone(), read(Part(field))))
            .collect()
    }
}

/// The description of a collection.
pub(in crate::api::grpc) fn collection(description: &Value) -> proto::CollectionInfo {
    let part = Part(description);
    let status = match part.text("status") {
        Some("green") => proto::CollectionStatus::Green,
        Some("yellow") => proto::CollectionStatus::Yellow,
        Some("red") => proto::CollectionStatus::Red,
        Some("grey") => proto::CollectionStatus::Grey,
        _ => proto::CollectionStatus::UnknownCollectionStatus,
    };
    let optimizers = match part.at("optimizer_status") {
        Some(Part(Value::Object(failed))) => proto::OptimizerStatus {
            ok: false,
            error: failed
                .get("error")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        },
        _ => proto::OptimizerStatus {
            ok: true,
            error: String::new(),
        },
    };
    let warnings = part.at("warnings").and_then(|w| w.0.as_array());
    let warnings = warnings.into_iter().flatten();
    proto::CollectionInfo {
        status: status.into(),
        optimizer_status: Some(optimizers),
        segments_count: part.u64("segments_count").unwrap_or_default(),
        config: part.at("config").map(config),
        payload_schema: part
            .at("payload_schema")
            .map(|schema| schema.each(field))
            .unwrap_or_default(),
        points_count: part.u64("points_count"),
        indexed_vectors_count: part.u64("indexed_vectors_count"),
        warnings: warnings
            .filter_map(|w| Part(w).text("message"))
            .map(|message| proto::CollectionWarning {
                message: message.to_owned(),
            })
            .collect(),
        update_queue: part.at("update_queue").map(|queue| proto::UpdateQueueInfo {
            length: queue.u64("length").unwrap_or_default(),
            deferred_points: queue.u64("deferred_points"),
        }),
        created_at: None,
    }
}

fn config(part: Part<'_>) -> proto::CollectionConfig {
    let metadata = part.at("metadata").and_then(|m| m.0.as_object());
    proto::CollectionConfig {
        params: part.at("params").map(params),
        hnsw_config: part.at("hnsw_config").map(hnsw),
        optimizer_config: part.at("optimizer_config").map(optimizers),
        // Clients insist on its figures; Brainy's log has no like of them.
        wal_config: Some(part.at("wal_config").map_or(NO_WAL, wal)),
        quantization_config: part.at("quantization_config").and_then(quantization),
        strict_mode_config: part.at("strict_mode_config").map(strict_mode),
        metadata: metadata.cloned().map(from_object).unwrap_or_default(),
    }
}

/// Of a log without files.
const NO_WAL: proto::WalConfigDiff = proto::WalConfigDiff {
    wal_capacity_mb: Some(0),
    wal_segments_ahead: Some(0),
    wal_retain_closed: Some(0),
};

fn wal(part: Part<'_>) -> proto::WalConfigDiff {
    proto::WalConfigDiff {
        wal_capacity_mb: part.u64("wal_capacity_mb"),
        wal_segments_ahead: part.u64("wal_segments_ahead"),
        wal_retain_closed: part.u64("wal_retain_closed"),
    }
}

fn params(part: Part<'_>) -> proto::CollectionParams {
    use proto::vectors_config::Config;
    let vectors = part.at("vectors").map(|vectors| proto::VectorsConfig {
        config: Some(match vectors.u64("size") {
            Some(_) => Config::Params(vector(vectors)),
            None => Config::ParamsMap(proto::VectorParamsMap {
                map: vectors.each(vector),
            }),
        }),
    });
    let kept = |name| part.at(name).map(|p| p.text("memory").map(memory));
    let method = part.text("sharding_method").map(|method| match method {
        "custom" => proto::ShardingMethod::Custom.into(),
        _ => proto::ShardingMethod::Auto.into(),
    });
    proto::CollectionParams {
        shard_number: part.u32("shard_number").unwrap_or_default(),
        on_disk_payload: part.bool("on_disk_payload").unwrap_or_default(),
        vectors_config: vectors,
        replication_factor: part.u32("replication_factor"),
        write_consistency_factor: part.u32("write_consistency_factor"),
        read_fan_out_factor: part.u32("read_fan_out_factor"),
        sharding_method: method,
        sparse_vectors_config: part
            .at("sparse_vectors")
            .map(|sparse| proto::SparseVectorConfig {
                map: sparse.each(sparse_vector),
            }),
        read_fan_out_delay_ms: part.u64("read_fan_out_delay_ms"),
        payload: kept("payload").map(|memory| proto::PayloadStorageParams { memory }),
        id_tracker: kept("id_tracker").map(|memory| proto::IdTrackerParams { memory }),
    }
}

fn memory(name: &str) -> i32 {
    match name {
        "cold" => proto::Memory::Cold,
        "cached" => proto::Memory::Cached,
        "pinned" => proto::Memory::Pinned,
        _ => proto::Memory::Unknown,
    }
    .into()
}

fn vector(part: Part<'_>) -> proto::VectorParams {
    let distance = match part.text("distance") {
        Some("Cosine") => proto::Distance::Cosine,
        Some("Euclid") => proto::Distance::Euclid,
        Some("Dot") => proto::Distance::Dot,
        Some("Manhattan") => proto::Distance::Manhattan,
        _ => proto::Distance::UnknownDistance,
    };
    proto::VectorParams {
        size: part.u64("size").unwrap_or_default(),
        distance: distance.into(),
        hnsw_config: part.at("hnsw_config").map(hnsw),
        quantization_config: part.at("quantization_config").and_then(quantization),
        on_disk: part.bool("on_disk"),
        datatype: part.text("datatype").map(datatype),
        multivector_config: part
            .at("multivector_config")
            .map(|_| proto::MultiVectorConfig {
                comparator: proto::MultiVectorComparator::MaxSim.into(),
            }),
        memory: part.text("memory").map(memory),
    }
}

fn datatype(name: &str) -> i32 {
    match name {
        "float32" => proto::Datatype::Float32,
        "uint8" => proto::Datatype::Uint8,
        "float16" => proto::Datatype::Float16,
        _ => proto::Datatype::Default,
    }
    .into()
}

fn sparse_vector(part: Part<'_>) -> proto::SparseVectorParams {
    let modifier = part.text("modifier").map(|name| match name {
        "idf" => proto::Modifier::Idf.into(),
        _ => proto::Modifier::None.into(),
    });
    proto::SparseVectorParams {
        index: part.at("index").map(|index| proto::SparseIndexConfig {
            full_scan_threshold: index.u64("full_scan_threshold"),
            on_disk: index.bool("on_disk"),
            datatype: index.text("datatype").map(datatype),
            memory: index.text("memory").map(memory),
        }),
        modifier,
    }
}

fn hnsw(part: Part<'_>) -> proto::HnswConfigDiff {
    proto::HnswConfigDiff {
        m: part.u64("m"),
        ef_construct: part.u64("ef_construct"),
        full_scan_threshold: part.u64("full_scan_threshold"),
        max_indexing_threads: part.u64("max_indexing_threads"),
        on_disk: part.bool("on_disk"),
        payload_m: part.u64("payload_m"),
        inline_storage: part.bool("inline_storage"),
        memory: part.text("memory").map(memory),
    }
}

fn optimizers(part: Part<'_>) -> proto::OptimizersConfigDiff {
    use proto::max_optimization_threads::Variant;
    let threads = part.u64("max_optimization_threads").map(Variant::Value);
    proto::OptimizersConfigDiff {
        deleted_threshold: part.f64("deleted_threshold"),
        vacuum_min_vector_number: part.u64("vacuum_min_vector_number"),
        default_segment_number: part.u64("default_segment_number"),
        max_segment_size: part.u64("max_segment_size"),
        memmap_threshold: part.u64("memmap_threshold"),
        indexing_threshold: part.u64("indexing_threshold"),
        flush_interval_sec: part.u64("flush_interval_sec"),
        deprecated_max_optimization_threads: None,
        max_optimization_threads: threads.map(|variant| proto::MaxOptimizationThreads {
            variant: Some(variant),
        }),
        prevent_unoptimized: part.bool("prevent_unoptimized"),
    }
}

/// Codes that the protocol has a word for; of others it says nothing.
fn quantization(part: Part<'_>) -> Option<proto::QuantizationConfig> {
    use proto::quantization_config::Quantization as Kind;
    let kind = if let Some(scalar) = part.at("scalar") {
        if scalar.text("type") != Some("int8") {
            return None;
        }
        Kind::Scalar(proto::ScalarQuantization {
            r#type: proto::QuantizationType::Int8.into(),
            quantile: scalar.f64("quantile").map(|q| q as f32),
            always_ram: scalar.bool("always_ram"),
            memory: scalar.text("memory").map(memory),
        })
    } else {
        let binary = part.at("binary")?;
        let encoding = binary.text("encoding").map(|_| {
            // The only one that there is.
            proto::BinaryQuantizationEncoding::OneBit.into()
        });
        Kind::Binary(proto::BinaryQuantization {
            always_ram: binary.bool("always_ram"),
            encoding,
            query_encoding: None,
            memory: binary.text("memory").map(memory),
        })
    };
    Some(proto::QuantizationConfig {
        quantization: Some(kind),
    })
}

fn strict_mode(part: Part<'_>) -> proto::StrictModeConfig {
    let multi = part
        .at("multivector_config")
        .map(|named| proto::StrictModeMultivectorConfig {
            multivector_config: named.each(|own| proto::StrictModeMultivector {
                max_vectors: own.u64("max_vectors"),
            }),
        });
    let sparse = part
        .at("sparse_config")
        .map(|named| proto::StrictModeSparseConfig {
            sparse_config: named.each(|own| proto::StrictModeSparse {
                max_length: own.u64("max_length"),
            }),
        });
    proto::StrictModeConfig {
        enabled: part.bool("enabled"),
        max_query_limit: part.u32("max_query_limit"),
        max_timeout: part.u32("max_timeout"),
        unindexed_filtering_retrieve: part.bool("unindexed_filtering_retrieve"),
        unindexed_filtering_update: part.bool("unindexed_filtering_update"),
        search_max_hnsw_ef: part.u32("search_max_hnsw_ef"),
        search_allow_exact: part.bool("search_allow_exact"),
        search_max_oversampling: part.f64("search_max_oversampling").map(|x| x as f32),
        upsert_max_batchsize: part.u64("upsert_max_batchsize"),
        search_max_batchsize: part.u64("search_max_batchsize"),
        max_collection_vector_size_bytes: part.u64("max_collection_vector_size_bytes"),
        read_rate_limit: part.u32("read_rate_limit"),
        write_rate_limit: part.u32("write_rate_limit"),
        max_collection_payload_size_bytes: part.u64("max_collection_payload_size_bytes"),
        filter_max_conditions: part.u64("filter_max_conditions"),
        condition_max_size: part.u64("condition_max_size"),
        multivector_config: multi,
        sparse_config: sparse,
        max_points_count: part.u64("max_points_count"),
        max_payload_index_count: part.u64("max_payload_index_count"),
        max_resident_memory_percent: part.u32("max_resident_memory_percent"),
    }
}

fn field(part: Part<'_>) -> proto::PayloadSchemaInfo {
    use proto::PayloadSchemaType as Kind;
    let kind = match part.text("data_type") {
        Some("keyword") => Kind::Keyword,
        Some("integer") => Kind::Integer,
        Some("float") => Kind::Float,
        Some("geo") => Kind::Geo,
        Some("text") => Kind::Text,
        Some("bool") => Kind::Bool,
        Some("datetime") => Kind::Datetime,
        Some("uuid") => Kind::Uuid,
        _ => Kind::UnknownType,
    };
    proto::PayloadSchemaInfo {
        data_type: kind.into(),
        params: part.at("params").map(|params| proto::PayloadIndexParams {
            index_params: index(kind, params),
        }),
        points: part.u64("points"),
    }
}

fn index(
    kind: proto::PayloadSchemaType,
    part: Part<'_>,
) -> Option<proto::payload_index_params::IndexParams> {
    use proto::PayloadSchemaType as Kind;
    use proto::payload_index_params::IndexParams as Params;
    let on_disk = part.bool("on_disk");
    let enable_hnsw = part.bool("enable_hnsw");
    let is_tenant = part.bool("is_tenant");
    let is_principal = part.bool("is_principal");
    let memory = part.text("memory").map(memory);
    let nested = part.text("nested").map(str::to_owned);
    Some(match kind {
        Kind::UnknownType => return None,
        Kind::Keyword => Params::KeywordIndexParams(proto::KeywordIndexParams {
            is_tenant,
            on_disk,
            enable_hnsw,
            prefix: part
                .bool("prefix")
                .filter(|prefix| *prefix)
                .map(|_| proto::KeywordPrefixParams {}),
            memory,
            nested,
        }),
        Kind::Integer => Params::IntegerIndexParams(proto::IntegerIndexParams {
            lookup: part.bool("lookup"),
            range: part.bool("range"),
            is_principal,
            on_disk,
            enable_hnsw,
            memory,
            nested,
        }),
        Kind::Float => Params::FloatIndexParams(proto::FloatIndexParams {
            on_disk,
            is_principal,
            enable_hnsw,
            memory,
            nested,
        }),
        Kind::Geo => Params::GeoIndexParams(proto::GeoIndexParams {
            on_disk,
            enable_hnsw,
            memory,
            nested,
        }),
        Kind::Text => Params::TextIndexParams(text(part)),
        Kind::Bool => Params::BoolIndexParams(proto::BoolIndexParams {
            on_disk,
            enable_hnsw,
            memory,
            nested,
        }),
        Kind::Datetime => Params::DatetimeIndexParams(proto::DatetimeIndexParams {
            on_disk,
            is_principal,
            enable_hnsw,
            memory,
            nested,
        }),
        Kind::Uuid => Params::UuidIndexParams(proto::UuidIndexParams {
            is_tenant,
            on_disk,
            enable_hnsw,
            memory,
            nested,
        }),
    })
}

fn text(part: Part<'_>) -> proto::TextIndexParams {
    use proto::TokenizerType as Kind;
    use proto::stemming_algorithm::StemmingParams;
    let tokenizer = match part.text("tokenizer") {
        Some("prefix") => Kind::Prefix,
        Some("whitespace") => Kind::Whitespace,
        Some("multilingual") => Kind::Multilingual,
        Some("code") => Kind::Code,
        _ => Kind::Word,
    };
    let stopwords = part.at("stopwords").map(|words| match words.0.as_str() {
        Some(language) => proto::StopwordsSet {
            languages: vec![language.to_owned()],
            custom: Vec::new(),
        },
        None => proto::StopwordsSet {
            languages: words.strings("languages"),
            custom: words.strings("custom"),
        },
    });
    let stemmer = part.at("stemmer").map(|stemmer| proto::StemmingAlgorithm {
        stemming_params: Some(match stemmer.text("language") {
            Some(language) => StemmingParams::Snowball(proto::SnowballParams {
                language: language.to_owned(),
            }),
            None => StemmingParams::Disabled(proto::DisabledStemmer {}),
        }),
    });
    proto::TextIndexParams {
        tokenizer: tokenizer.into(),
        lowercase: part.bool("lowercase"),
        min_token_len: part.u64("min_token_len"),
        max_token_len: part.u64("max_token_len"),
        on_disk: part.bool("on_disk"),
        stopwords,
        phrase_matching: part.bool("phrase_matching"),
        stemmer,
        ascii_folding: part.bool("ascii_folding"),
        enable_hnsw: part.bool("enable_hnsw"),
        memory: part.text("memory").map(memory),
        scoring: part.at("scoring").map(|_| proto::TextScoringParams {
            r#type: proto::TextScoringType::Bm25.into(),
        }),
        nested: part.text("nested").map(str::to_owned),
    }
}
