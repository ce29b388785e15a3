//! The owner at work: sealing, repeated requests, reads next to writes under way.

use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::owner::{Stopped, WriteError};
use brainy_coordination::types::{InstanceId, LogPosition, Nonce};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Bench, Running, Step, contents};

/// An owner whose log objects take effect at once and are answered on a signal.
async fn with_slow_answers(bench: &Bench) -> (Running, Arc<Semaphore>) {
    let answer = Arc::new(Semaphore::new(0));
    let signal = Arc::clone(&answer);
    let store = bench.scripted("a", move |what, key| {
        if what == "put" && key.starts_with("_brainy/wal/") {
            return Step::HoldAnswer(Arc::clone(&signal));
        }
        Step::Go
    });
    (bench.own_over("a", store).await, answer)
}

#[tokio::test(start_paused = true)]
async fn sealing_finishes_the_writes_under_way_and_refuses_later_ones() {
    let bench = Bench::new();
    let (a, answer) = with_slow_answers(&bench).await;
    let to = InstanceId::new("b").unwrap();
    let (first, second) = (a.owner.write(Nonce(1), 0), a.owner.write(Nonce(2), 1));
    let sealed_and_late = async {
        a.owner.seal(Some(to.clone())).await;
        let late = a.owner.write(Nonce(3), 0);
        // The two writes, and the fence behind them.
        let (late, ()) = tokio::join!(late, async { answer.add_permits(3) });
        late
    };
    let (first, second, late) = tokio::join!(first, second, sealed_and_late);
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert!(matches!(late, Err(WriteError::NotOwner)), "{late:?}");
    let last = first.unwrap().max(second.unwrap());
    let finished = a.task.await.unwrap();
    assert!(
        matches!(finished.why, Stopped::Released { at, handover: Some(_) } if at == last),
        "{:?}",
        finished.why
    );
    let b = bench.own("b").await;
    assert_eq!(contents(&b.machine), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_request_repeated_during_and_after_a_handoff_is_applied_once() {
    let bench = Bench::new();
    let (a, answer) = with_slow_answers(&bench).await;
    // Twice at once, without an answer; then the process is gone.
    let twice = async { tokio::join!(a.owner.write(Nonce(1), 0), a.owner.write(Nonce(1), 0)) };
    assert!(timeout(Duration::from_secs(1), twice).await.is_err());
    let b = bench.own("b").await;
    assert_eq!(
        b.write(1).await,
        LogPosition::new(1, 1),
        "it was logged, so it is known"
    );
    b.write(2).await;

    // The old owner hears at last that its slot was written, which is true.
    answer.add_permits(1);
    assert_eq!(a.write(1).await, LogPosition::new(1, 1));

    // A planned handoff, with what is known carried by the manifest.
    b.flush(1).await;
    b.owner.seal(None).await;
    b.task.await.unwrap();
    let c = bench.own("c").await;
    assert_eq!(c.write(2).await, LogPosition::new(2, 1));
    c.write(3).await;
    assert_eq!(contents(&c.machine), [1, 2, 3]);
    assert_eq!(contents(bench.follower("f").await.machine()), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_owner_died_is_neither_refused_nor_acknowledged() {
    let bench = Bench::new();
    let (a, _never) = with_slow_answers(&bench).await;
    let dying = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        a.task.abort();
    };
    let (outcome, ()) = tokio::join!(a.owner.write(Nonce(1), 0), dying);
    assert!(
        matches!(outcome, Err(WriteError::Unknown(_))),
        "{outcome:?}"
    );
    // Indeed it happened.
    assert_eq!(contents(bench.follower("b").await.machine()), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_strong_read_at_the_owner_contains_what_a_follower_has_seen() {
    let bench = Bench::new();
    let (a, answer) = with_slow_answers(&bench).await;
    let mut follower = bench.follower("b").await;
    let write = a.owner.write(Nonce(1), 0);
    let reads = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        follower.catch_up().await.unwrap();
        assert_eq!(contents(follower.machine()), [1]);
        assert_eq!(
            contents(&a.machine),
            [0; 0],
            "its answer is still on the way"
        );
        let mut read = std::pin::pin!(a.owner.still_owner());
        assert!(timeout(Duration::from_secs(5), &mut read).await.is_err());
        answer.add_permits(1);
        assert!(read.await.unwrap());
        assert_eq!(contents(&a.machine), [1]);
    };
    let (written, ()) = tokio::join!(write, reads);
    written.unwrap();
}
