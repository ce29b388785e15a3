//! When a request may be sent to another instance: only if that cannot make it happen twice.

use http::{HeaderMap, Method, StatusCode};

/// The header by which a write that is repeated is applied once.
pub(crate) const REQUEST_ID: &str = "brainy-request-id";

/// Whether a request may be sent again although it may have been carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing, or is applied once however often it arrives.
    Harmless,
    /// A second arrival could have an effect of its own, or report a failure that was none.
    Harmful,
}

/// How a request must be treated. Writes of points that carry a request id are applied once; creating or dropping a
/// collection is not repeated when nobody knows how the first try ended.
pub(crate) fn repeat(method: &Method, path: &str, headers: &HeaderMap) -> Repeat {
    if method.is_safe() {
        return Repeat::Harmless;
    }
    let mut parts = path.trim_start_matches('/').split('/');
    let is_points = parts.next() == Some("collections") && parts.nth(1) == Some("points");
    if is_points && headers.contains_key(REQUEST_ID) {
        Repeat::Harmless
    } else {
        Repeat::Harmful
    }
}

/// What became of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Try {
    /// An answer with this status began to arrive.
    Answered(StatusCode),
    /// There was no connection: nothing was sent.
    NotSent,
    /// The request was sent, at least in part, and the connection broke before an answer.
    Unknown,
    /// The request was sent, and no answer came in time: another instance would need as long.
    Late,
}

/// Whether another instance may be tried.
pub(crate) fn may_try_again(outcome: Try, repeat: Repeat) -> bool {
    match outcome {
        // 421: not served there. 503: cannot be served now. Neither has had an effect (data API, errors).
        Try::Answered(StatusCode::MISDIRECTED_REQUEST | StatusCode::SERVICE_UNAVAILABLE)
        | Try::NotSent => true,
        Try::Answered(_) | Try::Late => false,
        Try::Unknown => repeat == Repeat::Harmless,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &str, with_id: bool) -> Repeat {
        let mut headers = HeaderMap::new();
        if with_id {
            headers.insert(REQUEST_ID, "00".parse().unwrap());
        }
        repeat(&method.parse().unwrap(), path, &headers)
    }

    #[test]
    fn only_reads_and_writes_with_an_id_may_arrive_twice() {
        for (method, path, with_id, expected) in [
            ("GET", "/collections/a", false, Repeat::Harmless),
            ("HEAD", "/", false, Repeat::Harmless),
            ("PUT", "/collections/a/points", true, Repeat::Harmless),
            (
                "POST",
                "/collections/a/points/query",
                true,
                Repeat::Harmless,
            ),
            ("PUT", "/collections/a/points", false, Repeat::Harmful),
            ("PUT", "/collections/a", true, Repeat::Harmful),
            ("DELETE", "/collections/points", true, Repeat::Harmful),
            (
                "DELETE",
                "/collections/points/points",
                true,
                Repeat::Harmless,
            ),
            ("POST", "/sync/config", true, Repeat::Harmful),
        ] {
            assert_eq!(of(method, path, with_id), expected, "{method} {path}");
        }
    }

    #[test]
    fn an_unknown_outcome_is_not_repeated_where_that_could_harm() {
        for (outcome, harmless, harmful) in [
            (Try::NotSent, true, true),
            (Try::Answered(StatusCode::MISDIRECTED_REQUEST), true, true),
            (Try::Answered(StatusCode::SERVICE_UNAVAILABLE), true, true),
            (Try::Answered(StatusCode::OK), false, false),
            (Try::Answered(StatusCode::TOO_MANY_REQUESTS), false, false),
            (Try::Answered(StatusCode::GATEWAY_TIMEOUT), false, false),
            (Try::Unknown, true, false),
            (Try::Late, false, false),
        ] {
            assert_eq!(
                may_try_again(outcome, Repeat::Harmless),
                harmless,
                "{outcome:?}"
            );
            assert_eq!(
                may_try_again(outcome, Repeat::Harmful),
                harmful,
                "{outcome:?}"
            );
        }
    }
}
