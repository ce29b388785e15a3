//! What a connection is doing, and whether its client takes too long over it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use tokio::time::Instant;

use crate::Limits;
use crate::patience::Patience;

/// Why a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Slow {
    /// The head of a request, or a handshake, did not arrive in time.
    Head,
    /// No request came for a long time.
    Idle,
    /// The client does not send the body that it announced.
    Body,
    /// The client does not read its answers.
    Answer,
}

impl EncodeLabelValue for Slow {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        let name = match self {
            Slow::Head => "head",
            Slow::Idle => "idle",
            Slow::Body => "body",
            Slow::Answer => "answer",
        };
        name.encode(encoder)
    }
}

/// See the module; shared by everything that belongs to the connection.
#[derive(Debug)]
pub(crate) struct Activity {
    limits: Arc<Limits>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    http2: bool,
    /// Requests that have begun.
    requests: u64,
    /// Requests that have not ended.
    running: usize,
    /// When the connection or its last request ended.
    quiet: Instant,
    /// When the first bytes of the next request's head came.
    head: Option<Instant>,
    /// The client's reading of what is written.
    answers: Patience,
    /// Until when parts of answers that wait for the client's window must be written (HTTP/2).
    parts: BTreeMap<u64, Instant>,
    next_part: u64,
}

impl Activity {
    pub(crate) fn new(limits: Arc<Limits>) -> Arc<Self> {
        let state = State {
            http2: false,
            requests: 0,
            running: 0,
            quiet: Instant::now(),
            head: None,
            answers: Patience::new(&limits),
            parts: BTreeMap::new(),
            next_part: 0,
        };
        Arc::new(Self {
            limits,
            state: Mutex::new(state),
        })
    }

    /// Whether a request has arrived.
    pub(crate) fn was_asked(&self) -> bool {
        self.state.lock().requests > 0
    }

    /// A request has arrived; it ends when what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>, http2: bool) -> Running {
        let mut state = self.state.lock();
        state.http2 = http2;
        state.requests += 1;
        state.running += 1;
        state.head = None;
        Running(self.clone())
    }

    /// Bytes have come.
    pub(crate) fn received(&self) {
        let mut state = self.state.lock();
        if state.running == 0 && state.head.is_none() {
            state.head = Some(Instant::now());
        }
    }

    /// The client reads nothing now.
    pub(crate) fn blocked(&self) {
        self.state.lock().answers.wait(Instant::now());
    }

    /// So many bytes were written.
    pub(crate) fn sent(&self, bytes: usize) {
        self.state.lock().answers.moved(Instant::now(), bytes);
    }

    /// A part of an answer of so many bytes is to be written; it is when what is returned is dropped.
    fn part(self: &Arc<Self>, bytes: usize) -> Part {
        let needs = Duration::from_secs_f64(bytes as f64 / self.limits.min_rate.max(1) as f64);
        let mut state = self.state.lock();
        let number = state.next_part;
        state.next_part += 1;
        let until = Instant::now() + self.limits.patience + needs;
        state.parts.insert(number, until);
        Part {
            activity: self.clone(),
            number,
        }
    }

    /// Why the connection must end now, if it must.
    pub(crate) fn overdue(&self, now: Instant) -> Option<Slow> {
        let state = self.state.lock();
        if state.answers.is_over(now) || state.parts.values().any(|until| *until <= now) {
            return Some(Slow::Answer);
        }
        if state.running > 0 {
            return None;
        }
        // Before the first request there is no other reason to have the connection.
        let head = if state.requests == 0 {
            Some(state.quiet)
        } else if state.http2 {
            // Bytes without a request are signs of life here, not a head.
            None
        } else {
            state.head
        };
        if head.is_some_and(|since| now >= since + self.limits.head_timeout) {
            return Some(Slow::Head);
        }
        (now >= state.quiet + self.limits.idle_timeout).then_some(Slow::Idle)
    }
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Running(Arc<Activity>);

impl Running {
    /// The same bytes, watched until they are written.
    pub(crate) fn watched(&self, data: Bytes) -> Bytes {
        if data.is_empty() {
            return data;
        }
        let part = self.0.part(data.len());
        Bytes::from_owner(Watched { data, _part: part })
    }

    /// Whether answers wait for the client's window.
    pub(crate) fn is_http2(&self) -> bool {
        self.0.state.lock().http2
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.running -= 1;
        if state.running == 0 {
            state.quiet = Instant::now();
        }
    }
}

/// A part of an answer on its way.
#[derive(Debug)]
struct Part {
    activity: Arc<Activity>,
    number: u64,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.activity.state.lock().parts.remove(&self.number);
    }
}

struct Watched {
    data: Bytes,
    _part: Part,
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity() -> (Arc<Activity>, Instant) {
        let limits = Limits {
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(100),
            patience: Duration::from_secs(20),
            min_rate: 1000,
            ..Limits::default()
        };
        (Activity::new(Arc::new(limits)), Instant::now())
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_connection_is_for_requests() {
        let (activity, start) = activity();
        assert_eq!(activity.overdue(after(start, 9)), None);
        assert_eq!(activity.overdue(after(start, 11)), Some(Slow::Head));
        let running = activity.begin(false);
        assert_eq!(activity.overdue(after(start, 10_000)), None);
        drop(running);
        assert_eq!(activity.overdue(after(start, 99)), None);
        assert_eq!(activity.overdue(after(start, 101)), Some(Slow::Idle));
        activity.received();
        assert_eq!(activity.overdue(after(start, 11)), Some(Slow::Head));
    }

    #[test]
    fn signs_of_life_in_http_2_are_no_head() {
        let (activity, start) = activity();
        drop(activity.begin(true));
        activity.received();
        assert_eq!(activity.overdue(after(start, 11)), None);
        assert_eq!(activity.overdue(after(start, 101)), Some(Slow::Idle));
    }

    #[test]
    fn what_is_not_read_in_time_ends_the_connection() {
        let (activity, start) = activity();
        let running = activity.begin(true);
        let data = running.watched(vec![1; 5000].into());
        assert_eq!(data.len(), 5000);
        // Twenty seconds, and one for each thousand bytes.
        assert_eq!(activity.overdue(after(start, 24)), None);
        assert_eq!(activity.overdue(after(start, 26)), Some(Slow::Answer));
        drop(data);
        assert_eq!(activity.overdue(after(start, 26)), None);
        activity.blocked();
        assert_eq!(activity.overdue(after(start, 21)), Some(Slow::Answer));
        activity.sent(1);
        assert_eq!(activity.overdue(after(start, 21)), None);
    }
}
