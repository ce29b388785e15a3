//! What clients of a cluster of real processes saw while these were killed and stopped, judged by the checker of histories.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::Duration;

use brainy_tests::client::Client;
use brainy_tests::cluster::{LocalCluster, SETTLED_WITHIN};
use brainy_tests::manifest::Manifest;
use brainy_tests::process::signal;
use brainy_tests::registers::{Plan, Registers};
use brainy_tests::wait::{holds, until};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::Signal;

const INSTANCES: [&str; 5] = ["reader-0", "reader-1", "writer-0", "writer-1", "writer-2"];
/// Faults of a run; `BRAINY_FAULTS=n` for more.
const FAULTS: u32 = 8;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => default,
    }
}

/// Waits until the clients have done `more` operations.
async fn goes_on(clients: &Registers, more: usize) {
    let from = clients.operations().await;
    until("clients get answers", SETTLED_WITHIN, async || {
        let now = clients.operations().await;
        holds(now >= from + more, || format!("{} since then", now - from))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_level_keeps_its_promise_while_nodes_are_killed_and_stopped() {
    let seed = number("BRAINY_SEED", rand::random::<u32>().into());
    println!("replay the choices with BRAINY_SEED={seed}");
    let manifest = Manifest::new(3, 2)
        .with("spec.rebalance.unreadyGracePeriod", "1s")
        .with("spec.sharedConfig.flushIntervalMs", 300);
    let mut cluster = LocalCluster::start(manifest).await.unwrap();
    let client = cluster.client();
    client
        .create_collection("things", 2, Some(3))
        .await
        .unwrap();
    cluster.wait_settled().await.unwrap();
    let nodes = cluster.nodes().await.unwrap();
    let nodes: Vec<Client> = nodes.into_iter().map(|(_, node)| node).collect();
    let plan = Plan {
        collection: "things".to_owned(),
        ids: (1..=8).collect(),
        clients: 8,
        bound: Duration::from_millis(300),
        seed,
    };
    let clients = Registers::start(&nodes, &plan);
    goes_on(&clients, 300).await;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for fault in 0..number("BRAINY_FAULTS", FAULTS.into()) {
        let instance = INSTANCES.choose(&mut rng).unwrap();
        let pid = cluster.pid(instance).unwrap();
        let kills = rng.random_bool(0.4);
        println!(
            "{fault}: {instance} is {}",
            if kills { "killed" } else { "stopped" }
        );
        if kills {
            // It may be on its way down already.
            let _gone = signal(pid, Signal::KILL);
        } else {
            let _gone = signal(pid, Signal::STOP);
            // Often longer than the cluster waits before others take over.
            let time = Duration::from_millis(rng.random_range(100..4000));
            tokio::time::sleep(time).await;
            let _gone = signal(pid, Signal::CONT);
        }
        goes_on(&clients, 100).await;
    }
    cluster.wait_settled().await.unwrap();
    goes_on(&clients, 300).await;
    let seen = clients.stop().await;
    assert_eq!(seen.wrong, Vec::<String>::new(), "{}", cluster.logs());
    let checked = seen.history.check();
    let checked = checked.unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    println!("{checked:?}");
    assert!(checked.writes > 200 && checked.strong > 100, "{checked:?}");
    assert!(checked.bounded > 30 && checked.session > 50, "{checked:?}");
    cluster.stop().await.unwrap();
}
