//! Stopping a read that nobody waits for any more.
//!
//! Reads block a thread of their own, so dropping the future that waits for one does not end it. Instead its [`Interrupt`] is
//! set, and the read, which runs inside of [`Interrupt::scope`], looks at it at its check points: between layers and every
//! `EVERY` rows.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brainy_index::storage::take_failure;

use super::error::EngineError;

/// Rows between two check points.
const EVERY: u32 = 4096;

thread_local! {
    static CURRENT: RefCell<Option<Interrupt>> = const { RefCell::new(None) };
}

/// Says to a piece of work that it is to stop. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// The work is to stop at its next check point.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work is to stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the interrupt when it is dropped: held by whoever waits for the work.
    #[must_use]
    pub fn on_drop(&self) -> OnDrop {
        OnDrop(self.clone())
    }

    /// Does `work` on this thread, which ends with [`EngineError::Interrupted`] at a check point once this is set.
    pub fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Puts back what was there, also when the work panics: the thread is used again.
        struct Restore(Option<Interrupt>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self.clone())));
        // What the work before left on this thread, having ended in a panic or early, is nobody's failure now.
        let _earlier = take_failure();
        work()
    }
}

/// See [`Interrupt::on_drop`].
#[derive(Debug)]
pub struct OnDrop(Interrupt);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Whether the work on this thread is to stop.
pub(crate) fn is_interrupted() -> bool {
    CURRENT.with_borrow(|current| current.as_ref().is_some_and(Interrupt::is_set))
}

/// Whether everything that this thread read of segments' files was there. What was computed from them is worthless otherwise.
///
/// # Errors
/// [`EngineError::Io`] with the first that was not; [`EngineError::Interrupted`] if the work was to stop before that.
pub(crate) fn check_reads() -> Result<(), EngineError> {
    match take_failure() {
        Some(_) if is_interrupted() => Err(EngineError::Interrupted),
        Some(error) => Err(EngineError::io("cannot read", "files of a segment", &error)),
        None => Ok(()),
    }
}

/// A check point.
///
/// # Errors
/// [`EngineError::Interrupted`] if the work on this thread is to stop, or those of [`check_reads`].
pub(crate) fn check() -> Result<(), EngineError> {
    check_reads()?;
    match is_interrupted() {
        true => Err(EngineError::Interrupted),
        false => Ok(()),
    }
}

/// A check point at some of the rows that a loop comes by.
///
/// # Errors
/// As [`check`].
#[inline]
pub(crate) fn check_at(row: u32) -> Result<(), EngineError> {
    match row % EVERY {
        0 => check(),
        _ => Ok(()),
    }
}

/// As [`check_at`], for loops that cannot fail: they end, and [`check`] says why afterwards.
#[inline]
pub(crate) fn goes_on_at(row: u32) -> bool {
    !row.is_multiple_of(EVERY) || !is_interrupted()
}

#[cfg(test)]
mod tests {
    use super::*;
    use brainy_index::storage::Storage;

    #[test]
    fn only_work_of_its_scope_is_stopped() {
        let interrupt = Interrupt::default();
        interrupt.scope(|| {
            assert!(check().is_ok());
            drop(interrupt.on_drop());
            assert!(matches!(check(), Err(EngineError::Interrupted)));
            assert!(check_at(EVERY).is_err() && check_at(1).is_ok());
            assert!(!goes_on_at(0) && goes_on_at(1));
            // Other work on the same thread has its own.
            Interrupt::default().scope(|| assert!(check().is_ok()));
            assert!(check().is_err());
        });
        assert!(check().is_ok());
    }

    #[test]
    fn a_read_that_failed_is_told_once_and_not_to_the_next_work_on_the_thread() {
        let missing = || {
            let source = std::fs::File::open("/dev/null").unwrap();
            Storage::paged(Arc::new(source), 0, 8).read_into(0, &mut [0; 8]);
        };
        let interrupt = Interrupt::default();
        interrupt.scope(|| {
            missing();
            assert!(matches!(check(), Err(EngineError::Io { .. })));
            assert!(check().is_ok());
            missing();
        });
        interrupt.scope(|| assert!(check().is_ok()));
        interrupt.set();
        interrupt.scope(|| {
            missing();
            assert!(matches!(check_reads(), Err(EngineError::Interrupted)));
        });
    }

    #[test]
    fn a_panic_leaves_the_thread_usable() {
        let interrupt = Interrupt::default();
        interrupt.set();
        let work = || interrupt.scope(|| panic!("on purpose"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
        assert!(check().is_ok());
    }
}
