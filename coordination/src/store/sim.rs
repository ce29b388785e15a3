//! A simulated bucket: a test double with honest semantics and scheduled misfortune.
//!
//! [`SimBucket`] keeps objects in memory and answers as a linearizable S3 would. What goes wrong is drawn from one seed:
//! the same seed, plan and sequence of requests give the same history under tokio's `current_thread` runtime with a
//! paused clock. Nothing here reads real time or iterates in hash order.
//!
//! Each caller has its own [`SimStore`], so that one can be frozen (its requests hang, as those of a paused process) or
//! cut off while the others go on. A request that is dropped half-way may still take effect later, as a packet that
//! has left the machine may. Tags are a function of the content alone, so a body that is not unique shows the same ABA
//! hole that S3's MD5 tags have (design rule 2).
//!
//! Not for production: nothing is durable.

mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, sleep};

use self::state::{Condition, Draw, Fault, State, Write};
use super::common::{MAX_PAGE, check_key, check_range, slice_range};
use super::{ETag, ListPage, Object, ObjectMeta, ObjectStore, StoreError};

/// What may happen to each request. Probabilities are per request, exclusive of each other, and sum to at most 1.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    /// Time from request to answer; the effect happens somewhere in between.
    pub latency: RangeInclusive<Duration>,
    /// The store answers 503 and changes nothing.
    pub p_busy: f64,
    /// The store answers 409 `ConditionalRequestConflict` to a conditional write and changes nothing.
    pub p_conflict_409: f64,
    /// The request never arrives; the caller sees a time-out.
    pub p_timeout_before: f64,
    /// The request takes effect; its answer is lost and the caller sees a time-out.
    pub p_timeout_after: f64,
    /// The caller sees a time-out; the write arrives later and takes effect if its condition holds then.
    pub p_delayed_effect: f64,
    /// How long a caller waits before it gives up on an answer.
    pub timeout: Duration,
    /// How long after the caller's time-out (or cancellation) a delayed write arrives.
    pub late_by: RangeInclusive<Duration>,
}

impl Default for FaultPlan {
    /// No faults and no latency.
    fn default() -> Self {
        Self {
            latency: Duration::ZERO..=Duration::ZERO,
            p_busy: 0.0,
            p_conflict_409: 0.0,
            p_timeout_before: 0.0,
            p_timeout_after: 0.0,
            p_delayed_effect: 0.0,
            timeout: Duration::from_secs(2),
            late_by: Duration::from_millis(10)..=Duration::from_secs(5),
        }
    }
}

impl FaultPlan {
    /// No faults, and the latency of a real bucket: requests of several callers overlap.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            latency: Duration::from_millis(5)..=Duration::from_millis(60),
            ..Self::default()
        }
    }

    /// Every fault, about one request in four.
    #[must_use]
    pub fn harsh() -> Self {
        Self {
            latency: Duration::from_millis(1)..=Duration::from_millis(200),
            p_busy: 0.06,
            p_conflict_409: 0.05,
            p_timeout_before: 0.04,
            p_timeout_after: 0.06,
            p_delayed_effect: 0.04,
            ..Self::default()
        }
    }
}

/// One write or removal that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Virtual time since the bucket's first request.
    pub at: Duration,
    /// Whose request it was.
    pub caller: String,
    /// The key.
    pub key: String,
    /// What was done.
    pub kind: EffectKind,
    /// The tag that the object has since; `None` after a removal.
    pub etag: Option<ETag>,
    /// The content that the object has since; `None` after a removal.
    pub body: Option<Bytes>,
}

/// What an [`Effect`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectKind {
    /// Unconditional write.
    Put,
    /// `If-None-Match: *`.
    Create,
    /// `If-Match`.
    Swap,
    /// Removal of an object that was there.
    Delete,
}

/// The shared bucket. See the [module](self).
pub struct SimBucket {
    state: Mutex<State>,
    callers: Mutex<BTreeMap<String, Link>>,
}

/// State of the way between one caller and the bucket.
#[derive(Default)]
struct Link {
    frozen: bool,
    /// Wakes what hung, in the order in which it began to hang (a `watch` channel wakes in random order).
    thawed: Arc<Notify>,
    cut: bool,
}

impl fmt::Debug for SimBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimBucket")
            .field("objects", &self.state.lock().objects.len())
            .finish_non_exhaustive()
    }
}

