//! Step 5, the table's half: contact with the bucket, rounds of the [keeper](crate::keeper), hints to members.
//!
//! Both run beside the reconcile, one at a time: a bucket that does not answer delays no edit of the spec.

use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::assignment::{AssignmentTable, MemberState};
use brainy_coordination::claim::{self, Claim};
use brainy_coordination::document::DocumentError;
use brainy_coordination::rebalance::RebalanceStatus;
use brainy_coordination::self_coordination::ownership;
use brainy_coordination::store::probe::ProbeOptions;
use brainy_coordination::store::retry::Store;
use brainy_coordination::store::s3::{Credentials, S3Config};
use brainy_coordination::types::NameError;
use brainy_crds::{ADOPT_DATA, BrainyCluster};
use kube::ResourceExt;
use tokio::task::{JoinError, JoinHandle};

use super::context::Context;
use super::finalize::{Swept, sweep};
use crate::hint::Hint;
use crate::keeper::{Keeper, Outcome, Task};
use crate::reconcile::conditions::Storage;
use crate::storage::{classify_document, open};

/// Pause between two looks at the table while something moves.
pub(super) const MOVING: Duration = Duration::from_millis(500);
/// Pause while nothing does.
pub(super) const AT_REST: Duration = Duration::from_secs(2);
/// Pause after a bucket could not be used.
pub(super) const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Contenders in each race of the probe: enough to catch a store that decides without a lock.
const CONTENDERS: usize = 8;
const PROBE_DEADLINE: Duration = Duration::from_secs(60);

/// What tells one way to a bucket from another.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Way {
    bucket: String,
    prefix: String,
    region: Option<String>,
    endpoint: Option<String>,
    path_style: bool,
    keys: Option<(String, String, Option<String>)>,
}

impl Way {
    pub(super) fn of(config: &S3Config) -> Self {
        Self {
            bucket: config.bucket.clone(),
            prefix: config.prefix.clone(),
            region: config.region.clone(),
            endpoint: config.endpoint.clone(),
            path_style: config.path_style,
            keys: match &config.credentials {
                Credentials::Static {
                    access_key,
                    secret_key,
                    session_token,
                } => Some((
                    access_key.clone(),
                    secret_key.clone(),
                    session_token.clone(),
                )),
                Credentials::DefaultChain => None,
            },
        }
    }
}

/// Access to a cluster's prefix that passed the probe.
#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) way: Way,
    store: Store,
    keeper: Arc<Keeper>,
}

/// Who is to have the prefix.
pub(super) struct Claimant {
    claim: Claim,
    adopt: bool,
}

impl Claimant {
    pub(super) fn of(cluster: &BrainyCluster) -> Self {
        let namespace = cluster.namespace().unwrap_or_default();
        Self {
            claim: Claim {
                uid: cluster.uid().unwrap_or_default(),
                name: format!("{namespace}/{}", cluster.name_any()),
            },
            adopt: cluster.has_annotation(ADOPT_DATA),
        }
    }

    async fn claim(&self, store: &Store) -> Result<(), Storage> {
        let claimed = claim::claim(store, &self.claim, self.adopt).await;
        match claimed.map_err(|error| classify_document(&error))? {
            Ok(()) => Ok(()),
            Err(other) if ownership::is_of_nodes(&other) => Err(Storage::InUse(format!(
                "the nodes of this prefix coordinate themselves, without an operator. Stop them and take the data over with the \
                 annotation {ADOPT_DATA}=true, or choose another prefix"
            ))),
            Err(other) => Err(Storage::InUse(format!(
                "the data under this prefix is of BrainyCluster {}. Choose another prefix, or take it over, as when it is a copy \
                 that is restored, with the annotation {ADOPT_DATA}=true",
                other.name
            ))),
        }
    }
}

/// What runs beside the reconcile.
pub(super) enum Job {
    /// The bucket is being probed.
    Contact(JoinHandle<Result<Bucket, Storage>>),
    /// A round is under way.
    Round(JoinHandle<Result<Outcome, DocumentError>>),
    /// Data is being deleted.
    Sweep(JoinHandle<Result<Swept, DocumentError>>),
}

/// What it came to.
pub(super) enum Done {
    Contact(Result<Bucket, Storage>),
    Round(Result<Outcome, DocumentError>),
    Sweep(Result<Swept, DocumentError>),
    /// It ended badly, which was logged.
    Failed,
}

impl Job {
    /// Probes the bucket, in its turn, and claims the prefix if it is for somebody.
    pub(super) fn contact(context: &Context, config: S3Config, claimant: Option<Claimant>) -> Self {
        let turns = Arc::clone(&context.probes);
        Self::Contact(tokio::spawn(async move {
            // The semaphore is never closed.
            let _turn = turns.acquire_owned().await;
            let way = Way::of(&config);
            let options = ProbeOptions {
                contenders: CONTENDERS,
                deadline: PROBE_DEADLINE,
            };
            let opened = open(config, options).await;
            let store = opened.map_err(|error| error.storage())?;
            if let Some(claimant) = claimant {
                claimant.claim(&store).await?;
            }
            let keeper = Keeper::new(store.clone());
            let keeper = keeper.map_err(|error: NameError| Storage::Refused(error.to_string()))?;
            Ok(Bucket {
                way,
                store,
                keeper: Arc::new(keeper),
            })
        }))
    }

    /// Begins a round.
    pub(super) fn round(bucket: &Bucket, task: Task) -> Self {
        let keeper = Arc::clone(&bucket.keeper);
        Self::Round(tokio::spawn(async move { keeper.round(task).await }))
    }

    /// Begins to delete the data of `uid`.
    pub(super) fn sweep(bucket: &Bucket, uid: String) -> Self {
        let store = bucket.store.clone();
        Self::Sweep(tokio::spawn(async move { sweep(&store, &uid).await }))
    }

    /// Waits for its end.
    async fn end(&mut self) -> Done {
        let failed = |error: JoinError| {
            tracing::error!(%error, "work on the bucket ended badly");
            Done::Failed
        };
        match self {
            Self::Contact(job) => job.await.map_or_else(failed, Done::Contact),
            Self::Round(job) => job.await.map_or_else(failed, Done::Round),
            Self::Sweep(job) => job.await.map_or_else(failed, Done::Sweep),
        }
    }

    /// Gives it up.
    pub(super) fn abort(&self) {
        match self {
            Self::Contact(job) => job.abort(),
            Self::Round(job) => job.abort(),
            Self::Sweep(job) => job.abort(),
        }
    }
}

/// Waits for the end of the job, for ever without one.
pub(super) async fn ended(job: &mut Option<Job>) -> Done {
    match job {
        Some(running) => {
            let done = running.end().await;
            *job = None;
            done
        }
        None => std::future::pending().await,
    }
}

/// How long nothing needs to be read.
pub(super) fn pause(table: &AssignmentTable, moves: &RebalanceStatus) -> Duration {
    let drains = |table: &AssignmentTable| {
        let mut members = table.members.values();
        members.any(|m| m.state == MemberState::Draining)
    };
    if moves.is_settled() && !drains(table) {
        AT_REST
    } else {
        MOVING
    }
}

/// Whom to tell that the table changed.
pub(super) fn hint(table: &AssignmentTable, admin_key: Option<String>) -> Hint {
    let there = table
        .members
        .values()
        .filter(|m| m.state != MemberState::Gone);
    Hint {
        addresses: there.map(|m| m.address.clone()).collect(),
        admin_key,
    }
}
