//! A budget of bytes that is taken from and given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::metrics::AdmissionMetrics;
use crate::error::ServiceError;

/// When a client that was refused for want of memory may come back: about as long as a large write takes.
const RETRY_AFTER_MS: u64 = 1000;

/// So many bytes may be held at a time; more only by one that is alone. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct ByteBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What is held, for messages and metrics.
    what: &'static str,
    limit: u64,
    used: AtomicU64,
    metrics: AdmissionMetrics,
}

impl Default for ByteBudget {
    /// Without a limit.
    fn default() -> Self {
        Self::new("bytes", u64::MAX, AdmissionMetrics::default())
    }
}

impl ByteBudget {
    /// A budget for `what` of `limit` bytes.
    #[must_use]
    pub fn new(what: &'static str, limit: u64, metrics: AdmissionMetrics) -> Self {
        Self(Arc::new(Inner {
            what,
            limit,
            used: AtomicU64::new(0),
            metrics,
        }))
    }

    /// Bytes that may be held.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Bytes that are held.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, which come back when the charge is dropped.
    ///
    /// # Errors
    /// `Overloaded` if they are not there; nothing is taken then.
    pub fn charge(&self, bytes: u64) -> Result<Charge, ServiceError> {
        let mut charge = self.nothing();
        charge.grow(bytes)?;
        Ok(charge)
    }

    /// A charge of nothing yet.
    fn nothing(&self) -> Charge {
        Charge {
            budget: self.clone(),
            bytes: 0,
        }
    }

    fn take(&self, bytes: u64) -> Result<(), ServiceError> {
        let Inner {
            what,
            limit,
            used,
            metrics,
        } = &*self.0;
        // Alone, anything fits: what is larger than the whole budget would otherwise be refused for ever.
        let fits = |now: u64| match now {
            0 => Some(bytes),
            now => now.checked_add(bytes).filter(|all| all <= limit),
        };
        match used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(now) => {
                metrics.refused(what);
                Err(ServiceError::Overloaded {
                    reason: format!(
                        "{what} take {now} bytes of memory, {bytes} more are over the limit of {limit}, a part of the memory budget"
                    ),
                    retry_after_ms: RETRY_AFTER_MS,
                })
            }
        }
    }
}

/// Bytes taken from a [`ByteBudget`]; dropping gives them back.
#[derive(Debug)]
pub struct Charge {
    budget: ByteBudget,
    bytes: u64,
}

impl Charge {
    /// Takes `more` bytes.
    ///
    /// # Errors
    /// As [`ByteBudget::charge`]; what was taken before is kept.
    pub fn grow(&mut self, more: u64) -> Result<(), ServiceError> {
        self.budget.take(more)?;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Copies of a request's body that are in memory at a time: its text, what was read from it, and what is made of that.
pub const BODY_COPIES: u64 = 3;

/// Memory of one request: taken as its body arrives, given back when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct RequestMemory(Arc<Mutex<Charge>>);

impl RequestMemory {
    /// Of a request that has no body yet.
    #[must_use]
    pub fn new(budget: &ByteBudget) -> Self {
        Self(Arc::new(Mutex::new(budget.nothing())))
    }

    /// So many bytes of the body arrive.
    ///
    /// # Errors
    /// As [`ByteBudget::charge`].
    pub fn body(&self, bytes: usize) -> Result<(), ServiceError> {
        self.0
            .lock()
            .grow((bytes as u64).saturating_mul(BODY_COPIES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_byte_fits_and_the_next_is_refused_by_name() {
        let budget = ByteBudget::new("requests", 100, AdmissionMetrics::default());
        let mut first = budget.charge(60).unwrap();
        let second = budget.charge(40).unwrap();
        let refused = budget.charge(1).unwrap_err();
        let text = refused.to_string();
        assert!(
            matches!(refused, ServiceError::Overloaded { retry_after_ms, .. } if retry_after_ms > 0)
        );
        assert!(text.contains("requests") && text.contains("100"), "{text}");
        assert!(first.grow(1).is_err());
        drop(second);
        first.grow(40).unwrap();
        assert!(first.grow(u64::MAX).is_err(), "no overflow");
        assert_eq!(budget.used(), 100);
        drop(first);
        assert_eq!(budget.used(), 0);
    }

    proptest! {
        #[test]
        fn more_than_the_limit_is_held_by_one_alone_and_everything_comes_back(
            steps in proptest::collection::vec((0_u64..120, any::<bool>()), 0..200)
        ) {
            let budget = ByteBudget::new("x", 100, AdmissionMetrics::default());
            let mut held: Vec<(u64, Charge)> = Vec::new();
            for (bytes, give_back) in steps {
                let sum: u64 = held.iter().map(|(b, _)| b).sum();
                prop_assert_eq!(budget.used(), sum);
                if give_back {
                    held.pop();
                } else {
                    let taken = budget.charge(bytes);
                    prop_assert_eq!(taken.is_ok(), sum == 0 || sum + bytes <= 100);
                    held.extend(taken.ok().map(|charge| (bytes, charge)));
                }
            }
            drop(held);
            prop_assert_eq!(budget.used(), 0);
        }
    }
}
