//! How many requests there were, how they ended and how long they took.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tonic::Code;

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    method: String,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallTook {
    method: String,
}

/// Metrics of the API. Labels are route templates and known methods: clients cannot create series.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    requests: Family<Ended, Counter>,
    duration: Family<Took, Histogram, fn() -> Histogram>,
    calls: Family<Called, Counter>,
    call_duration: Family<CallTook, Histogram, fn() -> Histogram>,
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
            calls: Family::default(),
            call_duration: Family::new_with_constructor(buckets as fn() -> Histogram),
        }
    }
}

impl ApiMetrics {
    /// Makes metrics that `registry` exports: `brainy_http_requests_total` and `brainy_http_request_duration_seconds`, and of
    /// gRPC `brainy_grpc_requests_total` and `brainy_grpc_request_duration_seconds`.
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
        registry.register(
            "brainy_grpc_requests",
            "gRPC requests by method and code",
            metrics.calls.clone(),
        );
        registry.register(
            "brainy_grpc_request_duration_seconds",
            "Time from a gRPC request's arrival to its answer",
            metrics.call_duration.clone(),
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

    pub(super) fn record_grpc(&self, method: &str, code: Code, took: Duration) {
        let method = method.to_owned();
        self.calls
            .get_or_create(&Called {
                method: method.clone(),
                code: name(code),
            })
            .inc();
        self.call_duration
            .get_or_create(&CallTook { method })
            .observe(took.as_secs_f64());
    }
}

/// Names of codes as the protocol has them.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
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
