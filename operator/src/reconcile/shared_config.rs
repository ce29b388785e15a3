//! The part of the spec that instances take up without a restart.

use brainy_coordination::config::SharedConfig;
use brainy_crds::{BrainyClusterSpec, ConsistencyLevel, LogLevel, SharedConfigSpec};

/// The part of the shared configuration that the spec decides.
pub(crate) fn shared_config(spec: &BrainyClusterSpec) -> SharedConfig {
    // By name, so that a field that is added must be thought about here.
    let SharedConfigSpec {
        log_level,
        max_request_bytes,
        max_search_limit,
        max_batch_points,
        max_dimension,
        max_queued_reads,
        request_timeout_ms,
        flush_bytes,
        max_unflushed_bytes,
        flush_interval_ms,
        segment_merge_threshold,
        config_poll_interval_ms,
        pushed_poll_interval_ms,
        tail_poll_interval_ms,
        default_consistency,
    } = &spec.shared_config;
    let consistency = default_consistency.unwrap_or(spec.consistency.default);
    let number = |n: i64| u64::try_from(n).unwrap_or(0);
    // Room for four flushes, as in the defaults: refusing writes below the flush size would stop them for good.
    let room = max_unflushed_bytes
        .map(number)
        .or_else(|| flush_bytes.map(|bytes| number(bytes).saturating_mul(4)));
    SharedConfig {
        log_level: log_level.map(|level| level_name(level).to_owned()),
        default_consistency: Some(consistency_name(consistency).to_owned()),
        bounded_staleness_ms: Some(number(spec.consistency.bounded_staleness_ms)),
        flush_bytes: flush_bytes.map(number),
        max_unflushed_bytes: room,
        flush_interval_ms: flush_interval_ms.map(number),
        segment_merge_threshold: segment_merge_threshold.map(number),
        config_poll_interval_ms: config_poll_interval_ms.map(number),
        pushed_poll_interval_ms: pushed_poll_interval_ms.map(number),
        tail_poll_interval_ms: tail_poll_interval_ms.map(number),
        max_request_bytes: max_request_bytes.map(number),
        max_search_limit: max_search_limit.map(number),
        max_batch_points: max_batch_points.map(number),
        max_dimension: max_dimension.map(number),
        max_queued_reads: max_queued_reads.map(number),
        request_timeout_ms: request_timeout_ms.map(number),
        ..SharedConfig::default()
    }
}

fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

fn consistency_name(level: ConsistencyLevel) -> &'static str {
    match level {
        ConsistencyLevel::Eventual => "eventual",
        ConsistencyLevel::Bounded => "bounded",
        ConsistencyLevel::Strong => "strong",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_that_the_spec_can_express_by_default_is_valid() {
        shared_config(&BrainyClusterSpec::default())
            .resolve()
            .unwrap();
        let spec: BrainyClusterSpec = serde_json::from_value(serde_json::json!({
            "sharedConfig": {"flushBytes": 1_073_741_824, "defaultConsistency": "strong"},
        }))
        .unwrap();
        let effective = shared_config(&spec).resolve().unwrap();
        assert_eq!(effective.max_unflushed_bytes, 4 << 30);
    }

    #[test]
    fn every_setting_of_the_spec_arrives_under_its_name() {
        let settings = serde_json::json!({
            "logLevel": "debug", "maxRequestBytes": 2048, "maxSearchLimit": 3, "maxBatchPoints": 4, "maxDimension": 5,
            "maxQueuedReads": 6, "requestTimeoutMs": 700, "flushBytes": 100_000, "maxUnflushedBytes": 200_000,
            "flushIntervalMs": 800, "segmentMergeThreshold": 9, "configPollIntervalMs": 1_000,
            "pushedPollIntervalMs": 1_100, "tailPollIntervalMs": 120, "defaultConsistency": "bounded",
        });
        let spec: BrainyClusterSpec =
            serde_json::from_value(serde_json::json!({"sharedConfig": settings})).unwrap();
        let shared = shared_config(&spec);
        shared.resolve().unwrap();
        let published = serde_json::to_value(&shared).unwrap();
        for (name, value) in settings.as_object().unwrap() {
            let snake: String = name
                .chars()
                .flat_map(|c| {
                    c.is_uppercase()
                        .then_some('_')
                        .into_iter()
                        .chain(c.to_lowercase())
                })
                .collect();
            assert_eq!(published[&snake], *value, "{name}");
        }
    }
}
