//! Brings the status of one pod to the API server.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::node::NodeContext;
use super::status::same;

/// Pause after the API server gave no answer.
const RETRY: Duration = Duration::from_millis(200);

enum Message {
    /// The status is this now.
    Status(Box<PodStatus>),
    /// The API server has the pod like this.
    Seen(Arc<Pod>),
    /// The last status was given: the object can go.
    Remove,
}

/// Sends each new status, in order. While the API server is away only the latest is kept, as in a kubelet.
pub(super) struct Reporter {
    messages: mpsc::UnboundedSender<Message>,
    task: AbortOnDropHandle<()>,
}

impl Reporter {
    pub(super) fn start(node: Arc<NodeContext>, pod: &Pod) -> Self {
        let (messages, queue) = mpsc::unbounded_channel();
        let work = Work {
            node,
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            queue,
            latest: None,
            version: 0,
        };
        Self {
            messages,
            task: AbortOnDropHandle::new(tokio::spawn(work.run())),
        }
    }

    pub(super) fn status(&self, status: PodStatus) {
        self.send(Message::Status(Box::new(status)));
    }

    pub(super) fn seen(&self, pod: Arc<Pod>) {
        self.send(Message::Seen(pod));
    }

    /// Waits until the pod's object is removed, by us or by somebody else.
    pub(super) async fn remove(self) {
        self.send(Message::Remove);
        // Only an abort ends it otherwise, and then nobody waits.
        let _ = self.task.await;
    }

    fn send(&self, message: Message) {
        // The task ends by itself only when the pod is gone: there is nobody to tell.
        let _ = self.messages.send(message);
    }
}

struct Work {
    node: Arc<NodeContext>,
    namespace: String,
    name: String,
    uid: String,
    queue: mpsc::UnboundedReceiver<Message>,
    latest: Option<PodStatus>,
    /// Resource version that the last patch made.
    version: u64,
}

/// The pod is not there any more.
struct Gone;

impl Work {
    async fn run(mut self) {
        // The error only ends the loop.
        let _ = self.work().await;
    }

    async fn work(&mut self) -> Result<(), Gone> {
        while let Some(message) = self.queue.recv().await {
            match message {
                Message::Status(status) => {
                    if self.latest.as_ref() != Some(&*status) {
                        self.latest = Some(*status);
                        self.send().await?;
                    }
                }
                Message::Seen(pod) => {
                    let newer = version(&pod) > self.version;
                    let stored = pod.status.clone().unwrap_or_default();
                    // The node lifecycle controller, for one, writes readiness when it hears nothing of us.
                    if newer
                        && self
                            .latest
                            .as_ref()
                            .is_some_and(|ours| !same(ours, &stored))
                    {
                        self.send().await?;
                    }
                }
                Message::Remove => return self.remove().await,
            }
        }
        Ok(())
    }

    /// Sends the latest status until it is taken.
    async fn send(&mut self) -> Result<(), Gone> {
        let mut remove = false;
        loop {
            let pods: Api<Pod> = Api::namespaced(self.node.client().await, &self.namespace);
            let patch = patch(&self.uid, self.latest.as_ref());
            let sent = pods
                .patch_status(
                    &self.name,
                    &PatchParams::default(),
                    &Patch::Strategic(patch),
                )
                .await;
            match sent {
                Ok(pod) => {
                    self.version = version(&pod);
                    return if remove { self.remove().await } else { Ok(()) };
                }
                // The object is another one, or none.
                Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {
                    return Err(Gone);
                }
                Err(error) => {
                    self.problem(format!("the status was not taken: {error}"));
                    tokio::time::sleep(RETRY).await;
                }
            }
            remove |= self.skip_to_latest();
        }
    }

    /// Drops what is outdated in the queue; whether the pod is to be removed.
    fn skip_to_latest(&mut self) -> bool {
        while let Ok(message) = self.queue.try_recv() {
            match message {
                Message::Status(status) => self.latest = Some(*status),
                Message::Seen(_) => {}
                Message::Remove => return true,
            }
        }
        false
    }

    async fn remove(&mut self) -> Result<(), Gone> {
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.uid.clone()),
                ..Preconditions::default()
            }),
            ..DeleteParams::default()
        };
        loop {
            let pods: Api<Pod> = Api::namespaced(self.node.client().await, &self.namespace);
            match pods.delete(&self.name, &parameters).await {
                Ok(_) => return Err(Gone),
                Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {
                    return Err(Gone);
                }
                Err(error) => {
                    self.problem(format!("the pod was not removed: {error}"));
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn problem(&self, text: String) {
        let pod = format!("{}/{}", self.namespace, self.name);
        self.node.shared.problem(pod, self.uid.clone(), text);
    }
}

/// A strategic merge: conditions of others stay, and of ours and the addresses nothing that was is left.
fn patch(uid: &str, status: Option<&PodStatus>) -> Value {
    let mut status = json!(status);
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        for field in ["reason", "message"] {
            if condition.get(field).is_none() {
                condition[field] = Value::Null;
            }
        }
    }
    if let Some(addresses) = status.get_mut("podIPs").and_then(Value::as_array_mut) {
        addresses.push(json!({"$patch": "replace"}));
    }
    json!({"metadata": {"uid": uid}, "status": status})
}

fn version(pod: &Pod) -> u64 {
    let version = pod.resource_version();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}