impl SimBucket {
    /// An empty bucket without faults whose misfortune, once planned, follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(seed)),
            callers: Mutex::default(),
        })
    }

    /// Access for the caller `name`. Several clients of one name share its fate.
    #[must_use]
    pub fn client(self: &Arc<Self>, name: &str) -> Arc<SimStore> {
        Arc::new(SimStore {
            bucket: Arc::clone(self),
            caller: name.to_owned(),
        })
    }

    /// What happens to requests from now on.
    pub fn set_faults(&self, plan: FaultPlan) {
        self.state.lock().plan = plan;
    }

    /// Requests of `name`, also those under way, hang until [`SimBucket::thaw`], as when its process is paused. The seed
    /// chooses for each whether it hangs before or after its effect.
    pub fn freeze(&self, name: &str) {
        self.set_frozen(name, true);
    }

    /// Ends [`SimBucket::freeze`]: what hung goes on where it stood.
    pub fn thaw(&self, name: &str) {
        self.set_frozen(name, false);
    }

    fn set_frozen(&self, name: &str, frozen: bool) {
        let mut callers = self.callers.lock();
        let link = callers.entry(name.to_owned()).or_default();
        link.frozen = frozen;
        if !frozen {
            link.thawed.notify_waiters();
        }
    }

    /// Cuts `name` off, or connects it again. Requests that have not taken effect fail as `Busy`; a write that has,
    /// loses its answer.
    pub fn partition(&self, name: &str, cut: bool) {
        let mut callers = self.callers.lock();
        callers.entry(name.to_owned()).or_default().cut = cut;
    }

    /// Everything in the bucket now.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<String, Bytes> {
        let mut state = self.state.lock();
        state.settle();
        let objects = state.objects.iter();
        objects.map(|(k, o)| (k.clone(), o.body.clone())).collect()
    }

    /// Writes and removals that took effect so far, in order.
    #[must_use]
    pub fn history(&self) -> Vec<Effect> {
        let mut state = self.state.lock();
        state.settle();
        state.history.clone()
    }

    /// Writes that are still on their way although their callers gave up on them.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let mut state = self.state.lock();
        state.settle();
        state.late.len()
    }

    /// Lets every write that is still on its way arrive now.
    pub fn deliver_late_writes(&self) {
        self.state.lock().deliver_all();
    }

    /// Replaces the content of `key` behind everybody's back; `false` if there is no such object. Not in the history.
    pub fn corrupt(&self, key: &str, change: impl FnOnce(Bytes) -> Bytes) -> bool {
        let mut state = self.state.lock();
        state.settle();
        state.corrupt(key, change)
    }

    /// What to wait for while `caller` is frozen.
    fn frozen(&self, caller: &str) -> Option<OwnedNotified> {
        let callers = self.callers.lock();
        let link = callers.get(caller).filter(|link| link.frozen)?;
        Some(Arc::clone(&link.thawed).notified_owned())
    }

    fn is_cut(&self, caller: &str) -> bool {
        self.callers.lock().get(caller).is_some_and(|l| l.cut)
    }
}

/// One caller's access to a [`SimBucket`].
#[derive(Debug)]
pub struct SimStore {
    bucket: Arc<SimBucket>,
    caller: String,
}

/// A write that has left its caller. If the caller drops the request, the write may still arrive.
struct Sent<'a> {
    bucket: &'a SimBucket,
    write: Option<Write>,
    draw: Draw,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if let Some(write) = self.write.take()
            && self.draw.coin
        {
            self.bucket.state.lock().send_late(write, self.draw.late_by);
        }
    }
}

impl SimStore {
    fn busy(&self, what: &'static str, key: &str, message: &str) -> StoreError {
        StoreError::Busy {
            what,
            key: key.to_owned(),
            message: format!("{message} (caller {})", self.caller),
        }
    }

    fn no_answer(&self, what: &'static str, key: &str, is_write: bool) -> StoreError {
        let message = format!("no answer in time (caller {})", self.caller);
        let key = key.to_owned();
        if is_write {
            StoreError::Ambiguous { what, key, message }
        } else {
            StoreError::Busy { what, key, message }
        }
    }

    async fn thawed(&self) {
        while let Some(thawed) = self.bucket.frozen(&self.caller) {
            thawed.await;
        }
    }

    /// The way to the store, up to the point where the effect happens.
    async fn depart(
        &self,
        what: &'static str,
        key: &str,
        draw: &Draw,
        is_write: bool,
    ) -> Result<(), StoreError> {
        pause(draw.before).await;
        if draw.coin {
            self.thawed().await;
        }
        if self.bucket.is_cut(&self.caller) {
            return Err(self.busy(what, key, "connection refused"));
        }
        match draw.fault {
            Some(Fault::Busy) => Err(self.busy(what, key, "503 SlowDown")),
            Some(Fault::Conflict) => Err(self.busy(what, key, "409 ConditionalRequestConflict")),
            Some(Fault::TimeoutBefore) => {
                sleep(draw.timeout).await;
                Err(self.no_answer(what, key, is_write))
            }
            Some(Fault::TimeoutAfter | Fault::DelayedEffect) | None => Ok(()),
        }
    }

