//! Single failures, told step by step, on the same simulated bucket and machine as the schedules.

mod handover;
mod lease;
mod log;
mod owner;
mod publication;
mod scripted;
mod takeover;

use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::lease::Identity;
use brainy_coordination::owner::{Finished, Owner};
use brainy_coordination::replica::Replica;
use brainy_coordination::store::ObjectStore;
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::sim::SimBucket;
use brainy_coordination::takeover::{Ownership, TakeoverError};
use brainy_coordination::types::{
    CollectionUid, InstanceId, LogPosition, Nonce, PartitionId, SegmentId,
};
use brainy_coordination::wal::AppenderConfig;
use tokio::task::JoinHandle;

use self::scripted::{Scripted, Step};
use crate::machine::ListMachine;

const GRACE: Duration = Duration::from_secs(60);

/// One partition in a bucket without faults.
struct Bench {
    bucket: Arc<SimBucket>,
    partition: PartitionId,
}

/// A working owner.
struct Running {
    owner: Owner<ListMachine>,
    machine: Arc<ListMachine>,
    task: JoinHandle<Finished<ListMachine>>,
}

impl Bench {
    fn new() -> Self {
        Self {
            bucket: SimBucket::new(1),
            partition: PartitionId::new(CollectionUid::new("lists-1").unwrap(), 0),
        }
    }

    fn store(&self, name: &str) -> Store {
        store_over(self.bucket.client(name))
    }

    /// A store whose requests do what `script` says.
    fn scripted(
        &self,
        name: &str,
        script: impl FnMut(&'static str, &str) -> Step + Send + 'static,
    ) -> Store {
        store_over(Arc::new(Scripted::new(self.bucket.client(name), script)))
    }

    /// A replica that holds what the manifest says.
    async fn replica(&self, store: Store) -> Replica<ListMachine> {
        let machine = ListMachine::new(store.clone(), self.partition.clone(), true);
        Replica::open(store, self.partition.clone(), machine, GRACE)
            .await
            .unwrap()
    }

    /// A replica that has read everything.
    async fn follower(&self, name: &str) -> Replica<ListMachine> {
        let mut replica = self.replica(self.store(name)).await;
        replica.catch_up().await.unwrap();
        replica
    }

    /// Takes over with `replica`, whoever has the lease.
    async fn take_over(
        &self,
        replica: &mut Replica<ListMachine>,
        me: &Identity,
    ) -> Result<Ownership, TakeoverError> {
        let seen = brainy_coordination::lease::load(&self.store("look"), &self.partition)
            .await
            .unwrap();
        replica.take_over(me, seen.as_ref()).await
    }

    /// Makes `name` the owner.
    async fn own(&self, name: &str) -> Running {
        self.own_over(name, self.store(name)).await
    }

    async fn own_over(&self, name: &str, store: Store) -> Running {
        let mut replica = self.replica(store).await;
        let ownership = self.take_over(&mut replica, &who(name)).await.unwrap();
        self.serve(replica, ownership)
    }

    /// Starts to serve what was taken over.
    fn serve(&self, replica: Replica<ListMachine>, ownership: Ownership) -> Running {
        let machine = Arc::clone(replica.machine());
        let (owner, task) = Owner::start(replica, ownership, AppenderConfig::default(), 64);
        Running {
            owner,
            machine,
            task,
        }
    }

    fn exists(&self, key: &str) -> bool {
        self.bucket.snapshot().contains_key(key)
    }
}

impl Running {
    /// Writes request number `n`, which must be acknowledged.
    async fn write(&self, n: u128) -> LogPosition {
        self.owner.write(Nonce(n), 0).await.unwrap()
    }

    /// Publishes everything applied as one segment.
    async fn flush(&self, number: u64) {
        let id = SegmentId::new(format!("{:012}-{number:026}", self.owner.epoch())).unwrap();
        let (meta, applied) = self
            .machine
            .upload(id, LogPosition::default(), None)
            .await
            .unwrap();
        let publish = self.owner.publisher().publish(|m| {
            m.segments = vec![meta.clone()];
            m.applied = applied;
        });
        publish.await.unwrap();
    }
}

fn store_over(inner: Arc<dyn ObjectStore>) -> Store {
    let policy = RetryPolicy {
        base_pause: Duration::from_millis(10),
        max_pause: Duration::from_millis(100),
        deadline: Duration::from_secs(2),
    };
    Store::new(inner, policy).with_jitter_seed(1)
}

fn who(name: &str) -> Identity {
    Identity {
        instance: InstanceId::new(name).unwrap(),
        incarnation: Nonce(1),
    }
}

/// Numbers of the requests that `machine` contains, in log order.
fn contents(machine: &ListMachine) -> Vec<u128> {
    machine.log().iter().map(|r| r.request.0).collect()
}
