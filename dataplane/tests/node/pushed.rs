//! Nodes that tell each other everything look into the bucket rarely.

use std::sync::atomic::Ordering;
use std::time::Duration;

use brainy_coordination::assignment::{MemberState::Active, Role};
use brainy_coordination::config::{ConfigStore, SharedConfig};
use brainy_dataplane::node::Coordination;
use brainy_dataplane::service::DataService;

use crate::support::{Cluster, Kind, WITHIN};

/// How long requests are counted.
const PERIOD: Duration = Duration::from_secs(3);
/// Requests in it that are few.
const RARE: u64 = 20;
/// Shorter than the pause between rare looks.
const SOON: Duration = Duration::from_secs(15);

/// GETs of two idle nodes and four partitions in [`PERIOD`], at first, and the fewest until they are rare.
async fn asked(coordination: Coordination) -> (u64, u64) {
    let cluster = Cluster::new();
    let kind = |role| Kind {
        role,
        coordination: coordination.clone(),
        ..Kind::default()
    };
    let a = cluster.start_as("a", kind(Role::Writer)).await;
    let b = cluster.start_as("b", kind(Role::Reader)).await;
    let both = [(&a, Active), (&b, Active)];
    cluster.settle(&both).await;
    a.create().await;
    a.write(0..10).await;
    cluster.settle(&both).await;
    let gets = || cluster.store.counts().gets.load(Ordering::Relaxed);
    // Until the connections are there, and for as long as it takes on a busy machine, looks are frequent.
    let (mut first, mut least) = (None, u64::MAX);
    for _ in 0..8 {
        let before = gets();
        tokio::time::sleep(PERIOD).await;
        let now = gets() - before;
        first.get_or_insert(now);
        least = least.min(now);
        if least < RARE {
            break;
        }
    }
    // What nobody was told of in between is.
    a.write(10..20).await;
    let seen = async {
        while b.count_here().await < 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, seen).await.unwrap();
    // As the operator does it, without a word to anybody.
    let config = SharedConfig {
        max_search_limit: Some(50),
        ..SharedConfig::default()
    };
    let configs = ConfigStore::new(cluster.store.clone());
    configs.publish_if_version(0, &config).await.unwrap();
    let heard = async {
        for node in [&a, &b] {
            while node.node.limits().max_search_limit as u64 != 50 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(SOON, heard).await.unwrap();
    (first.unwrap_or_default(), least)
}

#[tokio::test(flavor = "multi_thread")]
async fn looks_are_rare_while_all_others_push() {
    let (_, pushed) = asked(Coordination::WebSocket).await;
    assert!(pushed < RARE, "{pushed} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn looks_of_nodes_that_poll_are_rare_after_a_silence() {
    let (polled, quiet) = asked(Coordination::S3Polling).await;
    assert!(polled > RARE && quiet < RARE, "{polled}, then {quiet}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_member_wrote_is_found_by_one_and_told_to_the_others() {
    let cluster = Cluster::new();
    let kind = |role| Kind {
        role,
        coordination: Coordination::WebSocket,
        settings: SharedConfig {
            pushed_poll_interval_ms: Some(3_600_000),
            ..SharedConfig::default()
        },
        ..Kind::default()
    };
    let a = cluster.start_as("a", kind(Role::Writer)).await;
    let b = cluster.start_as("b", kind(Role::Reader)).await;
    let both = [(&a, Active), (&b, Active)];
    cluster.settle(&both).await;
    // Published as the operator does it, without a word to anybody.
    let configs = ConfigStore::new(cluster.store.clone());
    for version in 0..3 {
        let config = SharedConfig {
            max_search_limit: Some(50 + version),
            ..SharedConfig::default()
        };
        configs.publish_if_version(version, &config).await.unwrap();
        let heard = async {
            for node in [&a, &b] {
                while node.node.limits().max_search_limit as u64 != 50 + version {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        tokio::time::timeout(WITHIN, heard).await.unwrap();
    }
}
