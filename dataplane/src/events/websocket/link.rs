//! The way to one peer: a buffer, and a connection that is made again and again.

use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::types::InstanceId;
use futures::{SinkExt, StreamExt};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::dial::{DialError, Socket, dial};
use super::{NAME, WebSocket};
use crate::events::{Direction, Envelope, Mailbox};

/// A peer is asked this often whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(5);
/// A peer that says nothing for so long, not even to pings, is gone.
const SILENCE: Duration = Duration::from_secs(15);
/// Longest time for one write to be taken by the network.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest pause before dialing again; each is shortened by chance to as little as half.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that lasted so long was a good one: the next pause is the first again.
const GOOD: Duration = Duration::from_secs(10);
/// Longest time to say what waits when the node stops.
const FAREWELL: Duration = Duration::from_millis(500);
/// Events written before they are sent off together.
const BATCH: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    peer: InstanceId,
    address: String,
    outbox: Mailbox,
    dial: Notify,
    stop: CancellationToken,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the connection broke: {0}")]
    Broken(#[from] tokio_tungstenite::tungstenite::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer says nothing")]
    Silent,
    #[error("the peer does not read")]
    Stuck,
}

impl Link {
    pub(super) fn new(
        peer: InstanceId,
        address: String,
        capacity: usize,
        stop: CancellationToken,
    ) -> Self {
        Self {
            peer,
            address,
            outbox: Mailbox::new(capacity),
            dial: Notify::new(),
            stop,
        }
    }

    pub(super) fn peer(&self) -> &InstanceId {
        &self.peer
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn outbox(&self) -> &Mailbox {
        &self.outbox
    }

    /// Do not wait for the pause to end.
    pub(super) fn dial_now(&self) {
        self.dial.notify_one();
    }

    /// The peer is no member any more.
    pub(super) fn end(&self) {
        self.stop.cancel();
    }
}

/// Connects again and again until the link ends.
pub(super) async fn keep(backend: Arc<WebSocket>, link: Arc<Link>) {
    let mut pause = PAUSE;
    // Whether the trouble was reported already.
    let mut reported = false;
    while !link.stop.is_cancelled() {
        let began = Instant::now();
        let Err(error) = tell(&backend, &link).await else {
            return;
        };
        backend.metrics.failed(NAME);
        let good = began.elapsed() >= GOOD;
        if good {
            (pause, reported) = (PAUSE, false);
        }
        let (peer, address) = (&link.peer, &link.address);
        if error.needs_a_person() && !reported {
            tracing::warn!(%peer, address, %error, "cannot push events to this peer; it finds changes by polling");
            reported = true;
        } else {
            tracing::debug!(%peer, address, %error, "the connection for events ended");
        }
        let wait = pause.mul_f64(rand::random_range(0.5..=1.0));
        pause = (pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = link.stop.cancelled() => {}
            () = link.dial.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// One connection, from dialing to its end; `Ok` when the link ended.
async fn tell(backend: &WebSocket, link: &Link) -> Result<(), LinkError> {
    let mut socket = tokio::select! {
        () = link.stop.cancelled() => return Ok(()),
        dialed = dial(&link.address, &backend.me, backend.key.as_deref(), backend.tls.as_ref()) => dialed?,
    };
    let _open = backend.metrics.connected(NAME, Direction::Out);
    tracing::debug!(peer = %link.peer, address = link.address, "connected for events");
    // What an earlier connection swallowed, and what was said before the peer was known.
    for envelope in backend.last_words.all() {
        backend.queue(link, &envelope);
    }
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            () = link.stop.cancelled() => {
                return timeout(FAREWELL, farewell(&mut socket, link)).await.unwrap_or(Ok(()));
            }
            envelope = link.outbox.next() => {
                let write = timeout(WRITE_TIMEOUT, write(&mut socket, envelope, &link.outbox));
                let written = tokio::select! {
                    written = write => written,
                    () = at_the_end(link) => return Ok(()),
                };
                written.map_err(|_| LinkError::Stuck)??;
            }
            _ = pings.tick() => {
                if heard.elapsed() > SILENCE {
                    return Err(LinkError::Silent);
                }
                let pinged = timeout(WRITE_TIMEOUT, socket.send(Message::Ping(Default::default()))).await;
                pinged.map_err(|_| LinkError::Stuck)??;
            }
            message = socket.next() => match message {
                None | Some(Ok(Message::Close(_))) => return Err(LinkError::Closed),
                Some(message) => {
                    message?;
                    heard = Instant::now();
                }
            },
        }
    }
}

/// Sends `first` and some of what waits behind it.
async fn write(socket: &mut Socket, first: Envelope, outbox: &Mailbox) -> Result<(), LinkError> {
    let mut next = Some(first);
    for _ in 0..BATCH {
        let Some(envelope) = next else { break };
        match envelope.encode() {
            Ok(text) => socket.feed(Message::text(text)).await?,
            Err(error) => tracing::warn!(%error, "an event of this node cannot be said"),
        }
        next = outbox.take();
    }
    if let Some(unsent) = next {
        outbox.push(unsent);
    }
    Ok(socket.flush().await?)
}

/// Returns a little after the link ended.
async fn at_the_end(link: &Link) {
    link.stop.cancelled().await;
    tokio::time::sleep(FAREWELL).await;
}

/// Says what waits, and that nothing more will come.
async fn farewell(socket: &mut Socket, link: &Link) -> Result<(), LinkError> {
    while let Some(envelope) = link.outbox.take() {
        write(socket, envelope, &link.outbox).await?;
    }
    Ok(socket.close(None).await?)
}

impl LinkError {
    fn needs_a_person(&self) -> bool {
        matches!(self, LinkError::Dial(error) if error.needs_a_person())
    }
}
