//! Events by way of the ordered log in the bucket ([`brainy_coordination::events`]): for people, who read it with
//! `GET /coordinate/events`, and as a way to other nodes that needs nothing but the bucket.
//!
//! What happens with every write is not logged ([`Event::is_logged`](brainy_coordination::events::Event::is_logged)). An event
//! costs a LIST and a PUT. Following costs a GET of the next number at every poll, and a LIST at every [`RELIST`]th: numbers
//! have no gaps, but a follower that slept for long may find that the beginning was trimmed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use brainy_coordination::config::EffectiveConfig;
use brainy_coordination::document::DocumentError;
use brainy_coordination::events::{EventLog, Recorded};
use brainy_coordination::types::Nonce;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Backend, Deliver, Envelope, EventMetrics, Mailbox, Pushed};

/// Its name in metrics and logs.
pub const NAME: &str = "s3-log";
/// Events that wait to be written; more drop the oldest.
const BUFFER: usize = 256;
/// Pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);
/// What still waits at the end may take this long.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Of so many polls one lists.
const RELIST: u32 = 120;
/// Events read at once when many are new.
const PAGE: usize = 100;

/// The back end.
#[derive(Debug)]
pub struct LogBackend {
    log: Arc<EventLog>,
    outgoing: Mailbox,
    /// Where events of others are taken from the log: how often.
    follow: Option<watch::Receiver<EffectiveConfig>>,
    metrics: EventMetrics,
}

impl LogBackend {
    /// Writes events into `log`; with `follow` it also hands in what others wrote, at the interval at which the assignment table
    /// is polled.
    #[must_use]
    pub fn new(
        log: Arc<EventLog>,
        follow: Option<watch::Receiver<EffectiveConfig>>,
        metrics: EventMetrics,
    ) -> Self {
        Self {
            log,
            outgoing: Mailbox::new(BUFFER),
            follow,
            metrics,
        }
    }

    /// Writes down what waits, one after another.
    async fn write(&self) {
        loop {
            let envelope = self.outgoing.next().await;
            let kind = envelope.event.kind();
            if let Err(error) = self.log.append(envelope.event).await {
                self.metrics.failed(NAME);
                self.metrics.dropped(NAME);
                tracing::warn!(%error, kind, "an event is not in the event log");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Writes down what waits at the end.
    async fn write_rest(&self) {
        while let Some(envelope) = self.outgoing.take() {
            if self.log.append(envelope.event).await.is_err() {
                self.metrics.failed(NAME);
                return;
            }
        }
    }

    /// Hands in what others write, from now on.
    async fn read(&self, deliver: &Deliver, settings: &watch::Receiver<EffectiveConfig>) {
        let mut at = loop {
            match self.log.end().await {
                Ok(end) => break end,
                Err(error) => self.cannot_read(&error),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let mut polls = 0_u32;
        loop {
            let interval = settings.borrow().assignment_poll_interval_ms;
            tokio::time::sleep(Duration::from_millis(interval)).await;
            polls = (polls + 1) % RELIST;
            if let Err(error) = self.read_on(deliver, &mut at, polls == 0).await {
                self.cannot_read(&error);
            }
        }
    }

    async fn read_on(
        &self,
        deliver: &Deliver,
        at: &mut u64,
        list: bool,
    ) -> Result<(), DocumentError> {
        if !list && !self.take(deliver, at).await? {
            return Ok(());
        }
        loop {
            let page = self.log.read_after(*at, PAGE).await?;
            let full = page.len() == PAGE;
            for recorded in page {
                *at = recorded.sequence;
                deliver.deliver(envelope(recorded));
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Hands in the event after `at`, if there is one.
    async fn take(&self, deliver: &Deliver, at: &mut u64) -> Result<bool, DocumentError> {
        let Some(recorded) = self.log.read(*at + 1).await? else {
            return Ok(false);
        };
        *at = recorded.sequence;
        deliver.deliver(envelope(recorded));
        Ok(true)
    }

    fn cannot_read(&self, error: &DocumentError) {
        self.metrics.failed(NAME);
        tracing::warn!(%error, "cannot read the event log; changes are found by polling");
    }
}

fn envelope(recorded: Recorded) -> Envelope {
    Envelope {
        from: recorded.instance,
        id: Nonce::random(),
        event: recorded.event,
    }
}

#[async_trait]
impl Backend for LogBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn publish(&self, envelope: &Envelope) {
        if envelope.event.is_logged()
            && self.outgoing.push(envelope.clone()) == Pushed::DroppedOldest
        {
            self.metrics.dropped(NAME);
        }
    }

    async fn run(self: Arc<Self>, deliver: Deliver, stop: CancellationToken) {
        let reading = async {
            match &self.follow {
                Some(settings) => self.read(&deliver, settings).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.write() => {}
            () = reading => {}
        }
        if tokio::time::timeout(LAST_WORDS, self.write_rest())
            .await
            .is_err()
        {
            tracing::debug!("the last events of this node are not in the event log");
        }
    }
}
