//! What is in the bucket, what is on its way there, and what the seed has in store.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};
use std::time::Duration;

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::{Effect, EffectKind, FaultPlan, elapsed};
use crate::store::common::{content_etag, file_and_folder};
use crate::store::{ETag, Object, StoreError};

/// Condition of a write.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    None,
    Absent,
    Match(ETag),
}

/// A write or (without body) a removal.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) what: &'static str,
    pub(super) caller: String,
    pub(super) key: String,
    pub(super) condition: Condition,
    pub(super) body: Option<Bytes>,
}

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Busy,
    Conflict,
    TimeoutBefore,
    TimeoutAfter,
    DelayedEffect,
}

/// The fate of one request, drawn as a whole when it is sent, so that each takes the same number of draws.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    /// Time on the way to the store.
    pub(super) before: Duration,
    /// Time on the way back.
    pub(super) after: Duration,
    pub(super) fault: Option<Fault>,
    pub(super) timeout: Duration,
    pub(super) late_by: Duration,
    /// Frozen: hang before the effect. Dropped: the write still arrives.
    pub(super) coin: bool,
}

pub(super) struct State {
    pub(super) objects: BTreeMap<String, Object>,
    pub(super) history: Vec<Effect>,
    pub(super) plan: FaultPlan,
    /// Writes whose callers have given up, by arrival, then by order of sending.
    pub(super) late: BTreeMap<(Duration, u64), Write>,
    sent: u64,
    rng: ChaCha8Rng,
    origin: Option<Instant>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            history: Vec::new(),
            plan: FaultPlan::default(),
            late: BTreeMap::new(),
            sent: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            origin: None,
        }
    }

    pub(super) fn draw(&mut self, is_write: bool, conditional: bool) -> Draw {
        let latency = between(&mut self.rng, &self.plan.latency);
        let before = latency.mul_f64(self.rng.random_range(0.0..=1.0));
        let late_by = between(&mut self.rng, &self.plan.late_by);
        let coin = self.rng.random_bool(0.5);
        let mut dice: f64 = self.rng.random_range(0.0..1.0);
        let plan = &self.plan;
        let table = [
            (plan.p_busy, Fault::Busy),
            (plan.p_conflict_409, Fault::Conflict),
            (plan.p_timeout_before, Fault::TimeoutBefore),
            (plan.p_timeout_after, Fault::TimeoutAfter),
            (plan.p_delayed_effect, Fault::DelayedEffect),
        ];
        let mut fault = None;
        for (p, candidate) in table {
            if dice < p {
                fault = Some(candidate);
                break;
            }
            dice -= p;
        }
        // A fault that a request cannot meet becomes its nearest kin or none.
        let fault = match fault {
            Some(Fault::Conflict) if !conditional => None,
            Some(Fault::DelayedEffect) if !is_write => Some(Fault::TimeoutAfter),
            other => other,
        };
        Draw {
            before,
            after: latency.saturating_sub(before),
            fault,
            timeout: self.plan.timeout,
            late_by,
            coin,
        }
    }

    /// Lets `write` arrive `after` from now.
    pub(super) fn send_late(&mut self, write: Write, after: Duration) {
        let due = elapsed(&mut self.origin) + after;
        self.sent += 1;
        self.late.insert((due, self.sent), write);
    }

    /// Applies the late writes that are due.
    pub(super) fn settle(&mut self) {
        let now = elapsed(&mut self.origin);
        while let Some(first) = self.late.first_entry() {
            let (due, _) = *first.key();
            if due > now {
                return;
            }
            let write = first.remove();
            // Nobody waits for the outcome of a late write.
            let _ = self.apply(write, Some(due));
        }
    }

    /// Applies all late writes, in the order in which they would have arrived.
    pub(super) fn deliver_all(&mut self) {
        while let Some((_, write)) = self.late.pop_first() {
            let _ = self.apply(write, None);
        }
    }

    /// Decides `write` and, if its condition holds, does it. `at` is the time for the history, now if `None`.
    pub(super) fn apply(
        &mut self,
        write: Write,
        at: Option<Duration>,
    ) -> Result<Option<ETag>, StoreError> {
        let key = write.key;
        let current = self.objects.get(&key).map(|object| &object.etag);
        let kind = match (&write.condition, &write.body) {
            (_, None) => EffectKind::Delete,
            (Condition::None, Some(_)) => EffectKind::Put,
            (Condition::Absent, Some(_)) => EffectKind::Create,
            (Condition::Match(_), Some(_)) => EffectKind::Swap,
        };
        match (&write.condition, current) {
            (Condition::Absent, Some(_)) => return Err(StoreError::PreconditionFailed { key }),
            (Condition::Match(_), None) => return Err(StoreError::NotFound { key }),
            (Condition::Match(wanted), Some(tag)) if wanted != tag => {
                return Err(StoreError::PreconditionFailed { key });
            }
            _ => {}
        }
        let body = write.body.clone();
        let etag = match write.body {
            Some(body) => {
                self.check_neighbours(write.what, &key)?;
                let etag = content_etag(&body);
                let object = Object {
                    body,
                    etag: etag.clone(),
                };
                self.objects.insert(key.clone(), object);
                Some(etag)
            }
            None if self.objects.remove(&key).is_none() => return Ok(None),
            None => None,
        };
        let at = at.unwrap_or_else(|| elapsed(&mut self.origin));
        self.history.push(Effect {
            at,
            caller: write.caller,
            key,
            kind,
            etag: etag.clone(),
            body,
        });
        Ok(etag)
    }

    /// A store on a file system cannot hold both `x` and `x/y`; a protocol that asks for it must fail here too.
    fn check_neighbours(&self, what: &'static str, key: &str) -> Result<(), StoreError> {
        let parents = key.match_indices('/').map(|(at, _)| &key[..at]);
        for parent in parents {
            if self.objects.contains_key(parent) {
                return Err(file_and_folder(what, key, parent));
            }
        }
        let folder = format!("{key}/");
        let bounds = (Bound::Included(folder.as_str()), Bound::Unbounded);
        match self.objects.range::<str, _>(bounds).next() {
            Some((below, _)) if below.starts_with(&folder) => {
                Err(file_and_folder(what, key, below))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn corrupt(&mut self, key: &str, change: impl FnOnce(Bytes) -> Bytes) -> bool {
        let Some(object) = self.objects.get_mut(key) else {
            return false;
        };
        object.body = change(std::mem::take(&mut object.body));
        object.etag = content_etag(&object.body);
        true
    }
}

fn between(rng: &mut ChaCha8Rng, range: &RangeInclusive<Duration>) -> Duration {
    let micros = |d: &Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let low = micros(range.start());
    let high = micros(range.end()).max(low);
    Duration::from_micros(rng.random_range(low..=high))
}
