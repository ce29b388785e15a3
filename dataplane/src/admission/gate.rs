//! Who may use a core: as many reads as there are cores, the others wait in line, and the line is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::AdmissionMetrics;
use crate::error::ServiceError;

/// When a client that found the line full may come back.
const RETRY_AFTER_MS: u64 = 1000;

/// The gate of a node. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cores: usize,
    slots: Arc<Semaphore>,
    /// Reads that were let in and have not ended.
    present: AtomicUsize,
    /// Those of them, and their further lanes, that stand in line for a slot.
    waiting: AtomicUsize,
    metrics: AdmissionMetrics,
}

impl Gate {
    /// A gate to so many cores.
    #[must_use]
    pub fn new(cores: usize, metrics: AdmissionMetrics) -> Self {
        let cores = cores.max(1);
        Self(Arc::new(Inner {
            cores,
            slots: Arc::new(Semaphore::new(cores)),
            present: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            metrics,
        }))
    }

    /// Lets a read in, if fewer than `queue` besides those at work are there.
    ///
    /// # Errors
    /// `Overloaded`.
    pub fn enter(&self, queue: usize) -> Result<Visit, ServiceError> {
        let inner = &*self.0;
        let most = inner.cores.saturating_add(queue);
        let fits = |now: usize| (now < most).then_some(now + 1);
        let entered = inner
            .present
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        match entered {
            Ok(_) => Ok(Visit(self.clone())),
            Err(_) => {
                inner.metrics.refused("reads");
                Err(ServiceError::Overloaded {
                    reason: format!(
                        "{queue} reads are waiting on this node, as many as maxQueuedReads allows"
                    ),
                    retry_after_ms: RETRY_AFTER_MS,
                })
            }
        }
    }

    /// Reads at work.
    #[must_use]
    pub fn running(&self) -> usize {
        let free = self.0.slots.available_permits();
        self.0.cores.saturating_sub(free)
    }

    /// Reads in line.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }
}

/// A read that was let in. Dropping it lets another in.
#[derive(Debug)]
pub struct Visit(Gate);

impl Visit {
    /// Waits in line for a core.
    ///
    /// # Errors
    /// `Unavailable` when the node is stopping.
    pub(super) async fn slot(&self) -> Result<Slot, ServiceError> {
        if let Some(slot) = self.idle_slot() {
            return Ok(slot);
        }
        let line = Line::join(&self.0.0);
        let permit = line.inner.slots.clone().acquire_owned().await;
        let permit = permit
            .map_err(|_| ServiceError::Unavailable("this instance is stopping".to_owned()))?;
        Ok(Slot {
            gate: self.0.clone(),
            _permit: permit,
        })
    }

    /// A core that nobody wants now. Nobody is overtaken: a free core is given to those in line first.
    pub(super) fn idle_slot(&self) -> Option<Slot> {
        let permit = self.0.0.slots.clone().try_acquire_owned().ok()?;
        Some(Slot {
            gate: self.0.clone(),
            _permit: permit,
        })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.0.present.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A core, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    gate: Gate,
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    /// Whether somebody waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        self.gate.waiting() > 0
    }
}

/// A place in line, left by being dropped.
struct Line<'g> {
    inner: &'g Inner,
    since: Instant,
}

impl<'g> Line<'g> {
    fn join(inner: &'g Inner) -> Self {
        inner.waiting.fetch_add(1, Ordering::Relaxed);
        Self {
            inner,
            since: Instant::now(),
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.inner.waiting.fetch_sub(1, Ordering::Relaxed);
        self.inner.metrics.waited(self.since.elapsed());
    }
}
