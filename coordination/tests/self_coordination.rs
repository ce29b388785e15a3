//! Nodes that plan among themselves, on a simulated bucket: one plans at a time, whatever fails, and what it plans follows who lives.
#![allow(clippy::unwrap_used)]

mod cluster;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::assignment::{AssignmentTable, MemberState, Role};
use brainy_coordination::document::{self, Versioned};
use brainy_coordination::keys;
use brainy_coordination::lease::Identity;
use brainy_coordination::members::{Beat, Heartbeat, Phase};
use brainy_coordination::self_coordination::{Coordinator, Turn};
use brainy_coordination::store::ETag;
use brainy_coordination::store::Object;
use brainy_coordination::store::retry::Store;
use brainy_coordination::store::sim::{FaultPlan, SimBucket};
use cluster::{id, seeded_store};
use tokio::task::JoinHandle;
use tokio::time::sleep;

const TTL: Duration = Duration::from_secs(9);
const BEAT: Duration = Duration::from_secs(3);
const SEEDS: u64 = 60;

/// A process: a heartbeat and turns of the coordinator, until it is killed.
struct Process {
    tasks: [JoinHandle<()>; 2],
}

impl Process {
    fn start(bucket: &Arc<SimBucket>, n: usize, seed: u64) -> Self {
        let name = id(n).to_string();
        let store = seeded_store(bucket, &name, seed + n as u64);
        let me = Identity::new(id(n));
        let mut heartbeat = Heartbeat::new(
            store.clone(),
            me.clone(),
            Role::Hybrid,
            format!("{name}:1"),
            TTL,
        );
        let beats = async move {
            loop {
                if matches!(heartbeat.beat().await, Ok(Beat::Superseded { .. })) {
                    return;
                }
                sleep(BEAT).await;
            }
        };
        let turns = async move {
            let mut coordinator = Coordinator::new(store.clone(), me, TTL, false);
            loop {
                if let Ok(table) = table(&store).await {
                    let table = table.as_ref().map(|t| &t.body);
                    let _again = coordinator.turn(table).await;
                }
                // Turns of different nodes meet in all ways.
                sleep(BEAT / 2 + Duration::from_millis(97) * (n as u32)).await;
            }
        };
        Self {
            tasks: [tokio::spawn(beats), tokio::spawn(turns)],
        }
    }

