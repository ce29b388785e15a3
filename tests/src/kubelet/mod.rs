//! A kubelet without containers: pods of a real control plane as plain processes of this machine.
//!
//! It registers nodes and keeps them alive, runs the pods that the scheduler binds to them, probes them, restarts them,
//! ends them in order, and reports all of that as a kubelet does, so that the controllers of Kubernetes, the operator and
//! `brainyd` are the real ones. What namespaces and images do for a container it does by other means:
//!
//! - An image is a local program ([`Images`]). One that is not known cannot be pulled. A command (`command`, probes,
//!   hooks) runs that same program, whatever directory it names; nothing else is "in the image".
//! - Every node and pod has a loopback address of its own, so that all can listen on the same port. `0.0.0.0` in
//!   arguments and values becomes the pod's address. Kubernetes allows no loopback address in EndpointSlices:
//!   `status.podIPs` has the pod's address in a second form, as an IPv6 address, which stands there in its place if the
//!   cluster's services are of that family; [`reachable`] turns it back.
//! - Mounts are directories; an absolute path in arguments, values and commands that begins with a `mountPath` becomes
//!   the path in that directory. `TMPDIR` leads to a volume mounted at `/tmp`. The working directory is an empty one.
//! - The environment is what the specification says, with `PATH` and `HOSTNAME`, and nothing of this program's.
//! - Claims are bound to directories, by a provisioner that stands in for the volume controllers.
//!
//! Not done: users, capabilities, resource limits, DNS, network policies. A pod that needs what would be done wrong (init
//! containers, `postStart`, gRPC probes) fails with a reason. Delays are shorter than a kubelet's ([`Timing`]).

mod action;
mod addresses;
mod backoff;
mod container;
mod drain;
mod env;
mod images;
mod journal;
mod launch;
mod node;
mod pod_worker;
mod probes;
mod provisioner;
mod quantity;
mod references;
mod reporter;
mod running;
mod sandbox;
mod status;
mod stopping;
mod volumes;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use rustix::process::Signal;
use tokio::sync::oneshot;

pub use addresses::reachable;
pub use backoff::Delays;
pub use drain::{cordon, drain};
pub use images::Images;
pub use journal::{Entry, Happening};

use crate::HarnessError;
use crate::kube::client;
use crate::kube::keeper::Keeper;
use crate::process::{signal, tail};
use addresses::Addresses;
use journal::Journal;
use node::NodeHandle;

/// Removing the nodes of a kubelet that ends may take this long.
const FAREWELL: Duration = Duration::from_secs(3);

/// How fast a kubelet is.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two renewals of a node's lease; 10 s in a kubelet.
    pub lease_renewal: Duration,
    /// Before a container is started again that ended more than once; 10 s up to 5 min in a kubelet.
    pub restart_backoff: Delays,
    /// Before an image is asked for again; 10 s up to 5 min in a kubelet.
    pub pull_backoff: Delays,
    /// Before a missing Secret or ConfigMap is asked for again.
    pub retry: Duration,
    /// Between two looks at Secrets and ConfigMaps that are mounted; about a minute in a kubelet.
    pub volume_refresh: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let delays = Delays {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(8),
        };
        Self {
            lease_renewal: Duration::from_secs(2),
            restart_backoff: delays,
            pull_backoff: delays,
            retry: Duration::from_millis(500),
            volume_refresh: Duration::from_secs(2),
        }
    }
}

/// Which nodes there are, and what they can run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of nodes.
    pub nodes: usize,
    /// Their names are this, `-` and a number from 0; two kubelets of one control plane need different ones.
    pub prefix: String,
    /// Node `n` is in the `n`-th of these zones, round and round.
    pub zones: Vec<String>,
    /// The registry.
    pub images: Images,
    /// How fast.
    pub timing: Timing,
}

impl Options {
    /// Nodes `node-0`, `node-1`, ... in one zone each.
    #[must_use]
    pub fn new(nodes: usize, images: Images) -> Self {
        Self {
            nodes,
            prefix: "node".to_owned(),
            zones: (0..nodes).map(|n| format!("zone-{n}")).collect(),
            images,
            timing: Timing::default(),
        }
    }
}

/// How a node gets lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It does not reach the API server any more; its processes live on, unseen.
    Partition,
    /// It is switched off: its processes die with it.
    PowerOff,
}

