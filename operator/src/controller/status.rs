//! Step 6: the status, written only if it says something else than before.

use brainy_crds::{
    BrainyCluster, BrainyClusterStatus, ConditionStatus, ConditionType, Finding, Reason, Role,
    set_condition,
};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::{Map, Value, json};

use super::error::StepError;
use super::events::{Events, reference};
use super::index::{FIELD_MANAGER, Key};
use crate::reconcile::conditions::Facts;
use crate::reconcile::status::{Context, status};
use crate::resources::labels::selector;
use crate::resources::services;

/// What was written last, until the watch shows it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    written: Option<(Option<String>, BrainyClusterStatus)>,
}

impl Memory {
    /// The status as it is stored, as far as is known.
    pub(super) fn current(&self, cluster: &BrainyCluster) -> BrainyClusterStatus {
        match &self.written {
            // The watch shows the object as it was before our write.
            Some((before, status)) if *before == cluster.metadata.resource_version => {
                status.clone()
            }
            _ => cluster.status.clone().unwrap_or_default(),
        }
    }
}

/// Something that keeps the spec from being followed: the condition Degraded says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Trouble {
    /// A step that failed.
    pub(super) fn apply_failed(error: &StepError) -> Self {
        Self {
            reason: Reason::ApplyFailed,
            message: error.to_string(),
        }
    }
}

/// What only Kubernetes adds to the facts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extra<'a> {
    /// The image that pods run, once it is decided.
    pub(super) image: Option<&'a str>,
    /// Most important first.
    pub(super) trouble: &'a [Trouble],
}

/// The status that follows `previous`.
pub(super) fn next(
    previous: &BrainyClusterStatus,
    cluster: &BrainyCluster,
    facts: &Facts<'_>,
    context: &Context<'_>,
    extra: &Extra<'_>,
) -> BrainyClusterStatus {
    let mut next = status(previous, facts, context);
    next.image = extra
        .image
        .map(str::to_owned)
        .or_else(|| previous.image.clone());
    for (role, of_role) in [
        (Role::Writer, &mut next.writers),
        (Role::Reader, &mut next.readers),
        (Role::Hybrid, &mut next.hybrids),
    ] {
        if let Some(of_role) = of_role {
            of_role.selector = selector(cluster, role);
        }
    }
    if let Some(Trouble { reason, message }) = extra.trouble.first() {
        let degraded = Finding {
            type_: ConditionType::Degraded,
            status: ConditionStatus::True,
            reason: *reason,
            message: message.clone(),
        };
        set(&mut next, previous, degraded, context);
    }
    next
}

/// Sets a condition anew: it turned only if it is not what it was in `previous`.
fn set(
    next: &mut BrainyClusterStatus,
    previous: &BrainyClusterStatus,
    finding: Finding,
    context: &Context<'_>,
) {
    next.conditions
        .retain(|c| c.type_ != finding.type_.as_str());
    let before = previous.condition(finding.type_).cloned();
    let at = ConditionType::ALL.iter().position(|t| *t == finding.type_);
    let mut one: Vec<Condition> = before.into_iter().collect();
    set_condition(&mut one, finding, Some(context.generation), context.now);
    let at = at.unwrap_or(0).min(next.conditions.len());
    next.conditions.splice(at..at, one);
}

/// The status of a cluster of which nothing can be followed.
pub(super) fn refused(
    previous: &BrainyClusterStatus,
    generation: i64,
    message: &str,
) -> BrainyClusterStatus {
    let mut next = previous.clone();
    next.observed_generation = Some(generation);
    let now = now();
    let finding = |type_, status| Finding {
        type_,
        status,
        reason: Reason::InvalidSpec,
        message: message.to_owned(),
    };
    for finding in [
        finding(ConditionType::Ready, ConditionStatus::False),
        finding(ConditionType::Degraded, ConditionStatus::True),
    ] {
        set_condition(&mut next.conditions, finding, Some(generation), &now);
    }
    next
}

