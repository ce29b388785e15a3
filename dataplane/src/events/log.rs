//! Events by way of the ordered log in the bucket ([`brainy_coordination::events`]): for people, who read it with
//! `GET /coordinate/events`, and as a way to other nodes that needs nothing but the bucket.
//!
//! What happens with every write is not logged ([`Event::is_logged`](brainy_coordination::events::Event::is_logged)). An event
//! costs a LIST and a PUT. Following costs a GET of the next number at every poll, and a LIST at every `RELIST`th: numbers
//! have no gaps, but a follower that slept for long may find that the beginning was trimmed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use brainy_coordination::document::DocumentError;
use brainy_coordination::events::{EventLog, Recorded};
use brainy_coordination::types::Nonce;
use tokio::sync::watch;
use tokio::time::Instant;
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
    follow: Option<Follow>,
    metrics: EventMetrics,
}

/// How long to wait before the next look at the log.
pub struct Follow {
    pause: Box<dyn Fn() -> Duration + Send + Sync>,
    shorter: watch::Receiver<()>,
}

impl Follow {
    /// Asks `pause` before each look, and again when `shorter` changes.
    #[must_use]
    pub fn new(
        pause: impl Fn() -> Duration + Send + Sync + 'static,
        shorter: watch::Receiver<()>,
    ) -> Self {
        Self {
            pause: Box::new(pause),
            shorter,
        }
    }

    /// Waits until it is time for the look after `last`.
    async fn due(&self, last: Instant) {
        let mut shorter = self.shorter.clone();
        loop {
            shorter.mark_unchanged();
            let due = last + (self.pause)();
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                Ok(()) = shorter.changed() => {}
            }
        }
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Follow").field(&(self.pause)()).finish()
    }
}

impl LogBackend {
    /// Writes events into `log`; with `follow` it also hands in what others wrote.
    #[must_use]
    pub fn new(log: Arc<EventLog>, follow: Option<Follow>, metrics: EventMetrics) -> Self {
        Self {
            log,
            outgoing: Mailbox::new(BUFFER),
            follow,
            metrics,
        }
    }

