//! The operator in Kubernetes: the edge around [`reconcile`](crate::reconcile) that observes pods and acts with objects.
//!
//! | file | what |
//! |---|---|
//! | [`streams`], [`index`] | watches, and what of them is kept |
//! | [`session`] | the memory of one cluster, and its loop: woken by watches, by the bucket, by time |
//! | [`pass`] | one look at a cluster: the steps in their order |
//! | [`dereference`], [`validate`], [`prepare`], [`apply`], [`rebalance`], [`act`], [`status`] | the steps |
//! | [`observe`], [`replicas`] | pods as the planner sees them; how many each StatefulSet keeps |
//! | [`finalize`] | the end of a cluster whose data goes with it |
//! | [`leader`], [`events`], [`metrics`], [`serve`] | what every operator needs |
//!
//! Each cluster has a task of its own, so that one that fails or waits delays no other. Only what is seen is changed: pods are deleted
//! with their uid and version as preconditions, the table in S3 is written under its condition. Two operators at once cost
//! requests and nothing else.

mod act;
mod apply;
mod context;
mod dereference;
mod error;
mod events;
mod finalize;
mod index;
mod leader;
mod metrics;
mod observe;
mod pass;
mod prepare;
mod rebalance;
mod replicas;
mod retry;
mod serve;
mod session;
mod status;
mod streams;
mod validate;

use std::collections::HashMap;
use std::io::{ErrorKind, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::store::s3::Connector;
use brainy_crds::BrainyCluster;
use kube::api::ListParams;
use kube::client::ClientBuilder;
use kube::{Api, Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::util::MapRequestLayer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::cli::{LogFormat, RunArgs};
use crate::error::OperatorError;
use crate::hint::Messenger;
use context::Context;
use events::Events;
use index::{Index, Key, News, Stored};
use leader::Election;
use metrics::Metrics;
use serve::Health;
use session::Session;
use streams::Streams;

/// A request that takes longer has failed. Watches are not bounded by it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// How often, and how long apart, the API server is asked at the start before it counts as absent.
const ATTEMPTS: u32 = 10;
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);
/// How long the work under way may take at the end.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the operator until a signal ends it.
///
/// # Errors
/// Why it could not start or had to stop.
pub(crate) fn run(args: RunArgs) -> Result<(), OperatorError> {
    log(&args);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| OperatorError::System {
            what: "cannot start the runtime",
            source,
        })?;
    let outcome = runtime.block_on(start(args));
    // Work of a leader that is none any more ends here, whatever it waits for.
    runtime.shutdown_background();
    outcome
}

fn log(args: &RunArgs) {
    let filter = EnvFilter::try_new(&args.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let _set_before_in_a_test = match args.log_format {
        LogFormat::Text => {
            let ansi = std::io::stderr().is_terminal();
            let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
            registry.with(layer).try_init()
        }
        LogFormat::Json => registry
            .with(
                fmt::layer()
                    .with_writer(std::io::stderr)
                    .json()
                    .flatten_event(true),
            )
            .try_init(),
    };
}

async fn start(mut args: RunArgs) -> Result<(), OperatorError> {
    // An empty variable names none.
    args.namespaces.retain(|namespace| !namespace.is_empty());
    let stop = stop_signal()?;
    let config = Config::infer()
        .await
        .map_err(|error| OperatorError::NoKubeConfig(error.to_string()))?;
    let metrics = Arc::new(Metrics::new());
    let health = Health::new(Arc::clone(&metrics));
    let listener = listen(&args.metrics_listen).await?;
    tokio::spawn(health.clone().serve(listener, stop.clone()));
    let mut requests = config.clone();
    requests.read_timeout = Some(REQUEST_TIMEOUT);
    let client = client(requests, &metrics)?;
    tokio::select! {
        reached = reach(&client, &args.namespaces) => reached?,
        () = stop.cancelled() => return Ok(()),
    }
    let identity = identity();
    let watching = self::client(config.clone(), &metrics)?;
    if !args.leader_elect {
        tracing::warn!("leader election is off");
        return work(&args, client, watching, &metrics, &health, &identity, &stop).await;
    }
    let namespace = args.lease_namespace.as_ref();
    let namespace = namespace.unwrap_or(&config.default_namespace).clone();
    let election = Election::new(config, &namespace, &args.lease_name, &identity).await?;
    health.set_ready();
    tracing::info!(
        "standing by for the Lease {namespace}/{} as {identity}",
        args.lease_name
    );
    tokio::select! {
        () = election.won() => {}
        () = stop.cancelled() => return Ok(()),
    }
    tracing::info!("leading");
    tokio::select! {
        done = work(&args, client, watching, &metrics, &health, &identity, &stop) => {
            election.release().await;
            done
        }
        why = election.lost() => Err(OperatorError::LostLease(why)),
    }
}

/// Cancelled by SIGTERM or SIGINT.
fn stop_signal() -> Result<CancellationToken, OperatorError> {
    let listen = |kind| {
        signal(kind).map_err(|source| OperatorError::System {
            what: "cannot listen for signals",
            source,
        })
    };
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stopped.cancel();
    });
    Ok(stop)
}

async fn listen(address: &std::net::SocketAddr) -> Result<TcpListener, OperatorError> {
    TcpListener::bind(address).await.map_err(|source| {
        let (host, port) = (address.ip().to_string(), address.port());
        match source.kind() {
            ErrorKind::AddrNotAvailable | ErrorKind::PermissionDenied => {
                OperatorError::NoSuchAddress { host, port, source }
            }
            _ => OperatorError::PortTaken {
                host,
                port,
                flag: "--metrics-listen",
                source,
            },
        }
    })
}

