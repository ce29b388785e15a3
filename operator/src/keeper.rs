//! The operator's hand on the bucket: one round of reading and writing, at most one at a time.
//!
//! A cluster at rest costs two conditional reads a round: of the table and of the manifest, both answered without a body.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brainy_coordination::assignment::AssignmentTable;
use brainy_coordination::config::{ConfigError, ConfigStore, SharedConfig};
use brainy_coordination::document::{self, Document, DocumentError, Update, Updated, Versioned};
use brainy_coordination::events::{Event, EventLog};
use brainy_coordination::keys;
use brainy_coordination::manifest::ClusterManifest;
use brainy_coordination::rebalance;
use brainy_coordination::store::retry::Store;
use brainy_coordination::store::{ETag, StoreError};
use brainy_coordination::types::{InstanceId, NameError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::reconcile::changes;
use crate::reconcile::desired::Desired;
use crate::reconcile::members;
use crate::reconcile::plan::MemberChange;

/// Under this name the operator reports events.
const NAME: &str = "operator";

/// Key of the operator's own notes.
const NOTES: &str = "_brainy/operator.json";

/// What the operator remembers beyond its own end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Notes {
    /// Names of the shared settings that come from the spec: what it does not name any more is taken back.
    settings: BTreeSet<String>,
}

impl Document for Notes {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "operator's notes";
}

/// What one round is to do.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// The spec.
    pub(crate) desired: Desired,
    /// Changes of membership.
    pub(crate) members: BTreeMap<InstanceId, MemberChange>,
    /// The table of the last round.
    pub(crate) known: Option<Arc<Versioned<AssignmentTable>>>,
    /// The settings that the spec names, if they are to be published.
    pub(crate) publish: Option<SharedConfig>,
}

/// What one round came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The table afterwards; `None` when there is none and nothing may be changed.
    pub(crate) table: Option<Arc<Versioned<AssignmentTable>>>,
    /// Whether this round changed it.
    pub(crate) changed: bool,
    /// What became of the configuration, if one was to be published: its version, and whether it is new.
    pub(crate) config: Option<Result<Published, String>>,
}

/// A configuration that is in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// Its version.
    pub(crate) version: u64,
    /// Whether this round wrote it.
    pub(crate) changed: bool,
}

/// Access to what the cluster agrees on.
#[derive(Debug)]
pub(crate) struct Keeper {
    store: Store,
    config: ConfigStore,
    events: EventLog,
    rest: Mutex<Option<Rest>>,
}

/// A step that found nothing to do. While everything is what it was then, another would find nothing either.
#[derive(Clone, Debug)]
struct Rest {
    table: Arc<Versioned<AssignmentTable>>,
    /// What the step was told.
    desired: Desired,
    /// The manifest that the table follows; unknown until it was looked at, absent before there is a collection.
    manifest: Option<Option<ETag>>,
}

impl Keeper {
    /// Works on `store`.
    ///
    /// # Errors
    /// [`NameError`], which a constant name does not bring.
    pub(crate) fn new(store: Store) -> Result<Self, NameError> {
        Ok(Self {
            config: ConfigStore::new(store.clone()),
            events: EventLog::new(store.clone(), InstanceId::new(NAME)?),
            rest: Mutex::default(),
            store,
        })
    }

    /// Reads the table, changes members, takes a step of the rebalance, publishes configuration.
    ///
    /// # Errors
    /// The table's; the next round begins anew.
    pub(crate) async fn round(&self, task: Task) -> Result<Outcome, DocumentError> {
        let Task {
            desired,
            members,
            known,
            publish,
        } = task;
        let resting = match members.is_empty() {
            true => self.still_at_rest(&desired).await?,
            false => None,
        };
        let (table, changed) = match resting {
            Some(table) => (Some(table), false),
            None if desired.paused => self.hold(&desired, &members).await?,
            None => self.step(&desired, &members).await?,
        };
        let config = match publish {
            Some(config) => Some(self.publish(&config).await?),
            None => None,
        };
        let mut news = Vec::new();
        // The first look finds what there was before; that is no news.
        if changed && let (Some(before), Some(after)) = (&known, &table) {
            news = changes::events(before, after);
        }
        if let Some(Ok(Published {
            version,
            changed: true,
        })) = config
        {
            news.push(Event::ConfigurationUpdated { version });
        }
        self.report(news).await;
        Ok(Outcome {
            table,
            changed,
            config,
        })
    }