/// What all nodes share.
struct Shared {
    client: Client,
    images: Images,
    timing: Timing,
    addresses: Arc<Addresses>,
    dir: PathBuf,
    journal: Journal,
    /// Process ids by `namespace/name` of the pod, then by container.
    running: Mutex<BTreeMap<String, BTreeMap<String, u32>>>,
    logs: AtomicU64,
    keeper: Keeper,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn note(&self, pod: &Pod, container: &str, what: Happening) {
        self.journal.add(Entry {
            at: Instant::now(),
            pod: pod_key(pod),
            uid: pod.uid().unwrap_or_default(),
            container: container.to_owned(),
            what,
        });
    }

    fn problem(&self, pod: String, uid: String, text: String) {
        self.journal.add(Entry {
            at: Instant::now(),
            pod,
            uid,
            container: String::new(),
            what: Happening::Problem(text),
        });
    }

    fn log_dir(&self, pod: &str) -> PathBuf {
        self.dir.join("logs").join(pod)
    }

    /// A new log file; they sort by age.
    fn log_file(&self, pod: &Pod, container: &str) -> std::io::Result<PathBuf> {
        let dir = self.log_dir(&pod_key(pod));
        std::fs::create_dir_all(&dir)?;
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        Ok(dir.join(format!("{number:08}-{container}.log")))
    }
}

/// A running kubelet with its nodes, on a thread of its own, so that it outlives the test that started it. Dropping it
/// kills its processes and removes its nodes; its directory and processes go too if this program just dies.
#[derive(Debug)]
pub struct Kubelet {
    shared: Arc<Shared>,
    nodes: Vec<Arc<NodeHandle>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Kubelet {
    /// Registers the nodes and begins. `kubeconfig` is of somebody who may do all that a kubelet does, on every node.
    ///
    /// # Errors
    /// The API server refuses, or no loopback addresses are left.
    pub async fn start(kubeconfig: &Path, options: Options) -> Result<Self, HarnessError> {
        let (sender, receiver) = oneshot::channel();
        let kubeconfig = kubeconfig.to_owned();
        let thread = std::thread::Builder::new().name("kubelet".to_owned());
        let spawned = thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(serve(&kubeconfig, options, sender)),
                Err(e) => drop(sender.send(Err(HarnessError::io("start", "a runtime")(e)))),
            }
        });
        let thread = spawned.map_err(HarnessError::io("start", "a thread"))?;
        let started = receiver.await.map_err(|_| HarnessError::Interrupted)?;
        let Started {
            shared,
            nodes,
            stop,
        } = started?;
        Ok(Self {
            shared,
            nodes,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Name of the `n`-th node.
    ///
    /// # Panics
    /// There is no such node.
    #[must_use]
    pub fn node(&self, n: usize) -> &str {
        self.nodes[n].name()
    }

    /// The registry, to be changed at any time.
    #[must_use]
    pub fn images(&self) -> &Images {
        &self.shared.images
    }

    /// Process id of a pod's first container, by name; `None` while it does not run.
    #[must_use]
    pub fn pid(&self, namespace: &str, name: &str) -> Option<u32> {
        let running = lock(&self.shared.running);
        let containers = running.get(&format!("{namespace}/{name}"))?;
        containers.values().next().copied()
    }

    /// `namespace/name` of every pod that has a process, and the process id.
    #[must_use]
    pub fn pods_running(&self) -> Vec<(String, u32)> {
        let running = lock(&self.shared.running);
        let pods = running.iter().filter_map(|(pod, containers)| {
            let pid = containers.values().next()?;
            Some((pod.clone(), *pid))
        });
        pods.collect()
    }

    /// Kills the process of a pod's first container, as a crash would; returns its id.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_pod(&self, namespace: &str, name: &str) -> Result<u32, HarnessError> {
        self.signal_pod(namespace, name, Signal::KILL)
    }

    /// Sends a signal to the process of a pod's first container; returns its id.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal_pod(
        &self,
        namespace: &str,
        name: &str,
        what: Signal,
    ) -> Result<u32, HarnessError> {
        let pid = self.pid(namespace, name).ok_or_else(|| {
            let source = std::io::Error::other("it has no process");
            HarnessError::io("signal pod", format!("{namespace}/{name}"))(source)
        })?;
        signal(pid, what).map(|()| pid)
    }

    /// What all pods that ever had this name have written, the oldest first.
    #[must_use]
    pub fn logs(&self, namespace: &str, name: &str) -> String {
        let files = self.log_files(namespace, name);
        let texts = files.iter().map(std::fs::read);
        let texts: Vec<u8> = texts.filter_map(Result::ok).flatten().collect();
        String::from_utf8_lossy(&texts).into_owned()
    }

    /// The last lines of every log of a namespace, for the message of a failure.
    #[must_use]
    pub fn log_tails(&self, namespace: &str) -> String {
        let pods = std::fs::read_dir(self.shared.log_dir(namespace));
        let pods = pods.into_iter().flatten().filter_map(Result::ok);
        let mut names: Vec<String> = pods
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let tails = names.iter().filter_map(|name| {
            let last = self.log_files(namespace, name).pop()?;
            Some(format!("--- {namespace}/{name}\n{}\n", tail(&last)))
        });
        tails.collect()
    }

    fn log_files(&self, namespace: &str, name: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.shared.log_dir(&format!("{namespace}/{name}")));
        let files = files.into_iter().flatten().filter_map(Result::ok);
        let mut files: Vec<PathBuf> = files.map(|file| file.path()).collect();
        files.sort();
        files
    }

    /// What happened to the pods of this name, in order.
    #[must_use]
    pub fn journal(&self, namespace: &str, name: &str) -> Vec<Entry> {
        self.shared.journal.of(&format!("{namespace}/{name}"))
    }

    /// Loses the `n`-th node: its lease is renewed no more, and nothing is heard of its pods.
    ///
    /// # Panics
    /// There is no such node.
    pub async fn stop_node(&self, n: usize, outage: Outage) {
        let node = self.nodes[n].clone();
        node.set_online(false);
        if outage == Outage::PowerOff {
            node.power_off().await;
        }
    }

    /// Brings the `n`-th node back: it sees what was decided without it, and starts again what should run there.
    ///
    /// # Panics
    /// There is no such node.
    pub fn start_node(&self, n: usize) {
        self.nodes[n].set_online(true);
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only ends; a panic of its own was shown when it happened.
            let _ = thread.join();
        }
    }
}

