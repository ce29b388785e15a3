//! The S3 client against the embedded server: the suite that every store passes, alone and under every fault.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;
#[path = "../../coordination/tests/store_suite/mod.rs"]
mod store_suite;

use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::store::ObjectStore;
use brainy_coordination::store::probe::{ProbeOptions, probe_s3};
use brainy_embedded_s3::faults::{Fault, Faults, Rule, When};
use store_suite::{Traits, count_exactly_once};

use common::{connect, serve};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_and_the_server_conform() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), &Faults::new(0)).await;
    let store = connect(&server).await;
    let report = probe_s3(&store, ProbeOptions::default()).await.unwrap();
    assert!(!report.unquoted_if_match);
    store_suite::run(store, Traits::default()).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_survives_every_injected_fault() {
    let seed = 20;
    eprintln!("seed {seed}");
    let faults = Faults::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), &faults).await;
    let mut clients: Vec<Arc<dyn ObjectStore>> = Vec::new();
    for _ in 0..6 {
        clients.push(connect(&server).await);
    }
    let often = |fault, p| Rule::any(fault, When::Probability(p));
    faults.set(vec![
        often(Fault::Conflict, 0.10),
        often(Fault::SlowDown, 0.05),
        often(Fault::InternalError, 0.05),
        often(Fault::LoseAnswer, 0.10),
        often(Fault::Cut, 0.05),
        often(Fault::Delay(Duration::from_millis(15)), 0.10),
    ]);
    count_exactly_once(clients, 8).await;
    assert!(faults.injected() > 30, "{} faults", faults.injected());
    server.shutdown().await;
}
