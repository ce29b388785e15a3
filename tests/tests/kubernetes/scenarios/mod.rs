//! What users do to a cluster in Kubernetes, and what must come of it, wherever the Kubernetes is.

mod crash;
mod deletion;
mod lifecycle;
mod scale;
mod update;

pub(crate) use crash::*;
pub(crate) use deletion::*;
pub(crate) use lifecycle::*;
pub(crate) use scale::*;
pub(crate) use update::*;

use brainy_tests::client::Client;
use brainy_tests::history::History;
use brainy_tests::kubernetes::{KubeCluster, SETTLED_WITHIN, World};
use brainy_tests::load::{Load, Observed, Shape, random_rows};
use brainy_tests::manifest::Manifest;
use brainy_tests::wait::{holds, until};

/// A load on a cluster, and what it wrote.
pub(crate) struct Loaded {
    pub(crate) client: Client,
    pub(crate) history: History,
    load: Load,
}

impl Loaded {
    /// Starts a load on a collection of 8 partitions through the client Service.
    pub(crate) async fn start(cluster: &KubeCluster) -> Self {
        let client = cluster.client();
        client
            .create_collection("things", 8, Some(8))
            .await
            .unwrap();
        let history = History::default();
        let rows = random_rows(0, 400, 8, 2);
        let shape = Shape {
            writers: 2,
            readers: 1,
            searchers: 1,
            ..Shape::default()
        };
        let clients = std::slice::from_ref(&client);
        let load = Load::start(clients, "things", &history, &rows, 1, &shape);
        let loaded = Self {
            client,
            history,
            load,
        };
        loaded.goes_on(100).await;
        loaded
    }

    /// Waits until `more` further writes were acknowledged: the load got through whatever happened before.
    pub(crate) async fn goes_on(&self, more: u64) {
        let from = self.history.writes().await;
        until("writes go on", SETTLED_WITHIN, async || {
            let now = self.history.writes().await;
            holds(now >= from + more, || format!("{} since then", now - from))
        })
        .await
        .unwrap();
    }

    /// Ends the load and accounts for every write: nothing lost, nothing twice, no stale read, no request that failed for good.
    pub(crate) async fn account(self, world: &World) {
        let observed = self.verify(world).await;
        assert_eq!(observed.failed, [""; 0], "{}", world.logs().await);
        assert!(observed.reads > 0 && !observed.searches.is_empty());
    }

    /// The same where requests may fail for good, as none can be answered for a while.
    pub(crate) async fn verify(self, world: &World) -> Observed {
        let observed = self.load.stop().await;
        assert_eq!(observed.stale, [""; 0], "{}", world.logs().await);
        let verdict = self.history.verify(&self.client, "things").await;
        let verdict = shown(world, verdict).await;
        assert!(verdict.is_clean(), "{verdict:?}\n{}", world.logs().await);
        observed
    }
}

/// A settled cluster of `writers` and `readers`.
pub(crate) async fn settled(world: &World, writers: u32, readers: u32) -> KubeCluster {
    let cluster = world.deploy(Manifest::new(writers, readers)).await.unwrap();
    shown(world, cluster.wait_settled().await).await;
    cluster
}

/// The value, or a panic that shows the logs.
pub(crate) async fn shown<T>(world: &World, result: Result<T, brainy_tests::HarnessError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}\n{}", world.logs().await),
    }
}
