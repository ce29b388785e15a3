//! The event bus: what happens in a cluster, told to the parts of this process and to other nodes at once.
//!
//! Whoever does something calls [`Bus::publish`]. The bus hands the event to the local handlers that subscribed to its kind
//! ([`Bus::subscribe`]), and to the back ends, which carry it to other nodes. What other nodes say comes in through
//! [`Bus::receive`] and goes to the same handlers.
//!
//! # Rules
//! - Events are hints (design rule 9). A lost, late, repeated or invented one changes when something is looked at, never what is
//!   found there: handlers read the documents and the log in the bucket, and polling finds the same facts.
//! - Nobody waits for anybody. Every buffer is a [`Mailbox`]: bounded, with events about the same thing made into one, and
//!   what does not fit is dropped and counted.
//! - An event of a kind that this node does not know is counted and passed over.

mod bus;
pub mod log;
mod mailbox;
mod metrics;
pub mod nats;
pub(crate) mod peers;
mod subject;
pub mod websocket;

use std::sync::Arc;

use async_trait::async_trait;
use brainy_coordination::events::Event;
use brainy_coordination::types::{InstanceId, Nonce};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use bus::{Bus, Subscription};
pub use mailbox::{Mailbox, Pushed};
pub use metrics::{Direction, EventMetrics, OpenConnection};

/// Largest encoded envelope in bytes that is sent or taken. Events hold names and numbers, and are far below it.
pub const MAX_ENVELOPE: usize = 16 << 10;

/// An event as it travels between nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Who says it.
    pub from: InstanceId,
    /// Tells it from all others; the same in every copy.
    pub id: Nonce,
    /// What happened.
    pub event: Event,
}

/// Why bytes are no envelope, or an envelope no bytes.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not the JSON of an envelope, or an event that cannot be said.
    #[error("not an event: {0}")]
    Json(#[from] serde_json::Error),
    /// Larger than [`MAX_ENVELOPE`].
    #[error("an event of {0} bytes, the limit is {MAX_ENVELOPE}")]
    TooLarge(usize),
}

impl Envelope {
    /// `event`, said by `from`, with a fresh identity.
    #[must_use]
    pub fn new(from: InstanceId, event: Event) -> Self {
        Self {
            from,
            id: Nonce::random(),
            event,
        }
    }

    /// As one JSON object.
    ///
    /// # Errors
    /// [`Event::Unknown`] has no form of its own; too large.
    pub fn encode(&self) -> Result<String, EnvelopeError> {
        let text = serde_json::to_string(self)?;
        if text.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLarge(text.len()));
        }
        Ok(text)
    }

    /// From what [`Self::encode`] made, here or in another version: fields that are not known are passed over, and an event of
    /// an unknown kind is [`Event::Unknown`].
    ///
    /// # Errors
    /// Something else, or too large.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLarge(bytes.len()));
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// Where a back end hands in what other nodes say. Does not wait.
#[derive(Clone)]
pub struct Deliver(Arc<dyn Fn(Envelope) + Send + Sync>);

impl Deliver {
    /// One that calls `deliver`, which must not block.
    pub fn new(deliver: impl Fn(Envelope) + Send + Sync + 'static) -> Self {
        Self(Arc::new(deliver))
    }

    /// Hands in one event.
    pub fn deliver(&self, envelope: Envelope) {
        (self.0)(envelope);
    }
}

/// A way to other nodes.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Its name in metrics and logs.
    fn name(&self) -> &'static str;

    /// Takes an event of this node to be told to others. Never waits: what does not fit into the back end's bounded buffer is
    /// dropped and counted.
    fn publish(&self, envelope: &Envelope);

    /// Tells others what was published, and hands what they say to `deliver`, until `stop`. Goes on by itself after every
    /// failure; may hand in an event more than once, and events of this node. At `stop` it may take a moment to say what is
    /// left.
    async fn run(self: Arc<Self>, deliver: Deliver, stop: CancellationToken);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_json(text: &str) -> Result<Envelope, EnvelopeError> {
        Envelope::decode(text.as_bytes())
    }

    #[test]
    fn envelopes_of_other_versions_are_understood_as_far_as_they_go() {
        let me = InstanceId::new("writer-0").unwrap();
        let event = Event::AssignmentChanged { epoch: 7 };
        let said = Envelope::new(me, event);
        assert_eq!(from_json(&said.encode().unwrap()).unwrap(), said);
        let newer = r#"{"from":"a","id":"0f","hops":2,"event":{"kind":"moon_rose","phase":1}}"#;
        let unknown = from_json(newer).unwrap();
        assert_eq!(unknown.event, Event::Unknown);
        assert!(unknown.encode().is_err());
        assert!(from_json("{}").is_err());
    }

    #[test]
    fn envelopes_have_a_largest_size() {
        let event = Event::PartitionTakenOver {
            partition: "things-0/0".parse().unwrap(),
            epoch: 1,
            reason: "x".repeat(MAX_ENVELOPE),
        };
        let large = Envelope::new(InstanceId::new("a").unwrap(), event);
        assert!(matches!(large.encode(), Err(EnvelopeError::TooLarge(_))));
        let padded = format!("{{}}{}", " ".repeat(MAX_ENVELOPE));
        assert!(matches!(
            from_json(&padded),
            Err(EnvelopeError::TooLarge(_))
        ));
    }
}
