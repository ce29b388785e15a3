//! Retries that cannot mistake their own success for a conflict.
//!
//! A conditional write whose answer was lost may have taken effect, and its retry then meets its own success as 412.
//! Every conditional body is unique (it carries a nonce), so reading the key back and comparing bytes tells whose write
//! it was (design rule 2). A retried attempt may also still be on its way and land late; because it carries the same
//! bytes under the same condition, it can only do what this call is trying to do anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep};

use super::{ETag, ListPage, Object, ObjectMeta, ObjectStore, StoreError};

/// How long and how often one logical request is tried.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// First pause between attempts; doubles, with jitter, up to `max_pause`.
    pub base_pause: Duration,
    /// Longest pause between attempts.
    pub max_pause: Duration,
    /// No new attempt begins after this much time since the first.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            base_pause: Duration::from_millis(20),
            max_pause: Duration::from_secs(2),
            deadline: Duration::from_secs(30),
        }
    }
}

/// Outcome of a create.
#[derive(Clone, Debug)]
pub enum Created {
    /// The object is there with our bytes, written by this call.
    Ours(ETag),
    /// Somebody else's object is there.
    Exists(Object),
}

/// Outcome of a compare-and-swap.
#[derive(Clone, Debug)]
pub enum Swapped {
    /// Our bytes replaced the expected version.
    Ours(ETag),
    /// The expected version is gone; this is what is there now (`None`: nothing). Our write may have been in between.
    Lost(Option<Object>),
}

/// Requests sent, by kind, since start: what the bill is made of. Counts attempts, not logical requests.
#[derive(Debug, Default)]
pub struct RequestCounts {
    /// GET and ranged GET, also those answered 304 and 404.
    pub gets: AtomicU64,
    /// PUT of every kind.
    pub puts: AtomicU64,
    /// LIST pages.
    pub lists: AtomicU64,
    /// DELETE.
    pub deletes: AtomicU64,
    /// Attempts that were repeated after a transient error.
    pub retries: AtomicU64,
}

/// The store as protocols use it: retrying, counted, cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    policy: RetryPolicy,
    counts: Arc<RequestCounts>,
    jitter: Arc<Mutex<SmallRng>>,
}

