//! Step 4: the API server gets what was built, and loses what is not built any more.
//!
//! An object is sent only if it is not what was sent last, or if somebody else changed a field of ours since; `managedFields` tells.
//! What exists under a name of ours and is not ours is left alone and reported.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::DynamicObject;
use serde_json::Value;

use super::context::Context;
use super::error::{StepError, is_conflict, is_not_found};
use super::index::{FIELD_MANAGER, Key, ObjectName, Owned};
use crate::resources::Built;

/// What was applied last, by object.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<ObjectName, Applied>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Applied {
    /// Digest of what was sent.
    sent: u64,
    /// Digest of the fields that were ours afterwards.
    fields: u64,
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
    /// What failed; the others were applied all the same.
    pub(super) errors: Vec<StepError>,
}

/// Applies `built` and removes other objects of the cluster `uid`.
pub(super) async fn apply(
    context: &Context,
    key: &Key,
    uid: &str,
    built: &[Built],
    memory: &mut Memory,
) -> Report {
    let there = context.index.owned(key);
    let mut report = Report::default();
    for object in built {
        let name = (object.resource.kind.clone(), object.name.clone());
        let sent = digest(&object.body);
        let seen = there.get(&name);
        if memory.is_current(&name, sent, seen) {
            continue;
        }
        match send(context, key, uid, object, seen).await {
            Ok(owned) => {
                let words = format!("{} {}", name.0, name.1);
                match seen {
                    Some(_) => report.updated.push(words),
                    None => report.created.push(words),
                }
                let fields = owned.fields;
                memory.0.insert(name.clone(), Applied { sent, fields });
                context.streams.watch_metadata(&object.resource);
                context.index.learn(key, name, owned);
            }
            Err(error) => report.errors.push(error),
        }
    }
    // With something refused the old objects may be what still works.
    if report.errors.is_empty() {
        prune(context, key, uid, built, &there, &mut report).await;
    }
    memory
        .0
        .retain(|(kind, name), _| is_built(built, kind, name));
    report
}

fn is_built(built: &[Built], kind: &str, name: &str) -> bool {
    built
        .iter()
        .any(|object| object.resource.kind == kind && object.name == name)
}

impl Memory {
    fn is_current(&self, name: &ObjectName, sent: u64, seen: Option<&Owned>) -> bool {
        let Some((last, seen)) = self.0.get(name).zip(seen) else {
            return false;
        };
        last.sent == sent && last.fields == seen.fields && !seen.deleting
    }
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

/// Removes what belongs to the cluster and is not built any more.
async fn prune(
    context: &Context,
    key: &Key,
    uid: &str,
    built: &[Built],
    there: &BTreeMap<ObjectName, Owned>,
    report: &mut Report,
) {
    for ((kind, name), owned) in there {
        let ours = owned.controller.as_deref() == Some(uid);
        if !ours || owned.deleting || is_built(built, kind, name) {
            continue;
        }
        match delete(context, key, name, owned).await {
            Ok(()) => report.pruned.push(format!("{kind} {name}")),
            Err(error) => report.errors.push(error),
        }
    }
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
            .0
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