    /// The way back.
    async fn arrive(
        &self,
        what: &'static str,
        key: &str,
        draw: &Draw,
        is_write: bool,
    ) -> Result<(), StoreError> {
        pause(draw.after).await;
        self.thawed().await;
        if matches!(draw.fault, Some(Fault::TimeoutAfter)) {
            sleep(draw.timeout).await;
            return Err(self.no_answer(what, key, is_write));
        }
        if self.bucket.is_cut(&self.caller) {
            return Err(self.no_answer(what, key, is_write));
        }
        Ok(())
    }

    async fn read<T>(
        &self,
        what: &'static str,
        key: &str,
        look: impl FnOnce(&State) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError>
    where
        T: Send,
    {
        let draw = self.bucket.state.lock().draw(false, false);
        self.depart(what, key, &draw, false).await?;
        let found = {
            let mut state = self.bucket.state.lock();
            state.settle();
            look(&state)
        };
        self.arrive(what, key, &draw, false).await?;
        found
    }

    async fn write(
        &self,
        what: &'static str,
        key: &str,
        condition: Condition,
        body: Option<Bytes>,
    ) -> Result<Option<ETag>, StoreError> {
        check_key(what, key)?;
        let conditional = !matches!(condition, Condition::None);
        let draw = self.bucket.state.lock().draw(true, conditional);
        let mut sent = Sent {
            bucket: &self.bucket,
            draw: draw.clone(),
            write: Some(Write {
                what,
                caller: self.caller.clone(),
                key: key.to_owned(),
                condition,
                body,
            }),
        };
        if let Err(error) = self.depart(what, key, &draw, true).await {
            sent.write = None;
            return Err(error);
        }
        let Some(write) = sent.write.take() else {
            return Err(self.no_answer(what, key, true));
        };
        if matches!(draw.fault, Some(Fault::DelayedEffect)) {
            let due = draw.timeout + draw.late_by;
            self.bucket.state.lock().send_late(write, due);
            sleep(draw.timeout).await;
            return Err(self.no_answer(what, key, true));
        }
        let done = {
            let mut state = self.bucket.state.lock();
            state.settle();
            state.apply(write, None)
        };
        self.arrive(what, key, &draw, true).await?;
        done
    }
}

/// Waits for virtual time; without latency it only lets others run.
async fn pause(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        sleep(time).await;
    }
}

/// Virtual time since `origin`, which is set at the first call.
fn elapsed(origin: &mut Option<Instant>) -> Duration {
    let now = Instant::now();
    now.saturating_duration_since(*origin.get_or_insert(now))
}

fn not_found(key: &str) -> StoreError {
    StoreError::NotFound {
        key: key.to_owned(),
    }
}

fn tag(key: &str, done: Option<ETag>) -> Result<ETag, StoreError> {
    done.ok_or_else(|| not_found(key))
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        check_key("get", key)?;
        self.read("get", key, |state| {
            state
                .objects
                .get(key)
                .cloned()
                .ok_or_else(|| not_found(key))
        })
        .await
    }

    async fn get_if_changed(&self, key: &str, known: &ETag) -> Result<Option<Object>, StoreError> {
        check_key("get-if-changed", key)?;
        self.read("get-if-changed", key, |state| {
            match state.objects.get(key) {
                Some(object) if object.etag == *known => Ok(None),
                Some(object) => Ok(Some(object.clone())),
                None => Err(not_found(key)),
            }
        })
        .await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        check_key("get-range", key)?;
        check_range(key, &range)?;
        self.read("get-range", key, |state| {
            let object = state.objects.get(key).ok_or_else(|| not_found(key))?;
            slice_range(key, &object.body, &range)
        })
        .await
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        let done = self.write("put", key, Condition::None, Some(body)).await?;
        tag(key, done)
    }

    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        let what = "put-if-absent";
        let done = self.write(what, key, Condition::Absent, Some(body)).await?;
        tag(key, done)
    }

    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        current: &ETag,
    ) -> Result<ETag, StoreError> {
        let condition = Condition::Match(current.clone());
        let done = self
            .write("put-if-match", key, condition, Some(body))
            .await?;
        tag(key, done)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.write("delete", key, Condition::None, None).await?;
        Ok(())
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        self.read("list", prefix, |state| {
            let from = start_after
                .filter(|after| *after >= prefix)
                .unwrap_or(prefix);
            let mut keys = state
                .objects
                .range::<str, _>((Bound::Included(from), Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix))
                .filter(|(key, _)| start_after.is_none_or(|after| key.as_str() > after));
            let objects = keys
                .by_ref()
                .take(limit)
                .map(|(key, object)| ObjectMeta {
                    key: key.clone(),
                    size: object.body.len() as u64,
                })
                .collect();
            let truncated = keys.next().is_some();
            Ok(ListPage { objects, truncated })
        })
        .await
    }
}
