//! Kubernetes Events: what happened to a BrainyCluster, for `kubectl describe`.
//!
//! Published by a task of their own: a reconcile never waits for them. The same event again raises the count of the first one.

use brainy_crds::BrainyCluster;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Events that wait to be published; more are lost, as events may be.
const WAITING: usize = 1024;
/// Longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// Reports events.
#[derive(Clone, Debug)]
pub(super) struct Events {
    sender: Sender<(Event, ObjectReference)>,
}

impl Events {
    /// Begins to publish, as `instance` of the operator.
    pub(super) fn start(client: Client, instance: &str) -> Self {
        let (sender, receiver) = channel(WAITING);
        let reporter = Reporter {
            controller: "brainy-operator".to_owned(),
            instance: Some(instance.to_owned()),
        };
        tokio::spawn(publish(Recorder::new(client, reporter), receiver));
        Self { sender }
    }

    /// Something went as it should: `action` was taken because of `reason`.
    pub(super) fn normal(&self, on: &ObjectReference, reason: &str, action: &str, note: String) {
        self.send(EventType::Normal, on, reason, action, note);
    }

    /// Something needs a look.
    pub(super) fn warning(&self, on: &ObjectReference, reason: &str, action: &str, note: String) {
        self.send(EventType::Warning, on, reason, action, note);
    }

    fn send(
        &self,
        type_: EventType,
        on: &ObjectReference,
        reason: &str,
        action: &str,
        note: String,
    ) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(shortened(note)),
            action: action.to_owned(),
            secondary: None,
        };
        if self.sender.try_send((event, on.clone())).is_err() {
            tracing::debug!(reason, "event not published: too many wait");
        }
    }
}

async fn publish(recorder: Recorder, mut receiver: Receiver<(Event, ObjectReference)>) {
    while let Some((event, on)) = receiver.recv().await {
        if let Err(error) = recorder.publish(&event, &on).await {
            tracing::debug!(%error, reason = event.reason, "event not published");
        }
    }
}

/// At most as much as the API server takes, cut between characters.
fn shortened(mut note: String) -> String {
    if note.len() > LONGEST_NOTE {
        let end = (0..=LONGEST_NOTE - 3)
            .rev()
            .find(|end| note.is_char_boundary(*end))
            .unwrap_or(0);
        note.truncate(end);
        note.push_str("...");
    }
    note
}

/// What an event about a BrainyCluster refers to.
pub(super) fn reference(meta: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some(BrainyCluster::api_version(&()).into_owned()),
        kind: Some(BrainyCluster::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_fit() {
        assert_eq!(shortened("short".to_owned()), "short");
        let long = shortened("ä".repeat(1000));
        assert!(
            long.len() <= LONGEST_NOTE && long.ends_with("ä..."),
            "{long}"
        );
    }
}