struct Started {
    shared: Arc<Shared>,
    nodes: Vec<Arc<NodeHandle>>,
    stop: oneshot::Sender<()>,
}

/// The life of a kubelet's thread.
async fn serve(
    kubeconfig: &Path,
    options: Options,
    started: oneshot::Sender<Result<Started, HarnessError>>,
) {
    let (stop, stopped) = oneshot::channel();
    match begin(kubeconfig, options).await {
        Ok((shared, nodes)) => {
            tokio::spawn(provisioner::run(shared.clone()));
            let all = nodes.clone();
            let made = Started {
                shared,
                nodes,
                stop,
            };
            if started.send(Ok(made)).is_ok() {
                // Dropping the sender is the signal.
                let _ = stopped.await;
            }
            let farewell = futures::future::join_all(all.iter().map(|node| node.unregister()));
            // A control plane that is gone has no nodes either.
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
        // Who asked may have given up.
        Err(error) => drop(started.send(Err(error))),
    }
}

async fn begin(
    kubeconfig: &Path,
    options: Options,
) -> Result<(Arc<Shared>, Vec<Arc<NodeHandle>>), HarnessError> {
    let dir = tempfile::Builder::new()
        .prefix("brainy-kubelet-")
        .tempdir()
        .map_err(HarnessError::io("make", "a temporary directory"))?
        .keep();
    let keeper = Keeper::start(&dir)?;
    let shared = Arc::new(Shared {
        client: client(kubeconfig).await?,
        images: options.images,
        timing: options.timing,
        addresses: Addresses::reserve()?,
        dir,
        journal: Journal::default(),
        running: Mutex::default(),
        logs: AtomicU64::new(0),
        keeper,
    });
    let mut nodes = Vec::new();
    for n in 0..options.nodes {
        let name = format!("{}-{n}", options.prefix);
        let zones = options.zones.iter().cycle();
        let zone = zones.skip(n).map(String::as_str).next().unwrap_or("zone");
        let node = NodeHandle::start(shared.clone(), name, zone.to_owned()).await?;
        nodes.push(Arc::new(node));
    }
    Ok((shared, nodes))
}

/// `namespace/name`.
fn pod_key(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// A panic of another thread leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