    fn kill(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn table(
    store: &Store,
) -> Result<Option<Versioned<AssignmentTable>>, document::DocumentError> {
    document::load(store, keys::ASSIGNMENTS).await
}

/// Every table that was ever in the bucket, with who wrote it.
fn tables(bucket: &SimBucket) -> Vec<(String, AssignmentTable)> {
    let writes = bucket.history().into_iter();
    let writes = writes.filter(|effect| effect.key == keys::ASSIGNMENTS);
    let decoded = writes.map(|effect| {
        let object = Object {
            body: effect.body.unwrap(),
            etag: ETag("\"1\"".to_owned()),
        };
        let table = document::decode::<AssignmentTable>(keys::ASSIGNMENTS, &object).unwrap();
        (effect.caller, table.body)
    });
    decoded.collect()
}

/// Only planners wrote, each only under its own term, and terms only grew. Returns the last term.
fn audit(bucket: &SimBucket, seed: u64) -> u64 {
    let mut holders: BTreeMap<u64, Identity> = BTreeMap::new();
    let mut last = 0;
    for (caller, table) in tables(bucket) {
        let lease = table.planner.unwrap();
        assert!(
            lease.term >= last,
            "seed {seed}: term {} after {last}",
            lease.term
        );
        last = lease.term;
        let holder = match lease.holder {
            Some(holder) => {
                let known = holders.entry(lease.term).or_insert(holder.clone());
                assert_eq!(*known, holder, "seed {seed}: two planners in term {last}");
                holder
            }
            None => holders[&lease.term].clone(),
        };
        assert_eq!(caller, holder.instance.as_str(), "seed {seed}: term {last}");
    }
    last
}

#[tokio::test(start_paused = true)]
async fn under_faults_one_plans_at_a_time_and_members_are_who_lives() {
    for seed in 0..SEEDS {
        let bucket = SimBucket::new(seed);
        bucket.set_faults(FaultPlan::harsh());
        let mut processes: Vec<Process> =
            (0..5).map(|n| Process::start(&bucket, n, seed)).collect();
        sleep(TTL * 2).await;
        // Whoever plans may be among them.
        let (frozen, dead) = (seed as usize % 5, (seed as usize + 2) % 5);
        bucket.freeze(id(frozen).as_str());
        processes[dead].kill();
        sleep(TTL * 4).await;
        bucket.thaw(id(frozen).as_str());
        sleep(TTL).await;
        let cut = (frozen + 1) % 5;
        bucket.partition(id(cut).as_str(), true);
        sleep(TTL * 3).await;
        bucket.partition(id(cut).as_str(), false);
        bucket.set_faults(FaultPlan::calm());
        sleep(TTL * 5).await;
        let term = audit(&bucket, seed);
        let (_, now) = tables(&bucket).pop().unwrap();
        for n in 0..5 {
            let state = now.members.get(&id(n)).map(|m| m.state);
            let expected = (n != dead).then_some(MemberState::Active);
            assert_eq!(state, expected, "seed {seed}: {} in term {term}", id(n));
        }
        // It comes back as another life.
        processes[dead] = Process::start(&bucket, dead, seed + 1_000);
        sleep(TTL * 3).await;
        audit(&bucket, seed);
        let (_, now) = tables(&bucket).pop().unwrap();
        assert_eq!(
            now.members[&id(dead)].state,
            MemberState::Active,
            "seed {seed}"
        );
        for process in &processes {
            process.kill();
        }
    }
}

/// A coordinator whose turns the test takes, and its heartbeat.
async fn scripted(bucket: &Arc<SimBucket>, n: usize) -> (Store, Coordinator, Heartbeat) {
    let store = seeded_store(bucket, id(n).as_str(), n as u64);
    let me = Identity::new(id(n));
    let mut heartbeat = Heartbeat::new(
        store.clone(),
        me.clone(),
        Role::Hybrid,
        format!("{}:1", id(n)),
        TTL,
    );
    heartbeat.beat().await.unwrap();
    let coordinator = Coordinator::new(store.clone(), me, TTL, false);
    (store, coordinator, heartbeat)
}

async fn turn(store: &Store, coordinator: &mut Coordinator) -> Turn {
    let table = table(store).await.unwrap();
    coordinator
        .turn(table.as_ref().map(|t| &t.body))
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_planner_that_was_paused_writes_nothing_after_the_next_election() {
    let bucket = SimBucket::new(1);
    let (a, mut first, _) = scripted(&bucket, 0).await;
    let (b, mut second, mut beat) = scripted(&bucket, 1).await;
    assert!(matches!(
        turn(&a, &mut first).await,
        Turn::Planned { elected: true, .. }
    ));
    // What it saw before the pause.
    let stale = table(&a).await.unwrap().unwrap();
    assert!(first.plans(&stale));
    assert!(matches!(turn(&b, &mut second).await, Turn::Follows));
    let mut looks = 0;
    while matches!(turn(&b, &mut second).await, Turn::Follows) {
        looks += 1;
        sleep(BEAT).await;
        beat.beat().await.unwrap();
    }
    assert_eq!(looks, TTL.as_secs() / BEAT.as_secs());
    let version = table(&b).await.unwrap().unwrap().version;
    // It wakes up in the middle of its turn, convinced that it plans.
    assert!(matches!(
        first.turn(Some(&stale.body)).await.unwrap(),
        Turn::Follows
    ));
    let now = table(&b).await.unwrap().unwrap();
    assert_eq!(now.version, version);
    assert_eq!(now.planner.as_ref().unwrap().term, 2);
    assert!(second.plans(&now) && !first.plans(&now));
}

#[tokio::test(start_paused = true)]
async fn whoever_resigns_or_stops_is_followed_at_once() {
    let bucket = SimBucket::new(2);
    let (a, mut first, _) = scripted(&bucket, 0).await;
    let (b, mut second, mut beat) = scripted(&bucket, 1).await;
    turn(&a, &mut first).await;
    let held = table(&a).await.unwrap().unwrap();
    second.resign(&held).await.unwrap();
    assert!(
        first.plans(&table(&a).await.unwrap().unwrap()),
        "not its own lease"
    );
    first.resign(&held).await.unwrap();
    assert!(matches!(
        turn(&b, &mut second).await,
        Turn::Planned { elected: true, .. }
    ));
    beat.set_phase(Phase::Stopped);
    beat.beat().await.unwrap();
    assert!(matches!(
        turn(&a, &mut first).await,
        Turn::Planned { elected: true, .. }
    ));
    assert_eq!(audit(&bucket, 2), 3);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_an_orchestrator_took_over_is_left_alone() {
    let bucket = SimBucket::new(3);
    let (a, mut first, _) = scripted(&bucket, 0).await;
    turn(&a, &mut first).await;
    brainy_coordination::rebalance::step_orchestrated(&a, |_| {})
        .await
        .unwrap();
    for _ in 0..3 {
        sleep(TTL).await;
        assert!(matches!(turn(&a, &mut first).await, Turn::Orchestrated));
    }
    assert_eq!(table(&a).await.unwrap().unwrap().planner, None);
}