/// The status of a cluster that is being deleted with its data.
pub(super) fn deleting(
    previous: &BrainyClusterStatus,
    generation: i64,
    message: &str,
    trouble: Option<&str>,
) -> BrainyClusterStatus {
    let mut next = previous.clone();
    next.observed_generation = Some(generation);
    let now = now();
    let finding = |type_, status, reason, message: &str| Finding {
        type_,
        status,
        reason,
        message: message.to_owned(),
    };
    let ready = finding(
        ConditionType::Ready,
        ConditionStatus::False,
        Reason::Deleting,
        "the BrainyCluster is being deleted",
    );
    let progressing = finding(
        ConditionType::Progressing,
        ConditionStatus::True,
        Reason::Deleting,
        trouble.unwrap_or(message),
    );
    for finding in [ready, progressing] {
        set_condition(&mut next.conditions, finding, Some(generation), &now);
    }
    next
}

/// The time of now, for conditions that turn.
pub(super) fn now() -> Time {
    Time(Timestamp::now())
}

/// Where clients connect.
pub(super) fn url(cluster: &BrainyCluster) -> String {
    services::url(cluster).unwrap_or_default()
}

/// Writes `next` if it is not what is stored, and reports conditions that turned.
///
/// # Errors
/// What the API server said.
pub(super) async fn write(
    client: &Client,
    events: &Events,
    cluster: &BrainyCluster,
    memory: &mut Memory,
    next: BrainyClusterStatus,
) -> Result<bool, StepError> {
    let previous = memory.current(cluster);
    if next == previous {
        return Ok(false);
    }
    let key = Key::of(&cluster.metadata);
    let api: Api<BrainyCluster> = Api::namespaced(client.clone(), &key.namespace);
    let patch = Patch::Merge(json!({"status": difference(&previous, &next)}));
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let done = api.patch_status(&key.name, &params, &patch).await;
    done.map_err(|error| StepError::request("write the status of", &key.to_string(), error))?;
    report(events, &cluster.metadata, &previous, &next);
    memory.written = Some((cluster.metadata.resource_version.clone(), next));
    Ok(true)
}

/// Writes the conditions of a resource that cannot be read, beside whatever its status holds.
///
/// # Errors
/// What the API server said: it may refuse any change of such a resource.
pub(super) async fn write_unread(
    client: &Client,
    key: &Key,
    status: &BrainyClusterStatus,
) -> Result<(), StepError> {
    let resource = ApiResource::erase::<BrainyCluster>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &key.namespace, &resource);
    let patch = Patch::Merge(json!({"status": {"conditions": status.conditions}}));
    let done = api
        .patch_status(&key.name, &PatchParams::default(), &patch)
        .await;
    done.map(|_| ())
        .map_err(|error| StepError::request("write the status of", &key.to_string(), error))
}

/// A merge patch from one status to another: all of the new one, and null for what it does not have any more.
fn difference(previous: &BrainyClusterStatus, next: &BrainyClusterStatus) -> Value {
    let fields = |status| match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let mut patch = fields(next);
    for name in fields(previous).keys() {
        patch.entry(name.as_str()).or_insert(Value::Null);
    }
    Value::Object(patch)
}

/// Log lines and events for conditions that turned.
fn report(
    events: &Events,
    meta: &ObjectMeta,
    previous: &BrainyClusterStatus,
    next: &BrainyClusterStatus,
) {
    let (key, on) = (Key::of(meta), reference(meta));
    for condition in &next.conditions {
        let mut before = previous.conditions.iter();
        let before = before.find(|before| before.type_ == condition.type_);
        let turned =
            before.is_none_or(|b| b.status != condition.status || b.reason != condition.reason);
        if turned {
            tell(events, &key, &on, condition, before.is_none());
        }
    }
}

