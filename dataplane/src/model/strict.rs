//! Limits that a collection sets to the requests it takes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of requests; what is absent is not limited here. All of it holds only where `enabled` is true.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StrictMode {
    /// Whether the limits hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Largest `limit` of a read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_query_limit: Option<usize>,
    /// Longest `timeout` that a request may ask for, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_timeout: Option<u64>,
    /// Whether reads may filter by fields that have no index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unindexed_filtering_retrieve: Option<bool>,
    /// Whether writes may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unindexed_filtering_update: Option<bool>,
    /// Widest walk of a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_max_hnsw_ef: Option<usize>,
    /// Whether searches may compare with all points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_allow_exact: Option<bool>,
    /// Most candidates per result that codes may be asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_max_oversampling: Option<f64>,
    /// Most points in one upsert or update of vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upsert_max_batchsize: Option<usize>,
    /// Most searches in one batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_max_batchsize: Option<usize>,
    /// Bytes of vectors from which on the collection takes no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_collection_vector_size_bytes: Option<u64>,
    /// Reads a minute of one replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_rate_limit: Option<u64>,
    /// Writes a minute of one replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_rate_limit: Option<u64>,
    /// Bytes of payloads from which on the collection takes no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_collection_payload_size_bytes: Option<u64>,
    /// Points from which on the collection takes no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_points_count: Option<u64>,
    /// Most conditions of a filter, those inside others counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_max_conditions: Option<usize>,
    /// Most values of one condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition_max_size: Option<usize>,
    /// Of lists of vectors, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multivector_config: Option<BTreeMap<String, MultivectorLimit>>,
    /// Of sparse vectors, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparse_config: Option<BTreeMap<String, SparseLimit>>,
    /// Most indexed payload fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_payload_index_count: Option<usize>,
    /// Share of the node's memory from which on it takes no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_resident_memory_percent: Option<u64>,
}

/// Of lists of vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MultivectorLimit {
    /// Most vectors in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_vectors: Option<usize>,
}

/// Of sparse vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SparseLimit {
    /// Most entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
}

impl StrictMode {
    /// What is given here, and elsewhere what `other` gives.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            enabled: self.enabled.or(other.enabled),
            max_query_limit: self.max_query_limit.or(other.max_query_limit),
            max_timeout: self.max_timeout.or(other.max_timeout),
            unindexed_filtering_retrieve: self
                .unindexed_filtering_retrieve
                .or(other.unindexed_filtering_retrieve),
            unindexed_filtering_update: self
                .unindexed_filtering_update
                .or(other.unindexed_filtering_update),
            search_max_hnsw_ef: self.search_max_hnsw_ef.or(other.search_max_hnsw_ef),
            search_allow_exact: self.search_allow_exact.or(other.search_allow_exact),
            search_max_oversampling: self
                .search_max_oversampling
                .or(other.search_max_oversampling),
            upsert_max_batchsize: self.upsert_max_batchsize.or(other.upsert_max_batchsize),
            search_max_batchsize: self.search_max_batchsize.or(other.search_max_batchsize),
            max_collection_vector_size_bytes: self
                .max_collection_vector_size_bytes
                .or(other.max_collection_vector_size_bytes),
            read_rate_limit: self.read_rate_limit.or(other.read_rate_limit),
            write_rate_limit: self.write_rate_limit.or(other.write_rate_limit),
            max_collection_payload_size_bytes: self
                .max_collection_payload_size_bytes
                .or(other.max_collection_payload_size_bytes),
            max_points_count: self.max_points_count.or(other.max_points_count),
            filter_max_conditions: self.filter_max_conditions.or(other.filter_max_conditions),
            condition_max_size: self.condition_max_size.or(other.condition_max_size),
            multivector_config: self.multivector_config.or(other.multivector_config),
            sparse_config: self.sparse_config.or(other.sparse_config),
            max_payload_index_count: self
                .max_payload_index_count
                .or(other.max_payload_index_count),
            max_resident_memory_percent: self
                .max_resident_memory_percent
                .or(other.max_resident_memory_percent),
        }
    }
}