/// A client whose requests are counted.
fn client(config: Config, metrics: &Arc<Metrics>) -> Result<Client, OperatorError> {
    let metrics = Arc::clone(metrics);
    let count = MapRequestLayer::new(move |request: http::Request<kube::client::Body>| {
        metrics.requested(request.method());
        request
    });
    let builder = ClientBuilder::try_from(config)
        .map_err(|error| OperatorError::NoKubeConfig(error.to_string()))?;
    Ok(builder.with_layer(&count).build())
}

/// Under which name this process stands for the Lease: the pod's, and something that no earlier process of it had.
fn identity() -> String {
    let pod = std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty());
    let pod = pod.unwrap_or_else(|| "brainy-operator".to_owned());
    format!("{pod}-{:08x}", rand::random::<u32>())
}

/// Makes sure that BrainyClusters can be listed, so that what is missing is said at once and in one place.
async fn reach(client: &Client, namespaces: &[String]) -> Result<(), OperatorError> {
    let scopes: Vec<Api<BrainyCluster>> = match namespaces {
        [] => vec![Api::all(client.clone())],
        some => some
            .iter()
            .map(|namespace| Api::namespaced(client.clone(), namespace))
            .collect(),
    };
    // Nothing is read of the objects here: one that cannot be read is no reason not to start.
    let parameters = ListParams::default().limit(1);
    for api in scopes {
        let mut attempt = 1;
        loop {
            let Err(error) = api.list_metadata(&parameters).await else {
                break;
            };
            let message = error::said(&error);
            let answered = matches!(error, kube::Error::Api(ref status) if status.code < 500 && status.code != 429);
            if answered || attempt >= ATTEMPTS {
                return Err(OperatorError::ApiServer { message });
            }
            tracing::warn!("the API server does not answer: {message}");
            attempt += 1;
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }
    Ok(())
}

/// Watches and works until `stop`.
async fn work(
    args: &RunArgs,
    client: Client,
    watching: Client,
    metrics: &Arc<Metrics>,
    health: &Health,
    identity: &str,
    stop: &CancellationToken,
) -> Result<(), OperatorError> {
    let (sender, news) = unbounded_channel();
    let index = Arc::new(Index::new(sender));
    let streams = Streams::new(
        watching,
        args.namespaces.clone(),
        Arc::clone(&index),
        Arc::clone(metrics),
    );
    let context = Arc::new(Context {
        events: Events::start(client.clone(), identity),
        client,
        index,
        streams: Arc::new(streams),
        metrics: Arc::clone(metrics),
        connector: Connector::new(),
        probes: Context::probe_turns(),
        messenger: Messenger::plain().map_err(|error| OperatorError::System {
            what: "cannot make an HTTP client",
            source: std::io::Error::other(error),
        })?,
        default_image: args.default_image.clone(),
    });
    metrics.leads(true);
    context.streams.start();
    tokio::select! {
        () = context.streams.synced() => {}
        () = stop.cancelled() => return Ok(()),
    }
    health.set_ready();
    tracing::info!("watching {}", scope(&args.namespaces));
    Sessions::new(context).run(news, stop).await;
    metrics.leads(false);
    Ok(())
}

fn scope(namespaces: &[String]) -> String {
    match namespaces {
        [] => "all namespaces".to_owned(),
        some => format!("the namespaces {}", some.join(", ")),
    }
}

/// The work on all clusters, a task for each.
struct Sessions {
    context: Arc<Context>,
    running: HashMap<Key, Running>,
    tasks: JoinSet<()>,
}

struct Running {
    wake: Arc<Notify>,
    stop: CancellationToken,
}

impl Sessions {
    fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            running: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Passes news on until `stop`, then lets the work under way end.
    async fn run(mut self, mut news: UnboundedReceiver<News>, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(news) = news.recv() => self.take_up(news),
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the work on a cluster ended badly and begins anew");
                        self.restart_ended();
                    }
                }
            }
        }
        for running in self.running.values() {
            running.stop.cancel();
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!("not all work ended in time and was cut");
        }
    }

    fn take_up(&mut self, news: News) {
        match news {
            News::Changed(key) => match self.running.get(&key) {
                Some(running) => running.wake.notify_one(),
                // A pod of a cluster that is gone, for example.
                None if self.context.index.cluster(&key).is_none() => {}
                None => self.begin(key),
            },
            News::Gone(key) => {
                if let Some(running) = self.running.remove(&key) {
                    tracing::info!(cluster = %key, "the BrainyCluster is gone");
                    running.stop.cancel();
                }
                self.context.metrics.forget(&key);
            }
        }
        self.count();
    }

    fn begin(&mut self, key: Key) {
        let running = Running {
            wake: Arc::new(Notify::new()),
            stop: CancellationToken::new(),
        };
        let session = Session::new(key.clone());
        let context = Arc::clone(&self.context);
        let (wake, stop) = (Arc::clone(&running.wake), running.stop.clone());
        self.tasks.spawn(session.run(context, wake, stop));
        self.running.insert(key, running);
    }

    /// After a panic, which is a defect of ours: whoever lost its task gets another.
    fn restart_ended(&mut self) {
        let lost: Vec<Key> = self
            .running
            .iter()
            .filter(|(_, running)| Arc::strong_count(&running.wake) == 1)
            .map(|(key, _)| key.clone())
            .collect();
        for key in lost {
            self.begin(key);
        }
    }

    fn count(&self) {
        let unreadable = self.running.keys().filter(|key| {
            let stored = self.context.index.cluster(key);
            matches!(stored, Some(Stored::Invalid(_)))
        });
        let unreadable = unreadable.count();
        self.context.metrics.count(self.running.len(), unreadable);
    }
}