    async fn step(
        &self,
        desired: &Desired,
        members: &BTreeMap<InstanceId, MemberChange>,
    ) -> Result<(Option<Arc<Versioned<AssignmentTable>>>, bool), DocumentError> {
        let outcome = rebalance::step_orchestrated(&self.store, |edit| {
            members::apply(edit, desired, members)
        })
        .await?;
        let table = Arc::new(outcome.table);
        let rest = Rest {
            table: Arc::clone(&table),
            desired: desired.clone(),
            manifest: None,
        };
        *self.rest.lock() = (!outcome.changed && !desired.paused).then_some(rest);
        Ok((Some(table), outcome.changed))
    }

    /// The table, if it and all that a step depends on are what they were when one found nothing to do.
    async fn still_at_rest(
        &self,
        desired: &Desired,
    ) -> Result<Option<Arc<Versioned<AssignmentTable>>>, DocumentError> {
        let rest = self.rest.lock().clone();
        let Some(rest) = rest.filter(|rest| rest.desired == *desired) else {
            return Ok(None);
        };
        let manifest = match &rest.manifest {
            Some(Some(known)) => match self.store.get_if_changed(keys::MANIFEST, known).await {
                Ok(None) => Some(Some(known.clone())),
                Ok(Some(_)) | Err(StoreError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            },
            Some(None) | None => {
                let found: Option<Versioned<ClusterManifest>> =
                    document::load(&self.store, keys::MANIFEST).await?;
                let version = found.as_ref().map_or(0, |manifest| manifest.version);
                let follows = version == rest.table.manifest_version;
                follows.then(|| found.map(|manifest| manifest.etag))
            }
        };
        let Some(manifest) = manifest else {
            return Ok(None);
        };
        let table = &rest.table;
        match self
            .store
            .get_if_changed(keys::ASSIGNMENTS, &table.etag)
            .await
        {
            Ok(None) => {}
            Ok(Some(_)) | Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let table = Arc::clone(table);
        *self.rest.lock() = Some(Rest {
            manifest: Some(manifest),
            ..rest
        });
        Ok(Some(table))
    }

    /// While paused the table is only read, once it says that nothing may move.
    async fn hold(
        &self,
        desired: &Desired,
        members: &BTreeMap<InstanceId, MemberChange>,
    ) -> Result<(Option<Arc<Versioned<AssignmentTable>>>, bool), DocumentError> {
        let table = document::load::<AssignmentTable>(&self.store, keys::ASSIGNMENTS).await?;
        let held = table
            .as_ref()
            .is_none_or(|t| t.policy.max_concurrent_moves == 0);
        if held {
            return Ok((table.map(Arc::new), false));
        }
        self.step(desired, members).await
    }

    /// Lays the spec's settings over what is published. Settings that the spec does not name are left to administrators; those that
    /// it named before are taken back.
    async fn publish(
        &self,
        config: &SharedConfig,
    ) -> Result<Result<Published, String>, DocumentError> {
        let names: BTreeSet<String> = match fields(config) {
            Ok(fields) => fields.keys().cloned().collect(),
            Err(error) => return Ok(Err(error.to_string())),
        };
        // Noted before they are published and forgotten after they are taken back: whatever ends us in between, the next one
        // knows them.
        let noted = self
            .note(|before| before.union(&names).cloned().collect())
            .await?;
        let published = self.lay_over(config, &noted).await?;
        if published.is_ok() && noted != names {
            self.note(|_| names.clone()).await?;
        }
        Ok(published)
    }

    async fn lay_over(
        &self,
        config: &SharedConfig,
        noted: &BTreeSet<String>,
    ) -> Result<Result<Published, String>, DocumentError> {
        loop {
            let current = self.config.load().await?;
            let version = current.as_ref().map_or(0, |c| c.version);
            let in_force = current.map(|c| c.body.config).unwrap_or_default();
            let wanted = match merged(&in_force, config, noted) {
                Ok(wanted) => wanted,
                Err(error) => return Ok(Err(error.to_string())),
            };
            if version > 0 && wanted == in_force {
                return Ok(Ok(Published {
                    version,
                    changed: false,
                }));
            }
            match self.config.publish_if_version(version, &wanted).await {
                Ok(version) => {
                    return Ok(Ok(Published {
                        version,
                        changed: true,
                    }));
                }
                Err(ConfigError::VersionConflict { .. }) => {}
                Err(ConfigError::Document(error)) => return Err(error),
                Err(ConfigError::Invalid(errors)) => {
                    return Ok(Err(ConfigError::Invalid(errors).to_string()));
                }
            }
        }
    }

    /// Changes the note of settings that are ours, and returns it.
    async fn note(
        &self,
        change: impl Fn(&BTreeSet<String>) -> BTreeSet<String>,
    ) -> Result<BTreeSet<String>, DocumentError> {
        let updated: Updated<Notes, BTreeSet<String>> =
            document::update(&self.store, NOTES, |current: Option<&Versioned<Notes>>| {
                let before = current.map(|c| c.settings.clone()).unwrap_or_default();
                let settings = change(&before);
                Ok::<_, DocumentError>(if settings == before {
                    Update::Keep(settings)
                } else {
                    let notes = Notes {
                        settings: settings.clone(),
                    };
                    Update::Write(notes, settings)
                })
            })
            .await?;
        Ok(updated.outcome)
    }

    /// Events are hints: one that cannot be written is lost.
    async fn report(&self, events: Vec<Event>) {
        for event in events {
            if let Err(error) = self.events.append(event).await {
                tracing::debug!(%error, "event not recorded");
                return;
            }
        }
    }
}

/// `current` without the settings in `noted`, and with those of `config`.
fn merged(
    current: &SharedConfig,
    config: &SharedConfig,
    noted: &BTreeSet<String>,
) -> Result<SharedConfig, serde_json::Error> {
    let mut merged = fields(current)?;
    merged.retain(|name, _| !noted.contains(name));
    merged.extend(fields(config)?);
    serde_json::from_value(Value::Object(merged))
}

fn fields(config: &SharedConfig) -> Result<Map<String, Value>, serde_json::Error> {
    match serde_json::to_value(config)? {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

#[cfg(test)]
mod tests {
    use brainy_coordination::assignment::MemberState;
    use brainy_coordination::store::dir::DirStore;
    use brainy_coordination::store::retry::RetryPolicy;
    use brainy_crds::Role;

    use super::*;
    use crate::reconcile::plan::tests::{desired, id};

    fn keeper(dir: &std::path::Path) -> Keeper {
        let store = DirStore::open(dir).unwrap();
        Keeper::new(Store::new(store, RetryPolicy::default())).unwrap()
    }

    fn task(desired: Desired) -> Task {
        let joins = MemberChange::Active {
            role: Role::Writer,
            address: "127.0.0.1:1".to_owned(),
        };
        Task {
            desired,
            members: [(id("writer-0"), joins)].into(),
            known: None,
            publish: None,
        }
    }

    #[tokio::test]
    async fn a_member_joins_once_and_the_event_log_knows() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keeper(dir.path());
        let task = |known: Option<&Arc<Versioned<AssignmentTable>>>| Task {
            known: known.cloned(),
            ..task(desired(&["writer-0"]))
        };
        let empty = Task {
            members: BTreeMap::new(),
            ..task(None)
        };
        let made = keeper.round(empty).await.unwrap().table.unwrap();
        let joined = keeper.round(task(Some(&made))).await.unwrap();
        assert!(joined.changed);
        let joined = joined.table.unwrap();
        assert_eq!(joined.members[&id("writer-0")].state, MemberState::Active);
        let again = keeper.round(task(Some(&joined))).await.unwrap();
        assert!(!again.changed);
        let restarted = keeper.round(task(None)).await.unwrap();
        assert!(!restarted.changed);
        let objects = keeper.store.list_all(keys::EVENTS).await.unwrap();
        assert_eq!(objects.len(), 2, "joined, and a new epoch");
    }

    #[tokio::test]
    async fn a_cluster_at_rest_costs_two_reads_a_round() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keeper(dir.path());
        keeper.round(task(desired(&["writer-0"]))).await.unwrap();
        let look = || Task {
            members: BTreeMap::new(),
            ..task(desired(&["writer-0"]))
        };
        let resting = keeper.round(look()).await.unwrap().table.unwrap();
        let requests = |keeper: &Keeper| {
            let counts = keeper.store.counts();
            let count =
                |c: &std::sync::atomic::AtomicU64| c.load(std::sync::atomic::Ordering::Relaxed);
            (
                count(&counts.gets),
                count(&counts.puts),
                count(&counts.lists),
            )
        };
        let (gets, puts, lists) = requests(&keeper);
        let same = keeper.round(look()).await.unwrap().table.unwrap();
        assert!(Arc::ptr_eq(&resting, &same));
        assert_eq!(requests(&keeper), (gets + 2, puts, lists));

        // What others change is seen in the next round, and so are other settings.
        let mut table = AssignmentTable::clone(&resting);
        table.members.clear();
        document::try_write(&keeper.store, keys::ASSIGNMENTS, Some(&resting), table)
            .await
            .unwrap();
        let seen = keeper.round(look()).await.unwrap().table.unwrap();
        assert!(seen.members.is_empty());
        let mut edited = look();
        edited.desired.policy.read_replicas = 3;
        let followed = keeper.round(edited).await.unwrap();
        assert!(followed.changed);
        assert_eq!(followed.table.unwrap().policy.read_replicas, 3);
    }

    #[tokio::test]
    async fn a_paused_cluster_is_told_once_to_hold_still() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keeper(dir.path());
        let mut paused = desired(&["writer-0"]);
        paused.paused = true;
        paused.policy.max_concurrent_moves = 0;
        let nothing = keeper.round(task(paused.clone())).await.unwrap();
        assert!(
            nothing.table.is_none() && !nothing.changed,
            "no table is made while paused"
        );
        keeper.round(task(desired(&["writer-0"]))).await.unwrap();
        let held = keeper.round(task(paused.clone())).await.unwrap();
        assert!(held.changed);
        assert_eq!(held.table.unwrap().policy.max_concurrent_moves, 0);
        assert!(!keeper.round(task(paused)).await.unwrap().changed);
    }

    #[tokio::test]
    async fn the_spec_decides_its_own_settings_and_leaves_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keeper(dir.path());
        let by_hand = SharedConfig {
            max_batch_points: Some(5),
            ..SharedConfig::default()
        };
        keeper.config.publish_if_version(0, &by_hand).await.unwrap();

        let first = SharedConfig {
            log_level: Some("debug".to_owned()),
            max_search_limit: Some(9),
            ..SharedConfig::default()
        };
        let done = keeper.publish(&first).await.unwrap();
        assert_eq!(
            done,
            Ok(Published {
                version: 2,
                changed: true
            })
        );
        let again = keeper.publish(&first).await.unwrap();
        assert_eq!(
            again,
            Ok(Published {
                version: 2,
                changed: false
            })
        );

        let second = SharedConfig {
            log_level: Some("info".to_owned()),
            ..SharedConfig::default()
        };
        // Another operator does not know what this one published, but finds its notes.
        let keeper = Keeper::new(keeper.store.clone()).unwrap();
        keeper.publish(&second).await.unwrap().unwrap();
        let stored = keeper.config.load().await.unwrap().unwrap().body.config;
        assert_eq!(
            stored,
            SharedConfig {
                max_batch_points: Some(5),
                ..second
            }
        );

        let wrong = SharedConfig {
            max_search_limit: Some(0),
            ..SharedConfig::default()
        };
        let refused = keeper.publish(&wrong).await.unwrap().unwrap_err();
        assert!(refused.contains("max_search_limit"), "{refused}");
    }
}