fn tell(events: &Events, key: &Key, on: &ObjectReference, condition: &Condition, first: bool) {
    let Condition {
        type_,
        status,
        reason,
        message,
        ..
    } = condition;
    tracing::info!(cluster = %key, "{type_} is {status}, {reason}: {message}");
    let bad = match type_.as_str() {
        "Degraded" => status == "True",
        "StorageReady" => status != "True" && reason != Reason::NotChecked.as_str(),
        _ => reason == Reason::ScaleDownBlocked.as_str(),
    };
    let note = match message.as_str() {
        "" => format!("{type_} is {status}"),
        message => format!("{type_} is {status}: {message}"),
    };
    if bad {
        events.warning(on, reason, "Reconcile", note);
    } else if !first {
        // How a new cluster begins is no news.
        events.normal(on, reason, "Reconcile", note);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::reconcile::conditions::Storage;
    use crate::reconcile::plan::tests::desired;

    fn at(seconds: i64) -> Time {
        Time(Timestamp::from_second(seconds).unwrap())
    }

    fn next_at(
        previous: &BrainyClusterStatus,
        trouble: &[Trouble],
        now: &Time,
    ) -> BrainyClusterStatus {
        let mut cluster = BrainyCluster::new("search", Default::default());
        cluster.metadata.namespace = Some("team".to_owned());
        let (desired, observed) = (desired(&["writer-0"]), BTreeMap::new());
        let facts = Facts {
            desired: &desired,
            observed: &observed,
            table: None,
            storage: &Storage::Verified,
            invalid_spec: None,
            damaged: &[],
        };
        let context = Context {
            generation: 1,
            url: &url(&cluster),
            table: None,
            config_version: None,
            now,
        };
        let extra = Extra {
            image: Some("brainyd:1"),
            trouble,
        };
        next(previous, &cluster, &facts, &context, &extra)
    }

    #[test]
    fn trouble_shows_as_degraded_and_turns_once() {
        let trouble = [Trouble {
            reason: Reason::ApplyFailed,
            message: "Service search: refused".to_owned(),
        }];
        let calm = next_at(&BrainyClusterStatus::default(), &[], &at(1));
        let first = next_at(&calm, &trouble, &at(2));
        let second = next_at(&first, &trouble, &at(3));
        assert_eq!(first, second, "it goes on since it began");
        let degraded = first.condition(ConditionType::Degraded).unwrap();
        assert_eq!(
            (degraded.status.as_str(), &degraded.last_transition_time),
            ("True", &at(2))
        );
        let order: Vec<&str> = first.conditions.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(order, ConditionType::ALL.map(ConditionType::as_str));
        let over = next_at(&second, &[], &at(4));
        let degraded = over.condition(ConditionType::Degraded).unwrap();
        assert_eq!(
            (degraded.status.as_str(), &degraded.last_transition_time),
            ("False", &at(4))
        );
    }

    #[test]
    fn roles_carry_the_selector_for_the_scale_subresource() {
        let status = next_at(&BrainyClusterStatus::default(), &[], &at(1));
        assert_eq!(
            status.readers.unwrap().selector,
            "brainy.io/cluster=search,brainy.io/role=reader"
        );
        assert_eq!(status.image.as_deref(), Some("brainyd:1"));
        assert_eq!(status.url.as_deref(), Some("http://search.team.svc:6333"));
    }

    #[test]
    fn a_patch_takes_back_what_is_no_more() {
        let previous = BrainyClusterStatus {
            ring_epoch: Some(3),
            image: Some("a".to_owned()),
            ..BrainyClusterStatus::default()
        };
        let next = BrainyClusterStatus {
            image: Some("b".to_owned()),
            ..BrainyClusterStatus::default()
        };
        assert_eq!(
            difference(&previous, &next),
            json!({"image": "b", "ringEpoch": null})
        );
    }

    #[test]
    fn what_was_written_counts_until_the_watch_shows_something_newer() {
        let mut cluster = BrainyCluster::new("search", Default::default());
        cluster.metadata.resource_version = Some("1".to_owned());
        let written = BrainyClusterStatus {
            ring_epoch: Some(3),
            ..BrainyClusterStatus::default()
        };
        let memory = Memory {
            written: Some((Some("1".to_owned()), written.clone())),
        };
        assert_eq!(memory.current(&cluster), written);
        cluster.metadata.resource_version = Some("2".to_owned());
        assert_eq!(memory.current(&cluster), BrainyClusterStatus::default());
    }
}
