//! A read as steps that share the cores with the steps of other reads.
//!
//! A read of many steps (a batch of queries, many partitions) uses all cores that are idle. While others wait it keeps one at
//! most, and after a [`QUANTUM`] it goes back to the end of the line: what waits behind it waits for a quantum and not for the
//! whole batch. A read whose future is dropped leaves the line, and its running steps stop at their next check point.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;

use super::gate::{Slot, Visit};
use crate::engine::Interrupt;
use crate::error::ServiceError;

/// How long a read keeps a core that others wait for. A step that has begun is finished.
const QUANTUM: Duration = Duration::from_millis(4);

/// Steps of one read.
struct Job<T, F> {
    step: F,
    steps: usize,
    /// The next step to be taken.
    next: AtomicUsize,
    done: Mutex<Done<T>>,
    interrupt: Interrupt,
}

struct Done<T> {
    results: Vec<Option<T>>,
    failure: Option<ServiceError>,
}

impl<T, F: Fn(usize) -> Result<T, ServiceError>> Job<T, F> {
    /// Takes steps until none is left, or until somebody else is to have the core; whether steps are left.
    fn slice(&self, slot: &Slot) -> bool {
        let began = Instant::now();
        loop {
            let step = self.next.fetch_add(1, Ordering::Relaxed);
            if step >= self.steps || self.interrupt.is_set() {
                return false;
            }
            match self.interrupt.scope(|| (self.step)(step)) {
                Ok(result) => self.done.lock().results[step] = Some(result),
                Err(error) => {
                    // The others are in vain.
                    self.interrupt.set();
                    self.done.lock().failure.get_or_insert(error);
                    return false;
                }
            }
            if began.elapsed() >= QUANTUM && slot.is_wanted() {
                return self.next.load(Ordering::Relaxed) < self.steps;
            }
        }
    }
}

/// Where the steps of a read are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// On threads of their own, as many as there are idle cores: they may take long.
    Own,
    /// On the thread that asks, one after the other: they are shorter than it takes to wake another. There are more threads that
    /// serve connections than cores that may be had for this, so some are always free.
    Here,
}

/// Takes `steps` steps, each blocking a thread, and returns what they came to, in order.
///
/// # Errors
/// Of the first step that failed.
pub(crate) async fn run<T, F>(
    visit: &Visit,
    steps: usize,
    threads: Threads,
    step: F,
) -> Result<Vec<T>, ServiceError>
where
    T: Send + 'static,
    F: Fn(usize) -> Result<T, ServiceError> + Send + Sync + 'static,
{
    let results = std::iter::repeat_with(|| None).take(steps).collect();
    let job = Arc::new(Job {
        step,
        steps,
        next: AtomicUsize::new(0),
        done: Mutex::new(Done {
            results,
            failure: None,
        }),
        interrupt: Interrupt::default(),
    });
    let abandoned = job.interrupt.on_drop();
    let mut lanes = FuturesUnordered::new();
    lanes.push(lane(visit, visit.slot().await?, threads, job.clone()));
    while threads == Threads::Own
        && lanes.len() < steps
        && let Some(slot) = visit.idle_slot()
    {
        lanes.push(lane(visit, slot, threads, job.clone()));
    }
    while let Some(ended) = lanes.next().await {
        ended?;
    }
    drop(lanes);
    let Done { results, failure } = {
        let mut done = job.done.lock();
        let results = std::mem::take(&mut done.results);
        let failure = done.failure.take();
        Done { results, failure }
    };
    drop(abandoned);
    if let Some(error) = failure {
        return Err(error);
    }
    let all: Option<Vec<T>> = results.into_iter().collect();
    all.ok_or_else(|| ServiceError::Internal("a step of a read has no result".to_owned()))
}

