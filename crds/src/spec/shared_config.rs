//! Settings that change without a restart.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distribution::ConsistencyLevel;

/// Settings that the operator writes into the cluster's shared configuration in S3 and that every instance takes up without a
/// restart, within configPollIntervalMs. A field that is named here is the manifest's, whatever an administrator posted before;
/// an absent one is left to administrators, and to the data plane's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedConfigSpec {
    /// Least severe log messages to write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,

    /// Largest request body, in bytes, 1024 to 1073741824 (1 GiB). A larger one is answered with 413.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub max_request_bytes: Option<i64>,

    /// Most results that one search may ask for, 1 to 100000. A higher limit is answered with 400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_search_limit: Option<i64>,

    /// Most points, ids or queries in one request, 1 to 1000000. More are answered with 400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_batch_points: Option<i64>,

    /// Largest size of the vectors of a new collection, 1 to 65536.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_536))]
    pub max_dimension: Option<i64>,

    /// Reads that may wait for a core on an instance, 1 to 1000000. More are answered with 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_queued_reads: Option<i64>,

    /// Longest time for the answer to a request, in milliseconds, 100 to 3600000 (an hour).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 3_600_000))]
    pub request_timeout_ms: Option<i64>,

    /// Bytes of buffered writes at which a partition is flushed into a segment, 65536 (64 KiB) to 4294967296 (4 GiB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 65_536, max = 4_294_967_296_i64))]
    pub flush_bytes: Option<i64>,

    /// Bytes of buffered writes at which a partition refuses writes with 429, 65536 (64 KiB) to 17179869184 (16 GiB); at least flushBytes, and four times that if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 65_536, max = 17_179_869_184_i64))]
    pub max_unflushed_bytes: Option<i64>,

    /// Age of buffered writes at which a partition is flushed into a segment, in milliseconds, 100 to 86400000 (a day).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 86_400_000))]
    pub flush_interval_ms: Option<i64>,

    /// Segments of a partition at which they are merged, 2 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 1_000))]
    pub segment_merge_threshold: Option<i64>,

    /// How often an instance looks at this configuration, in milliseconds, 100 to 3600000 (an hour).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 3_600_000))]
    pub config_poll_interval_ms: Option<i64>,

    /// How often an instance looks at anything in the bucket while all others push changes to it, in milliseconds, 100 to 3600000 (an hour).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 3_600_000))]
    pub pushed_poll_interval_ms: Option<i64>,

    /// How often a reader asks for new log entries of its partitions, in milliseconds, 10 to 60000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60_000))]
    pub tail_poll_interval_ms: Option<i64>,

    /// Level of a read that names none. Absent: `consistency.default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_consistency: Option<ConsistencyLevel>,
}

/// Severity of log messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures.
    Error,
    /// Failures and what may become one.
    Warn,
    /// What an operator of the cluster wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}
