//! Handing over: two requests in a row, and words that are late, wrong or overtaken.

use std::sync::Arc;

use brainy_coordination::handover::Handover;
use brainy_coordination::lease::{LeaseState, acquire, load};
use brainy_coordination::owner::{Finished, Stopped, WriteError};
use brainy_coordination::replica::Replica;
use brainy_coordination::takeover::TakeoverError;
use brainy_coordination::types::{InstanceId, LogPosition, Nonce};
use brainy_coordination::wal::{Slot, read_slot};
use parking_lot::Mutex;

use super::{Bench, Running, Step, contents, who};
use crate::machine::ListMachine;

/// Seals and returns what the owner tells.
async fn leave(owner: Running, to: &str) -> Handover {
    owner.owner.seal(Some(InstanceId::new(to).unwrap())).await;
    match owner.task.await.unwrap().why {
        Stopped::Released {
            handover: Some(handover),
            ..
        } => *handover,
        other => panic!("{other:?}"),
    }
}

/// Takes over with `replica` and starts to serve.
async fn serve(bench: &Bench, mut replica: Replica<ListMachine>, told: &Handover) -> Running {
    let taken = replica.take_over_from(&who("b"), told).await.unwrap();
    assert_eq!(taken.epoch(), told.lease.epoch + 1);
    bench.serve(replica, taken)
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_is_told_looks_nothing_up() {
    let bench = Bench::new();
    let a = bench.own("a").await;
    a.write(1).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let store = bench.scripted("b", move |what, key| {
        heard.lock().push(format!("{what} {key}"));
        Step::Go
    });
    let mut replica = bench.replica(store).await;
    replica.catch_up().await.unwrap();
    // The successor has not read this one.
    a.write(2).await;
    let told = leave(a, "b").await;
    asked.lock().clear();
    let b = serve(&bench, replica, &told).await;
    let mut sent = std::mem::take(&mut *asked.lock());
    sent.sort();
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert!(
        sent[0].starts_with("get ") && sent[0].contains("/wal/"),
        "{sent:?}"
    );
    assert!(sent[1..].iter().all(|s| s.starts_with("put ")), "{sent:?}");
    assert_eq!(b.write(3).await, LogPosition::new(2, 1));
    assert_eq!(contents(&b.machine), [1, 2, 3]);
    assert_eq!(contents(bench.follower("f").await.machine()), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_leaves_fences_its_log_whoever_comes_next() {
    let bench = Bench::new();
    let a = bench.own("a").await;
    let at = a.write(1).await;
    a.owner.seal(None).await;
    let why = a.task.await.unwrap().why;
    assert!(
        matches!(why, Stopped::Released { at: end, .. } if end == at),
        "{why:?}"
    );
    let fence = read_slot(&bench.store("look"), &bench.partition, at.next()).await;
    assert_eq!(fence.unwrap(), Slot::Fence);
    assert_eq!(contents(&bench.own("b").await.machine), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_word_that_was_overtaken_gives_nobody_the_partition() {
    let bench = Bench::new();
    let a = bench.own("a").await;
    a.write(1).await;
    let mut late = bench.follower("b").await;
    let told = leave(a, "b").await;
    let c = bench.own("c").await;
    c.write(2).await;
    let refused = late.take_over_from(&who("b"), &told).await;
    assert!(
        matches!(refused, Err(TakeoverError::LeaseChanged(_))),
        "{refused:?}"
    );
    // Whom the word passed over has lost nothing by it.
    c.write(3).await;
    c.flush(1).await;
    late.catch_up().await.unwrap();
    assert_eq!(contents(late.machine()), [1, 2, 3]);
    assert!(c.owner.still_owner().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_claim_without_the_lease_costs_its_owner_one_more_epoch() {
    let bench = Bench::new();
    let a = bench.own("a").await;
    a.write(1).await;
    let (mut b, mut c) = (bench.follower("b").await, bench.follower("c").await);
    let told = leave(a, "b").await;
    // c has taken the lease and is about to claim the manifest when b comes with what it was told.
    let store = bench.store("c");
    let lease = acquire(
        &store,
        &bench.partition,
        &who("c"),
        Some(&told.lease),
        told.lease.epoch,
    )
    .await;
    let lease = lease.unwrap().unwrap();
    let lost = b.take_over_from(&who("b"), &told).await;
    assert!(
        matches!(lost, Err(TakeoverError::LeaseChanged(_))),
        "{lost:?}"
    );
    assert_eq!(lease.epoch, 2);
    let taken = bench.take_over(&mut c, &who("c")).await.unwrap();
    assert_eq!(taken.epoch(), 3);
    let c = bench.serve(c, taken);
    c.write(2).await;
    assert_eq!(contents(&c.machine), [1, 2]);
    assert_eq!(contents(bench.follower("f").await.machine()), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_is_far_behind_reads_all_of_it() {
    let bench = Bench::new();
    let empty = bench.replica(bench.store("b")).await;
    let a = bench.own("a").await;
    for n in 1..=40 {
        a.write(n).await;
    }
    let told = leave(a, "b").await;
    let b = serve(&bench, empty, &told).await;
    assert_eq!(contents(&b.machine), (1..=40).collect::<Vec<_>>());

    // From an epoch back, with a manifest in between.
    let behind = bench.replica(bench.store("c")).await;
    b.write(41).await;
    b.flush(1).await;
    b.write(42).await;
    let told = leave(b, "b").await;
    let c = serve(&bench, behind, &told).await;
    assert_eq!(contents(&c.machine), (1..=42).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn an_owner_whose_fence_does_not_get_there_hands_nothing_over() {
    let bench = Bench::new();
    let store = bench.scripted("a", |what, key| {
        let second = key.ends_with("2");
        if what == "put" && key.contains("/wal/") && second {
            return Step::Hang;
        }
        Step::Go
    });
    let a = bench.own_over("a", store).await;
    a.write(1).await;
    let refused = a.owner.clone();
    a.owner.seal(None).await;
    let Finished { why, .. } = a.task.await.unwrap();
    assert!(
        matches!(why, Stopped::Released { handover: None, .. }),
        "{why:?}"
    );
    let lease = load(&bench.store("look"), &bench.partition).await;
    let state = lease.unwrap().unwrap().body.state;
    assert!(matches!(state, LeaseState::Released { .. }), "{state:?}");
    let late = refused.write(Nonce(9), 0).await;
    assert!(matches!(late, Err(WriteError::NotOwner)), "{late:?}");
    assert_eq!(contents(&bench.own("b").await.machine), [1]);
}