/// Works on a job with one core at a time.
async fn lane<T, F>(
    visit: &Visit,
    slot: Slot,
    threads: Threads,
    job: Arc<Job<T, F>>,
) -> Result<(), ServiceError>
where
    T: Send + 'static,
    F: Fn(usize) -> Result<T, ServiceError> + Send + Sync + 'static,
{
    let mut slot = slot;
    loop {
        let job = job.clone();
        if threads == Threads::Here {
            let more = job.slice(&slot);
            drop(slot);
            if !more {
                return Ok(());
            }
            slot = visit.slot().await?;
            continue;
        }
        // The core is given back when the work has stopped, also if nobody waits for it any more.
        let worked = tokio::task::spawn_blocking(move || {
            let more = job.slice(&slot);
            drop(slot);
            more
        });
        match worked.await {
            Ok(true) => slot = visit.slot().await?,
            Ok(false) => return Ok(()),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => {
                    return Err(ServiceError::Unavailable(
                        "this instance is shutting down".to_owned(),
                    ));
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;
    use crate::admission::{AdmissionMetrics, Gate};

    fn gate(cores: usize) -> Gate {
        Gate::new(cores, AdmissionMetrics::default())
    }

    #[tokio::test]
    async fn results_come_in_order_and_the_first_failure_ends_it() {
        let visit = gate(3).enter(0).unwrap();
        let squares = run(&visit, 1000, Threads::Own, |n| Ok(n * n))
            .await
            .unwrap();
        assert!(
            squares
                .iter()
                .enumerate()
                .all(|(n, square)| n * n == *square)
        );
        assert_eq!(
            run(&visit, 0, Threads::Own, Ok).await.unwrap(),
            Vec::<usize>::new()
        );
        let failed = run(&visit, 1000, Threads::Own, |n| match n {
            500.. => Err(ServiceError::BadRequest("no".to_owned())),
            n => Ok(n),
        });
        assert!(matches!(failed.await, Err(ServiceError::BadRequest(_))));
    }

    #[tokio::test]
    async fn short_steps_are_taken_by_who_asks() {
        let gate = gate(2);
        let visit = gate.enter(0).unwrap();
        let here = std::thread::current().id();
        let at = run(&visit, 50, Threads::Here, |n| {
            Ok((n, std::thread::current().id()))
        });
        let at = at.await.unwrap();
        assert!(at.iter().enumerate().all(|(n, at)| *at == (n, here)));
        assert_eq!(gate.running(), 0);
        let elsewhere = run(&visit, 1, Threads::Own, |_| Ok(std::thread::current().id()));
        assert_ne!(elsewhere.await.unwrap()[0], here);
    }

    #[tokio::test]
    async fn who_finds_the_line_full_is_refused() {
        let gate = gate(2);
        let inside: Vec<_> = (0..5).map(|_| gate.enter(3).unwrap()).collect();
        let refused = gate.enter(3).unwrap_err();
        assert!(
            matches!(&refused, ServiceError::Overloaded { reason, .. } if reason.contains('3')),
            "{refused}"
        );
        drop(inside);
        gate.enter(0).unwrap();
    }

    #[tokio::test]
    async fn a_small_read_does_not_wait_for_a_whole_batch() {
        let gate = gate(1);
        let (batch, small) = (gate.enter(10).unwrap(), gate.enter(10).unwrap());
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = taken.clone();
        let (begun_in, begun) = oneshot::channel();
        let begun_in = Mutex::new(Some(begun_in));
        let batch = tokio::spawn(async move {
            run(&batch, 200, Threads::Own, move |_| {
                if let Some(begun) = begun_in.lock().take() {
                    begun.send(()).unwrap();
                }
                // Work, not a wait for something.
                let until = Instant::now() + Duration::from_millis(2);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
            .await
        });
        begun.await.unwrap();
        let seen = run(&small, 1, Threads::Own, move |_| {
            Ok(taken.load(Ordering::Relaxed))
        })
        .await;
        let seen = seen.unwrap()[0];
        assert!(seen < 100, "{seen} of 200 steps came before it");
        assert_eq!(batch.await.unwrap().unwrap().len(), 200);
    }

    #[tokio::test]
    async fn an_abandoned_read_leaves_the_line_or_stops_and_gives_its_core_back() {
        let gate = gate(1);
        let first = gate.enter(10).unwrap();
        let (begun_in, begun) = oneshot::channel();
        let begun_in = Mutex::new(Some(begun_in));
        let (ended_in, ended) = mpsc::channel();
        let running = tokio::spawn(async move {
            run(&first, 1, Threads::Own, move |_| {
                begun_in.lock().take().map(|begun| begun.send(()));
                while crate::engine::interrupt::check().is_ok() {
                    std::thread::yield_now();
                }
                ended_in.send(()).unwrap();
                Ok(())
            })
            .await
        });
        begun.await.unwrap();
        let second = gate.enter(10).unwrap();
        let mut in_line = Box::pin(run(&second, 1, Threads::Own, Ok));
        assert!(futures::poll!(in_line.as_mut()).is_pending());
        assert_eq!((gate.running(), gate.waiting()), (1, 1));
        drop(in_line);
        assert_eq!(gate.waiting(), 0);
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        // Only when the work has stopped.
        assert_eq!(run(&second, 1, Threads::Own, Ok).await.unwrap(), [0]);
        ended.recv().unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_passed_on_and_gives_the_core_back() {
        let gate = gate(1);
        let visit = gate.enter(0).unwrap();
        let panicking = tokio::spawn(async move {
            run(&visit, 1, Threads::Own, |_| -> Result<(), ServiceError> {
                panic!("on purpose")
            })
            .await
        });
        assert!(panicking.await.unwrap_err().is_panic());
        let visit = gate.enter(0).unwrap();
        assert_eq!(run(&visit, 1, Threads::Own, Ok).await.unwrap(), [0]);
    }
}
