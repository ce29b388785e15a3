//! The part of the spec that instances take up without a restart.

use brainy_coordination::config::SharedConfig;
use brainy_crds::{BrainyClusterSpec, ConsistencyLevel, LogLevel};

/// The part of the shared configuration that the spec decides.
pub(crate) fn shared_config(spec: &BrainyClusterSpec) -> SharedConfig {
    let shared = &spec.shared_config;
    let consistency = shared
        .default_consistency
        .unwrap_or(spec.consistency.default);
    let number = |n: i64| u64::try_from(n).unwrap_or(0);
    SharedConfig {
        log_level: shared.log_level.map(|level| level_name(level).to_owned()),
        default_consistency: Some(consistency_name(consistency).to_owned()),
        bounded_staleness_ms: Some(number(spec.consistency.bounded_staleness_ms)),
        flush_bytes: shared.flush_bytes.map(number),
        // Room for four flushes, as in the defaults: refusing writes below the flush size would stop them for good.
        max_unflushed_bytes: shared.flush_bytes.map(|bytes| number(bytes) * 4),
        flush_interval_ms: shared.flush_interval_ms.map(number),
        tail_poll_interval_ms: shared.tail_poll_interval_ms.map(number),
        max_request_bytes: shared.max_request_bytes.map(number),
        max_search_limit: shared.max_search_limit.map(number),
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
}