    /// Writes down what waits, one after another, and at `stop` what waits then.
    async fn write(&self, stop: &CancellationToken) {
        loop {
            let envelope = tokio::select! {
                biased;
                envelope = self.outgoing.next() => envelope,
                () = stop.cancelled() => return,
            };
            let kind = envelope.event.kind();
            if let Err(error) = self.log.append(envelope.event).await {
                self.metrics.failed(NAME);
                self.metrics.dropped(NAME);
                tracing::warn!(%error, kind, "an event is not in the event log");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }

    /// Hands in what others write, from now on.
    async fn read(&self, deliver: &Deliver, follow: &Follow) {
        let mut at = loop {
            match self.log.end().await {
                Ok(end) => break end,
                Err(error) => self.cannot_read(&error),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let (mut polls, mut last) = (0_u32, Instant::now());
        loop {
            follow.due(last).await;
            last = Instant::now();
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
            if let Some(follow) = &self.follow {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.read(&deliver, follow) => {}
                }
            }
        };
        let working = async { tokio::join!(self.write(&stop), reading) };
        let patience = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            _ = working => {}
            () = patience => {
                tracing::debug!("the last events of this node are not in the event log");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use brainy_coordination::events::Event;
    use brainy_coordination::store::dir::DirStore;
    use brainy_coordination::store::retry::{RetryPolicy, Store};
    use brainy_coordination::types::{InstanceId, LogPosition};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use tokio_util::sync::DropGuard;

    use super::*;

    /// One node's end of the log.
    struct End {
        me: InstanceId,
        log: Arc<EventLog>,
        backend: Arc<LogBackend>,
        heard: UnboundedReceiver<Envelope>,
        stop: DropGuard,
        running: tokio::task::JoinHandle<()>,
    }

    fn store(dir: &tempfile::TempDir) -> Store {
        let store = DirStore::open(dir.path()).unwrap();
        Store::new(store, RetryPolicy::default())
    }

    impl End {
        fn run(name: &str, store: &Store, follows: bool) -> Self {
            let me = InstanceId::new(name).unwrap();
            let log = Arc::new(EventLog::new(store.clone(), me.clone()));
            let follow =
                follows.then(|| Follow::new(|| Duration::from_millis(50), watch::channel(()).1));
            let backend = LogBackend::new(log.clone(), follow, EventMetrics::default());
            let backend = Arc::new(backend);
            let (says, heard) = unbounded_channel();
            let deliver = Deliver::new(move |envelope| says.send(envelope).unwrap_or_default());
            let stop = CancellationToken::new();
            let running = tokio::spawn(backend.clone().run(deliver, stop.clone()));
            Self {
                me,
                log,
                backend,
                heard,
                stop: stop.drop_guard(),
                running,
            }
        }

        fn say(&self, event: Event) {
            self.backend.publish(&Envelope::new(self.me.clone(), event));
        }
    }

    fn created(n: u32) -> Event {
        let collection = format!("things-{n}").parse().unwrap();
        Event::CollectionCreated { collection }
    }

    #[tokio::test]
    async fn followers_hear_what_is_written_after_they_came_and_people_read_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let writer = End::run("writer", &store, false);
        writer.log.append(created(1)).await.unwrap();
        let mut reader = End::run("reader", &store, true);
        // The reader has found the end once it hears of what comes after it.
        let mut n = 1;
        let first = loop {
            n += 1;
            writer.say(created(n));
            let heard = tokio::time::timeout(Duration::from_millis(300), reader.heard.recv());
            if let Ok(heard) = heard.await {
                break heard.unwrap();
            }
            assert!(n < 100, "nothing is heard");
        };
        assert_eq!(first.from, writer.me);
        assert_ne!(first.event, created(1), "it was there before");
        let position = LogPosition::new(1, 1);
        writer.say(Event::LogAdvanced {
            partition: "things-0/0".parse().unwrap(),
            position,
        });
        writer.say(created(999));
        while reader.heard.recv().await.unwrap().event != created(999) {}
        let all = reader.log.read_after(0, 1000).await.unwrap();
        assert_eq!(all.len() as u32, n + 1, "no log position is among them");
        assert!(all.iter().map(|e| e.sequence).eq(1..=u64::from(n) + 1));
    }

    #[tokio::test]
    async fn what_is_said_last_is_written_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let End {
            me,
            log,
            backend,
            heard: _heard,
            stop,
            running,
        } = End::run("writer", &store, false);
        for n in 0..5 {
            backend.publish(&Envelope::new(me.clone(), created(n)));
        }
        let leaving = Event::Draining { member: me.clone() };
        backend.publish(&Envelope::new(me, leaving.clone()));
        drop(stop);
        running.await.unwrap();
        let all = log.read_after(0, 10).await.unwrap();
        assert_eq!(all.last().unwrap().event, leaving);
        assert_eq!(all.len(), 6);
    }

    #[tokio::test]
    async fn a_follower_that_slept_goes_on_after_what_was_trimmed() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let writer = End::run("writer", &store, false);
        for n in 0..10 {
            writer.log.append(created(n)).await.unwrap();
        }
        writer.log.trim(3).await.unwrap();
        let (says, mut heard) = unbounded_channel();
        let deliver = Deliver::new(move |envelope| says.send(envelope).unwrap_or_default());
        let mut at = 2;
        writer
            .backend
            .read_on(&deliver, &mut at, false)
            .await
            .unwrap();
        assert_eq!(at, 2, "the next number is gone");
        writer
            .backend
            .read_on(&deliver, &mut at, true)
            .await
            .unwrap();
        assert_eq!(at, 10);
        for n in 7..10 {
            assert_eq!(heard.recv().await.unwrap().event, created(n));
        }
    }
}
