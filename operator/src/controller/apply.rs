//! Step 4: the API server gets what was built, and loses what is not built any more.
//!
//! An object is sent only if it is not what was sent last, or if somebody else changed a field of ours since; `managedFields` tells.
//! What exists under a name of ours and is not ours is left alone and reported.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::DynamicObject;
use serde_json::Value;

use super::context::Context;
use super::error::{StepError, is_conflict, is_not_found};
use super::index::{FIELD_MANAGER, Key, ObjectName, Owned};
use super::retry::Retry;
use crate::resources::Built;

/// What was applied last and what was refused last, by object.
#[derive(Debug, Default)]
pub(super) struct Memory {
    applied: BTreeMap<ObjectName, Applied>,
    refused: BTreeMap<ObjectName, Refused>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Applied {
    /// Digest of what was sent.
    sent: u64,
    /// Digest of the fields that were ours afterwards.
    fields: u64,
}

/// Each object waits for itself: one that is refused holds up no other.
#[derive(Debug)]
struct Refused {
    retry: Retry,
    message: String,
}

/// What applying came to.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Objects that were not there before.
    pub(super) created: Vec<String>,
    /// Objects that were sent again.
    pub(super) updated: Vec<String>,
    /// Objects that were removed.
    pub(super) pruned: Vec<String>,
    /// What is not as it should be; the others were applied all the same.
    pub(super) failures: Vec<Failure>,
}

/// An object that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    /// Whether it was tried just now, and not only earlier.
    pub(super) fresh: bool,
}

/// Applies `built` and removes other objects of the cluster `uid`.
pub(super) async fn apply(
    context: &Context,
    key: &Key,
    uid: &str,
    built: &[Built],
    memory: &mut Memory,
    now: Instant,
) -> Report {
    let mut work = Work {
        context,
        key,
        uid,
        built,
        there: context.index.owned(key),
        memory,
        report: Report::default(),
        now,
    };
    for object in built {
        work.bring(object).await;
    }
    // With something refused the old objects may be what still works.
    if work.report.failures.is_empty() {
        work.prune().await;
    }
    let Work {
        there,
        memory,
        report,
        ..
    } = work;
    let is_known = |name: &ObjectName| is_built(built, name) || there.contains_key(name);
    memory.applied.retain(|name, _| is_built(built, name));
    memory.refused.retain(|name, _| is_known(name));
    report
}

/// Everything that applying works with.
struct Work<'a> {
    context: &'a Context,
    key: &'a Key,
    uid: &'a str,
    built: &'a [Built],
    there: BTreeMap<ObjectName, Owned>,
    memory: &'a mut Memory,
    report: Report,
    now: Instant,
}

impl Work<'_> {
    /// Sends an object if there is a reason to.
    async fn bring(&mut self, object: &Built) {
        let Self { context, key, .. } = *self;
        let name = (object.resource.kind.clone(), object.name.clone());
        let sent = digest(&object.body);
        let seen = self.there.get(&name);
        if self.memory.is_current(&name, sent, seen) {
            return;
        }
        let basis = basis(sent, seen);
        if self.waits(&name, basis) {
            return;
        }
        match send(context, key, self.uid, object, self.there.get(&name)).await {
            Ok(owned) => {
                let words = format!("{} {}", name.0, name.1);
                match self.there.contains_key(&name) {
                    true => self.report.updated.push(words),
                    false => self.report.created.push(words),
                }
                let fields = owned.fields;
                self.memory.refused.remove(&name);
                let applied = Applied { sent, fields };
                self.memory.applied.insert(name.clone(), applied);
                context.streams.watch_metadata(&object.resource);
                context.index.learn(key, name, owned);
            }
            Err(error) => self.refused(name, basis, &error),
        }
    }

    /// Removes what belongs to the cluster and is not built any more.
    async fn prune(&mut self) {
        let Self { context, key, .. } = *self;
        for (name, owned) in self.there.clone() {
            let ours = owned.controller.as_deref() == Some(self.uid);
            let basis = basis(0, Some(&owned));
            let stays = !ours || owned.deleting || is_built(self.built, &name);
            if stays || self.waits(&name, basis) {
                continue;
            }
            match delete(context, key, &name.1, &owned).await {
                Ok(()) => self.report.pruned.push(format!("{} {}", name.0, name.1)),
                Err(error) => self.refused(name, basis, &error),
            }
        }
    }

    /// Whether the object is not tried now; reported again if so.
    fn waits(&mut self, name: &ObjectName, basis: u64) -> bool {
        let message = self.memory.waits(name, basis, self.now);
        let failure = message.map(|message| Failure {
            message,
            fresh: false,
        });
        self.report.failures.extend(failure.clone());
        failure.is_some()
    }

    fn refused(&mut self, name: ObjectName, basis: u64, error: &StepError) {
        let failure = self.memory.refused(name, basis, error, self.now);
        self.report.failures.push(failure);
    }
}

fn is_built(built: &[Built], (kind, name): &ObjectName) -> bool {
    built
        .iter()
        .any(|object| object.resource.kind == *kind && object.name == *name)
}

impl Memory {
    fn is_current(&self, name: &ObjectName, sent: u64, seen: Option<&Owned>) -> bool {
        let Some((last, seen)) = self.applied.get(name).zip(seen) else {
            return false;
        };
        last.sent == sent && last.fields == seen.fields && !seen.deleting
    }

    /// Why the object is not tried now.
    fn waits(&self, name: &ObjectName, basis: u64, now: Instant) -> Option<String> {
        let refused = self.refused.get(name)?;
        (!refused.retry.is_due(basis, now)).then(|| refused.message.clone())
    }

