//! A damaged log: it is reported by name, never skipped, until its loss is accepted.

use brainy_coordination::keys;
use brainy_coordination::replica::ReplicaError;
use brainy_coordination::takeover::TakeoverError;
use brainy_coordination::types::LogPosition;
use brainy_coordination::wal::{WalError, accept_loss};
use bytes::Bytes;

use super::{Bench, contents, who};
use crate::machine::ListMachine;

/// Three slots of epoch 1, and an owner that is gone.
async fn three_slots() -> Bench {
    let bench = Bench::new();
    let a = bench.own("a").await;
    for n in 1..4 {
        a.write(n).await;
    }
    a.task.abort();
    bench
}

async fn replica(bench: &Bench, name: &str) -> brainy_coordination::replica::Replica<ListMachine> {
    let store = bench.store(name);
    // What lies beyond a lost append does not fit on purpose.
    let machine = ListMachine::new(store.clone(), bench.partition.clone(), false);
    let opened = brainy_coordination::replica::Replica::open(
        store,
        bench.partition.clone(),
        machine,
        super::GRACE,
    );
    opened.await.unwrap()
}

/// Damages slot 1:`seq`; nobody gets past it before its loss is accepted, and everybody afterwards.
async fn damaged(seq: u64, left: &[u128]) {
    let bench = three_slots().await;
    let at = LogPosition::new(1, seq);
    let slot = keys::wal_slot(&bench.partition, at);
    assert!(bench.bucket.corrupt(&slot, |_| Bytes::new()));

    let mut follower = replica(&bench, "f").await;
    let mut successor = replica(&bench, "b").await;
    for _ in 0..2 {
        let stopped = follower.catch_up().await;
        assert!(
            matches!(&stopped, Err(ReplicaError::Wal(WalError::Poisoned { position, key, .. }))
                if *position == at && *key == slot),
            "{stopped:?}"
        );
        assert_eq!(follower.position(), LogPosition::new(1, seq - 1));
        assert!(!stopped.unwrap_err().is_transient());
        let stopped = bench.take_over(&mut successor, &who("b")).await;
        assert!(
            matches!(&stopped, Err(TakeoverError::Replica(ReplicaError::Wal(
                WalError::Poisoned { position, .. }))) if *position == at),
            "{stopped:?}"
        );
    }
    accept_loss(&bench.store("admin"), &bench.partition, at, "admin")
        .await
        .unwrap();
    bench.take_over(&mut successor, &who("b")).await.unwrap();
    assert_eq!(contents(successor.machine()), left);
    follower.catch_up().await.unwrap();
    assert_eq!(contents(follower.machine()), left);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_object_at_the_tail_stops_everybody_until_its_loss_is_accepted() {
    damaged(3, &[1, 2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_object_in_the_middle_stops_everybody_until_its_loss_is_accepted() {
    damaged(2, &[1, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_slot_in_front_of_a_fence_is_a_hole_until_its_loss_is_accepted() {
    let bench = three_slots().await;
    let b = bench.own("b").await;
    b.write(4).await;
    b.task.abort();
    let at = LogPosition::new(1, 2);
    let admin = bench.store("admin");
    admin
        .delete(&keys::wal_slot(&bench.partition, at))
        .await
        .unwrap();

    let mut successor = replica(&bench, "c").await;
    let stopped = bench.take_over(&mut successor, &who("c")).await;
    let fence = LogPosition::new(1, 4);
    assert!(
        matches!(&stopped, Err(TakeoverError::Replica(ReplicaError::Wal(
            WalError::Hole { position, witness, .. }))) if *position == at && *witness == fence),
        "{stopped:?}"
    );
    accept_loss(&admin, &bench.partition, at, "admin")
        .await
        .unwrap();
    bench.take_over(&mut successor, &who("c")).await.unwrap();
    assert_eq!(contents(successor.machine()), [1, 3, 4]);
    let mut follower = replica(&bench, "f").await;
    follower.catch_up().await.unwrap();
    assert_eq!(contents(follower.machine()), [1, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn followers_get_past_a_damaged_fence_whose_loss_was_accepted() {
    let bench = three_slots().await;
    let b = bench.own("b").await;
    b.write(4).await;
    let fence = LogPosition::new(1, 4);
    let key = keys::wal_slot(&bench.partition, fence);
    assert!(bench.bucket.corrupt(&key, |body| body.slice(..20)));

    let mut follower = replica(&bench, "f").await;
    follower.catch_up().await.unwrap_err();
    accept_loss(&bench.store("admin"), &bench.partition, fence, "admin")
        .await
        .unwrap();
    follower.catch_up().await.unwrap();
    assert_eq!(contents(follower.machine()), [1, 2, 3, 4]);
    b.write(5).await;
    follower.catch_up().await.unwrap();
    assert_eq!(contents(follower.machine()), [1, 2, 3, 4, 5]);
}
