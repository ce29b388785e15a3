//! How many requests there were, how they ended and how long they took.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Took {
    method: &'static str,
    route: String,
}

/// Metrics of the API. Labels are route templates and known methods: clients cannot create series.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    requests: Family<Ended, Counter>,
    duration: Family<Took, Histogram, fn() -> Histogram>,
}

/// From half a millisecond (a cached read) to a minute (the default time-out), in seconds.
fn buckets() -> Histogram {
    Histogram::new([
        0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
        60.0,
    ])
}

impl Default for ApiMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(buckets as fn() -> Histogram),
        }
    }
}

impl ApiMetrics {
    /// Makes metrics that `registry` exports: `brainy_http_requests_total` and `brainy_http_request_duration_seconds`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "brainy_http_requests",
            "HTTP requests by route template and status",
            metrics.requests.clone(),
        );
        registry.register(
            "brainy_http_request_duration_seconds",
            "Time from a request's arrival to its answer",
            metrics.duration.clone(),
        );
        metrics
    }

    pub(super) fn record(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let method = known(method);
        let route = route.to_owned();
        self.requests
            .get_or_create(&Ended {
                method,
                route: route.clone(),
                status: status.as_u16(),
            })
            .inc();
        self.duration
            .get_or_create(&Took { method, route })
            .observe(took.as_secs_f64());
    }
}

fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "PUT" => "PUT",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "HEAD" => "HEAD",
        _ => "other",
    }
}