    fn refused(
        &mut self,
        name: ObjectName,
        basis: u64,
        error: &StepError,
        now: Instant,
    ) -> Failure {
        let message = error.to_string();
        let refused = self.refused.entry(name).or_insert_with(|| Refused {
            retry: Retry::default(),
            message: String::new(),
        });
        refused.retry.failed(basis, now);
        refused.message.clone_from(&message);
        Failure {
            message,
            fresh: true,
        }
    }

    /// When the next object that was refused is tried again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.refused.values().filter_map(|r| r.retry.at()).min()
    }
}

/// What a refusal depends on: something else is tried at once.
fn basis(sent: u64, seen: Option<&Owned>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (sent, seen.map(|owned| (&owned.uid, owned.fields))).hash(&mut hasher);
    hasher.finish()
}

fn digest(body: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.to_string().hash(&mut hasher);
    hasher.finish()
}

async fn send(
    context: &Context,
    key: &Key,
    uid: &str,
    object: &Built,
    seen: Option<&Owned>,
) -> Result<Owned, StepError> {
    let Built {
        resource,
        name,
        body,
    } = object;
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &key.namespace, resource);
    let words = format!("{} {name}", resource.kind);
    let resource = Arc::new(resource.clone());
    // Without our label nothing is in the index: before an object is made, its name is looked up.
    let found = match seen {
        Some(owned) => Some(owned.clone()),
        None => {
            let object = api.get_opt(name).await;
            let object = object.map_err(|error| StepError::request("read", &words, error))?;
            object.map(|object| Owned::new(&object.metadata, Arc::clone(&resource)))
        }
    };
    // One with our label that nobody controls was left by `kubectl delete --cascade=orphan`, and is adopted.
    let orphan = seen.is_some_and(|owned| owned.controller.is_none());
    if let Some(found) = found
        && found.controller.as_deref() != Some(uid)
        && !orphan
    {
        let (kind, name) = (resource.kind.clone(), name.clone());
        // One with our label had another cluster of this name for its owner.
        return Err(match seen {
            Some(_) => StepError::Lingering { kind, name },
            None => StepError::Foreign { kind, name },
        });
    }
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let applied = api.patch(name, &params, &Patch::Apply(body)).await;
    let applied = applied.map_err(|error| StepError::request("apply", &words, error))?;
    let replicas = applied
        .data
        .pointer("/spec/replicas")
        .and_then(Value::as_i64);
    Ok(Owned {
        replicas: replicas.and_then(|n| i32::try_from(n).ok()),
        ..Owned::new(&applied.metadata, resource)
    })
}

/// Deletes exactly this object; what depends on it goes with it.
///
/// # Errors
/// What the API server said; that it is gone already is none.
pub(super) async fn delete(
    context: &Context,
    key: &Key,
    name: &str,
    owned: &Owned,
) -> Result<(), StepError> {
    let api: Api<DynamicObject> = Api::namespaced_with(
        context.client.clone(),
        &key.namespace,
        owned.resource.as_ref(),
    );
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions {
            uid: Some(owned.uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await {
        Ok(_) => {}
        Err(error) if is_not_found(&error) || is_conflict(&error) => {}
        Err(error) => {
            let words = format!("{} {name}", owned.resource.kind);
            return Err(StepError::request("delete", &words, error));
        }
    }
    context
        .index
        .forget(key, &(owned.resource.kind.clone(), name.to_owned()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::core::ApiResource;

    use super::*;

    #[test]
    fn a_refused_object_waits_until_it_is_another() {
        let name = || ("Service".to_owned(), "search".to_owned());
        let (mut memory, now) = (Memory::default(), Instant::now());
        assert_eq!(memory.waits(&name(), 1, now), None);
        let error = StepError::Lingering {
            kind: "Service".to_owned(),
            name: "search".to_owned(),
        };
        let failure = memory.refused(name(), 1, &error, now);
        assert!(failure.fresh && failure.message.contains("search"));
        assert_eq!(memory.waits(&name(), 1, now), Some(failure.message));
        assert_eq!(memory.waits(&name(), 2, now), None, "it is built otherwise");
        let at = memory.retry_at().unwrap();
        assert!(at > now);
        assert_eq!(memory.waits(&name(), 1, at), None);
    }

    #[test]
    fn an_object_is_sent_again_only_for_a_reason() {
        let name = ("Service".to_owned(), "search".to_owned());
        let seen = Owned {
            resource: Arc::new(ApiResource::erase::<Service>(&())),
            uid: "1".to_owned(),
            controller: Some("2".to_owned()),
            fields: 7,
            deleting: false,
            replicas: None,
        };
        let mut memory = Memory::default();
        assert!(!memory.is_current(&name, 5, Some(&seen)), "never sent");
        memory
            .applied
            .insert(name.clone(), Applied { sent: 5, fields: 7 });
        assert!(memory.is_current(&name, 5, Some(&seen)));
        assert!(!memory.is_current(&name, 6, Some(&seen)), "built otherwise");
        assert!(!memory.is_current(&name, 5, None), "deleted by somebody");
        let taken = Owned {
            fields: 8,
            ..seen.clone()
        };
        assert!(
            !memory.is_current(&name, 5, Some(&taken)),
            "changed by somebody"
        );
        let deleting = Owned {
            deleting: true,
            ..seen
        };
        assert!(!memory.is_current(&name, 5, Some(&deleting)));
    }
}