impl Store {
    /// Wraps one-attempt access with `policy`.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, policy: RetryPolicy) -> Self {
        Self {
            inner,
            policy,
            counts: Arc::default(),
            jitter: Arc::new(Mutex::new(rand::make_rng())),
        }
    }

    /// The same store with pauses that follow from `seed`, so that a simulation can be run again.
    #[must_use]
    pub fn with_jitter_seed(self, seed: u64) -> Self {
        Self {
            jitter: Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))),
            ..self
        }
    }

    /// A pause of half to all of `longest`: keeps contenders apart without losing the exponential shape.
    pub(crate) fn jittered(&self, longest: Duration) -> Duration {
        longest.mul_f64(self.jitter.lock().random_range(0.5..=1.0))
    }

    /// The same store under another policy (for example a short deadline for probes); counts are shared.
    #[must_use]
    pub fn with_policy(&self, policy: RetryPolicy) -> Self {
        Self {
            policy,
            ..self.clone()
        }
    }

    /// Requests sent so far.
    #[must_use]
    pub fn counts(&self) -> &RequestCounts {
        &self.counts
    }

    /// Whole object, `None` when there is none.
    ///
    /// # Errors
    /// What the store said last, when the deadline passed or asking again is pointless.
    pub async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let mut attempt = Attempt::new(self.policy);
        loop {
            self.counts.gets.fetch_add(1, Ordering::Relaxed);
            match self.inner.get(key).await {
                Ok(object) => return Ok(Some(object)),
                Err(StoreError::NotFound { .. }) => return Ok(None),
                Err(e) => self.pause(&mut attempt, e).await?,
            }
        }
    }

    /// Whole object if its tag is not `known` any more.
    ///
    /// # Errors
    /// As [`Store::get`]; a missing object is `NotFound` here because the caller knew it.
    pub async fn get_if_changed(
        &self,
        key: &str,
        known: &ETag,
    ) -> Result<Option<Object>, StoreError> {
        let mut attempt = Attempt::new(self.policy);
        loop {
            self.counts.gets.fetch_add(1, Ordering::Relaxed);
            match self.inner.get_if_changed(key, known).await {
                Err(e) if e.is_transient() => self.pause(&mut attempt, e).await?,
                done => return done,
            }
        }
    }

    /// Bytes `range` of an object.
    ///
    /// # Errors
    /// As [`Store::get`]; a missing object is `NotFound`.
    pub async fn get_range(
        &self,
        key: &str,
        range: std::ops::Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let mut attempt = Attempt::new(self.policy);
        loop {
            self.counts.gets.fetch_add(1, Ordering::Relaxed);
            match self.inner.get_range(key, range.clone()).await {
                Err(e) if e.is_transient() => self.pause(&mut attempt, e).await?,
                done => return done,
            }
        }
    }

    /// Unconditional write of a uniquely named object; repeating it is harmless.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn put(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        let mut attempt = Attempt::new(self.policy);
        loop {
            self.counts.puts.fetch_add(1, Ordering::Relaxed);
            match self.inner.put(key, body.clone()).await {
                Err(e) if e.is_transient() => self.pause(&mut attempt, e).await?,
                done => return done,
            }
        }
    }

    /// Creates `key` with `body`, which must be unique to this call (carry a nonce).
    ///
    /// # Errors
    /// `Ambiguous` when the deadline passed without knowing; otherwise as [`Store::get`].
    pub async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError> {
        let mut attempt = Attempt::new(self.policy);
        loop {
            self.counts.puts.fetch_add(1, Ordering::Relaxed);
            match self.inner.put_if_absent(key, body.clone()).await {
                Ok(etag) => return Ok(Created::Ours(etag)),
                Err(StoreError::PreconditionFailed { .. }) => {
                    // Even on a first attempt: a proxy or the SDK's transport may have repeated it below us.
                    let found = self
                        .get(key)
                        .await
                        .map_err(|e| attempt.after_ambiguity(e, key))?;
                    match found {
                        Some(object) if object.body == body => {
                            return Ok(Created::Ours(object.etag));
                        }
                        Some(object) => return Ok(Created::Exists(object)),
                        // Removed between the two requests: ask again.
                        None => {
                            let gone = StoreError::Busy {
                                what: "put-if-absent",
                                key: key.to_owned(),
                                message: "the object vanished between two requests".to_owned(),
                            };
                            self.pause(&mut attempt, gone).await?;
                        }
                    }
                }
                Err(e) => self.pause(&mut attempt, e).await?,
            }
        }
    }

    /// Replaces version `current` of `key` by `body`, which must be unique to this call (carry a nonce).
    ///
    /// # Errors
    /// `Ambiguous` when the deadline passed without knowing; otherwise as [`Store::get`].
    pub async fn swap(
        &self,
        key: &str,
        body: Bytes,
        current: &ETag,
    ) -> Result<Swapped, StoreError> {
        let mut attempt = Attempt::new(self.policy);
        loop {
            self.counts.puts.fetch_add(1, Ordering::Relaxed);
            match self.inner.put_if_match(key, body.clone(), current).await {
                Ok(etag) => return Ok(Swapped::Ours(etag)),
                // 404 on If-Match is a conflict like 412 (design section 9).
                Err(StoreError::PreconditionFailed { .. } | StoreError::NotFound { .. }) => {
                    let found = self
                        .get(key)
                        .await
                        .map_err(|e| attempt.after_ambiguity(e, key))?;
                    return Ok(match found {
                        Some(object) if object.body == body => Swapped::Ours(object.etag),
                        other => Swapped::Lost(other),
                    });
                }
                Err(e) => self.pause(&mut attempt, e).await?,
            }
        }
    }

    /// Removes `key` if it is there.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let mut attempt = Attempt::new(self.policy);
        loop {
            self.counts.deletes.fetch_add(1, Ordering::Relaxed);
            match self.inner.delete(key).await {
                Err(e) if e.is_transient() => self.pause(&mut attempt, e).await?,
                done => return done,
            }
        }
    }

    /// One page of keys below `prefix` after `start_after`.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StoreError> {
        let mut attempt = Attempt::new(self.policy);
        loop {
            self.counts.lists.fetch_add(1, Ordering::Relaxed);
            match self.inner.list(prefix, start_after, limit).await {
                Err(e) if e.is_transient() => self.pause(&mut attempt, e).await?,
                done => return done,
            }
        }
    }

    /// All keys below `prefix`, ascending. For prefixes that are known to be small.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn list_all(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut all: Vec<ObjectMeta> = Vec::new();
        loop {
            let after = all.last().map(|o| o.key.clone());
            let page = self.list(prefix, after.as_deref(), 1000).await?;
            let stop = !page.truncated || page.objects.is_empty();
            all.extend(page.objects);
            if stop {
                return Ok(all);
            }
        }
    }

    async fn pause(&self, attempt: &mut Attempt, error: StoreError) -> Result<(), StoreError> {
        let pause = attempt.next_pause(error)?;
        self.counts.retries.fetch_add(1, Ordering::Relaxed);
        sleep(self.jittered(pause)).await;
        Ok(())
    }
}

/// Progress of one logical request through its attempts.
struct Attempt {
    policy: RetryPolicy,
    started: Instant,
    pause: Duration,
    ambiguous: bool,
}

impl Attempt {
    fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            started: Instant::now(),
            pause: policy.base_pause,
            ambiguous: false,
        }
    }

    /// The pause before the next attempt, without jitter, or the error to give up with.
    fn next_pause(&mut self, error: StoreError) -> Result<Duration, StoreError> {
        self.ambiguous |= matches!(error, StoreError::Ambiguous { .. });
        if !error.is_transient() || self.started.elapsed() + self.pause > self.policy.deadline {
            // What an earlier attempt may have done is not undone by a later one's refusal.
            return Err(if self.ambiguous {
                mark_ambiguous(error)
            } else {
                error
            });
        }
        let pause = self.pause;
        self.pause = (self.pause * 2).min(self.policy.max_pause);
        Ok(pause)
    }

    /// An error of the read that should have settled a conditional write leaves that write unsettled.
    fn after_ambiguity(&self, error: StoreError, key: &str) -> StoreError {
        StoreError::Ambiguous {
            what: "conditional put",
            key: key.to_owned(),
            message: format!("could not read back: {error}"),
        }
    }
}

fn mark_ambiguous(error: StoreError) -> StoreError {
    match error {
        StoreError::Busy { what, key, message } => StoreError::Ambiguous { what, key, message },
        StoreError::Refused {
            what,
            key,
            message,
            remedy,
        } => StoreError::Ambiguous {
            what,
            key,
            message: format!(
                "an attempt got no answer, then the store refused: {message}. {remedy}"
            ),
        },
        other => other,
    }
}
