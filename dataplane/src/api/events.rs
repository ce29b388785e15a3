//! The event log of the cluster, for people.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::Taken;
use super::dto::described::AnyObject;
use super::errors::ApiError;
use super::extract::{Call, Document, json_response};
use super::guard::Class;
use super::routes::Routes;
use brainy_coordination::events::{Event, Recorded};

/// Operation id, for its parameters in the OpenAPI document.
pub(super) const ID: &str = "events";
/// Events that are shown to who does not say how many.
pub(super) const DEFAULT_LIMIT: usize = 50;
/// Most events of one answer: each is an object of its own in the bucket.
pub(super) const MAX_LIMIT: usize = 1000;

pub(super) fn routes() -> Routes {
    Routes::new("Service", Class::Read).get(
        ID,
        "/coordinate/events",
        events,
        "What happened in the cluster: members, moves, segments, collections, configuration.",
    )
}

/// Which events are asked for.
struct Range {
    after: Option<u64>,
    limit: usize,
}

impl Taken for Range {}

impl<S: Sync> FromRequestParts<S> for Range {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Raw {
            after: Option<String>,
            limit: Option<String>,
        }
        let Query(raw) = Query::<Raw>::try_from_uri(&parts.uri)
            .map_err(|e| ApiError::bad_request(format!("query string: {}", e.body_text())))?;
        let limit = number("limit", raw.limit.as_deref(), 1..=MAX_LIMIT as u64)?;
        Ok(Self {
            after: number("after", raw.after.as_deref(), 0..=i64::MAX as u64)?,
            limit: limit.map_or(DEFAULT_LIMIT, |limit| limit as usize),
        })
    }
}

fn number(
    name: &str,
    text: Option<&str>,
    allowed: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, ApiError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let parsed = text.parse().ok().filter(|n| allowed.contains(n));
    parsed.map(Some).ok_or_else(|| {
        let text: String = text.chars().take(64).collect();
        ApiError::bad_request(format!(
            "query parameter '{name}' is '{text}', it must be a whole number from {} to {}",
            allowed.start(),
            allowed.end()
        ))
    })
}

async fn events(call: Call, range: Range) -> Result<Document<AnyObject>, ApiError> {
    let found = call.service.events(range.after, range.limit).await?;
    let last = found.last().map(|event| event.sequence).or(range.after);
    let events: Vec<Value> = found.iter().map(shown).collect();
    json_response(&AnyObject(json!({
        "events": events,
        "last": last.unwrap_or(0),
    })))
}

fn shown(recorded: &Recorded) -> Value {
    let event = match &recorded.event {
        // Of a newer version of Brainy.
        Event::Unknown => json!({"kind": Event::Unknown.kind()}),
        known => serde_json::to_value(known).unwrap_or_default(),
    };
    json!({
        "sequence": recorded.sequence,
        "instance": recorded.instance,
        "unixMs": recorded.unix_ms,
        "event": event,
    })
}
