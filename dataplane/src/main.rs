//! brainyd: starts a node and serves it.
//!
//! The way of a write and of a query begins in [`brainy_dataplane::api`] and goes on in [`brainy_dataplane::node`].

mod import_standalone;
mod options_file;
mod start;

use std::fs::File;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::config::ConfigWatcher;
use brainy_coordination::lease::Identity;
use brainy_dataplane::api::metrics::ApiMetrics;
use brainy_dataplane::api::{self, ApiConfig, ApiKeys, Routers};
use brainy_dataplane::cli::{Cli, ImportStandalone, Invocation, LogFormat, PreStop};
use brainy_dataplane::node::{Node, NodeConfig, rpc};
use brainy_dataplane::pre_stop;
use brainy_http_server::{Options, ServerMetrics, serve_with};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, Stdin};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Registry as Subscribers, reload};

use tikv_jemallocator::Jemalloc;

use start::{Failure, INTERNAL, USAGE, failure};

/// Gives memory back and keeps threads apart: with glibc's allocator a flood of requests left half as much again as the budget in
/// its arenas, and reads waited for their locks. Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Chooses the port of gRPC, or turns it off.
const GRPC_OPTION: &str = "--grpc-listen (or turn it off with --grpc-listen off)";
/// Threads that serve connections, besides those that searches may take.
const SPARE_THREADS: usize = 2;
/// How long others may take to take over what a node has that leaves.
const LEAVE_WITHIN: Duration = Duration::from_secs(20);
/// How long requests under way may take once everything is released.
const GRACE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match Invocation::try_from_args(std::env::args_os()) {
        Ok(Invocation::Serve(cli)) => serve(*cli),
        Ok(Invocation::PreStop(args)) => wait_before_stop(&args),
        Ok(Invocation::ImportStandalone(args)) => import_directory(&args),
        // Help and version are among them, which are no failures.
        Err(error) => error.exit(),
    }
}

/// Ends well whatever happened, once the command line is understood: what comes after it must come in any case.
fn wait_before_stop(args: &PreStop) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime
            .block_on(pre_stop::run(args))
            .map(|finish| finish.to_string())
            .unwrap_or_else(|e| format!("this node cannot be asked: {e}")),
        Err(e) => format!("cannot wait: {e}"),
    };
    eprintln!("brainyd pre-stop: not waiting any longer: {ended}");
    ExitCode::SUCCESS
}

fn import_directory(args: &ImportStandalone) -> ExitCode {
    let ended = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(import_standalone::run(args)),
        Err(e) => Err(failure(INTERNAL)(format!("cannot start: {e}"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            eprintln!("brainyd import-standalone: {message}");
            ExitCode::from(code)
        }
    }
}

fn serve(cli: Cli) -> ExitCode {
    let format = cli.log_format;
    let log = match start_log(&cli) {
        Ok(log) => log,
        Err(message) => {
            eprintln!("brainyd: {message}");
            return ExitCode::from(USAGE);
        }
    };
    // Short searches run on the threads that serve connections ([`brainy_dataplane::node`]), as many at a time as read threads:
    // these are left for everything else.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cli.read_threads() + SPARE_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("brainyd: cannot start: {e}");
            return ExitCode::from(INTERNAL);
        }
    };
    let ended = runtime.block_on(run(cli, log));
    // A read of standard input cannot be cancelled: dropping the runtime would wait for it as long as the parent lives.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            match format {
                LogFormat::Text => eprintln!("brainyd: {message}"),
                LogFormat::Json => tracing::error!(code, "{message}"),
            }
            ExitCode::from(code)
        }
    }
}

type LogHandle = reload::Handle<EnvFilter, Subscribers>;

fn start_log(cli: &Cli) -> Result<LogHandle, String> {
    let text = cli.log_filter.as_deref().unwrap_or("info");
    let filter = EnvFilter::try_new(text).map_err(|e| format!("--log '{text}': {e}"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match cli.log_format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    Ok(handle)
}

async fn run(cli: Cli, log: LogHandle) -> Result<(), Failure> {
    let internal = |e: std::io::Error| failure(INTERNAL)(e.to_string());
    // Before anything else: the first process of a container is not ended by a signal that it has no handler for.
    let mut stop = Stop::watch(cli.exit_with_parent).map_err(internal)?;
    let instance = cli.instance.clone();
    let running = tokio::select! {
        running = start(&cli, log) => running?,
        cause = stop.asked() => {
            tracing::info!(?cause, "stopped before it owned anything");
            return Ok(());
        }
    };
    let cause = tokio::select! {
        cause = stop.asked() => cause,
        () = running.node.superseded() => StopCause::Superseded,
    };
    tracing::info!(?cause, "stopping: releasing what this node owns");
    if matches!(cause, StopCause::Signal) {
        // A second signal is impatience.
        tokio::select! {
            () = running.node.leave(LEAVE_WITHIN) => {}
            _ = stop.asked() => tracing::info!("not waiting for others to take over"),
            () = running.node.superseded() => {}
        }
    }
    // The server goes on meanwhile: requests find out who has the partitions now.
    if tokio::time::timeout(cause.patience(), running.node.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            "not everything was released in time; whoever takes over finds it in the log"
        );
    }
    running.closing.cancel();
    for server in running.servers {
        server
            .await
            .map_err(|e| failure(INTERNAL)(format!("the HTTP server ended badly: {e}")))?;
    }
    if matches!(cause, StopCause::Superseded) {
        return Err(start::superseded(&instance));
    }
    Ok(())
}

/// A node that serves.
struct Running {
    node: Node,
    /// Ends the servers.
    closing: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    /// Held until the process ends.
    _data_dir: File,
}

async fn start(cli: &Cli, log: LogHandle) -> Result<Running, Failure> {
    let keys = ApiKeys::new(
        cli.api_key.clone(),
        cli.read_write_api_key.clone(),
        cli.read_only_api_key.clone(),
    )
    .map_err(|e| failure(USAGE)(e.to_string()))?;
    let tls = start::open_tls(cli)?;
    let listener = start::listen(cli.listen, "--listen").await?;
    let address = listener
        .local_addr()
        .map_err(|e| failure(INTERNAL)(e.to_string()))?;
    let grpc = match cli.grpc_address() {
        Some(address) => Some(start::listen(address, GRPC_OPTION).await?),
        None => None,
    };
    let advertise = cli.advertised(address).map_err(failure(USAGE))?;
    if !address.ip().is_loopback() && keys.is_empty() {
        tracing::warn!(
            "{address} is open to the network and no API key is set: anybody who reaches it may do anything"
        );
    }
    let data_dir = start::take_data_dir(&cli.data_dir)?;
    let store = start::open_store(cli).await?;
    let self_coordination = start::self_coordination(cli, &store).await?;
    start::agree_on_writers(cli, &store).await?;
    let exchange = start::exchange(cli).await?;
    let watcher = ConfigWatcher::new(store.clone(), cli.local_config())
        .map_err(|e| failure(USAGE)(e.to_string()))?;
    let settings = watcher.subscribe();
    if let Some(file) = cli.file.clone() {
        options_file::follow(file, watcher.clone())
            .map_err(|e| failure(INTERNAL)(e.to_string()))?;
    }
    let config = NodeConfig {
        identity: Identity::new(cli.instance.clone()),
        role: cli.cluster_role(),
        self_coordination,
        advertise,
        data_dir: cli.data_dir.clone(),
        store,
        gc_grace: cli.gc_grace(),
        partitions: cli.default_partitions(),
        memory_budget: cli.memory_budget(),
        disk_budget: cli.disk_budget(),
        read_threads: cli.read_threads(),
        multi_writer: cli.multi_writer,
        conflict_resolution: cli.conflict_resolution,
        exchange,
        build: cli.build_options(),
        cluster_key: cli.api_key.clone(),
        coordination: cli.coordination().map_err(failure(USAGE))?,
        tls: tls.as_ref().map(|tls| tls.client.clone().into()),
    };
    let mut registry = Registry::default();
    let metrics = ApiMetrics::register(&mut registry);
    let connections = ServerMetrics::register(&mut registry);
    let node = Node::start(config, watcher, registry)
        .await
        .map_err(|e| start::node_failure(&e))?;
    if cli.log_filter.is_none() {
        tokio::spawn(follow_log_level(settings, log));
    }
    let Routers { all, grpc: alone } = api::routers(
        Arc::new(node.clone()),
        ApiConfig {
            api_keys: keys.clone(),
            metrics,
            requests: node.requests().clone(),
        },
    );
    let app = api::without_browsers(all.merge(rpc::router(node.clone())), &keys);
    tracing::info!(%address, tls = tls.is_some(), role = ?cli.role, instance = %cli.instance, "serving");
    let closing = CancellationToken::new();
    let options = Options {
        tls: tls.map(|tls| tls.server),
        limits: cli.server.limits(),
        metrics: connections,
        grace: GRACE,
    };
    let mut servers = Vec::new();
    if let Some(listener) = grpc {
        let address = listener.local_addr();
        let address = address.map_err(|e| failure(INTERNAL)(e.to_string()))?;
        tracing::info!(%address, "serving gRPC alone");
        let app = api::without_browsers(alone, &keys);
        let serving = serve_with(listener, app, closing.clone(), options.clone());
        servers.push(tokio::spawn(serving));
    }
    servers.push(tokio::spawn(serve_with(
        listener,
        app,
        closing.clone(),
        options,
    )));
    Ok(Running {
        node,
        closing,
        servers,
        _data_dir: data_dir,
    })
}

/// A level of Brainy's own lines. Those of libraries stay at `info` at most: an SDK's debug lines would bury everything.
fn filter_for(level: &str) -> String {
    match level {
        "debug" | "trace" => {
            format!(
                "info,async_nats=warn,brainyd={level},brainy_dataplane={level},brainy_coordination={level}"
            )
        }
        // The client of NATS tells of every try to connect; its back end tells of what changes.
        "info" => "info,async_nats=warn".to_owned(),
        other => other.to_owned(),
    }
}

/// Keeps the log level what the shared configuration says.
async fn follow_log_level(
    mut settings: watch::Receiver<brainy_coordination::config::EffectiveConfig>,
    log: LogHandle,
) {
    loop {
        let level = settings.borrow_and_update().log_level.clone();
        if let Ok(filter) = EnvFilter::try_new(filter_for(&level))
            && let Err(error) = log.reload(filter)
        {
            tracing::warn!(%error, level, "the log level stays as it was");
        }
        if settings.changed().await.is_err() {
            return;
        }
    }
}

/// Why the process stops.
#[derive(Clone, Copy, Debug)]
enum StopCause {
    Signal,
    ParentGone,
    Superseded,
}

impl StopCause {
    /// How long releasing may take. Without the parent there may be nobody to release to, and no bucket.
    fn patience(self) -> Duration {
        match self {
            StopCause::Signal => Duration::from_secs(25),
            StopCause::ParentGone | StopCause::Superseded => Duration::from_secs(3),
        }
    }
}

/// What asks this process to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    /// Open as long as the parent lives, if that is watched.
    parent: Option<Stdin>,
}

impl Stop {
    fn watch(exit_with_parent: bool) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            parent: exit_with_parent.then(tokio::io::stdin),
        })
    }

    /// Returns at SIGTERM, at SIGINT, and when the parent is gone if it is watched.
    async fn asked(&mut self) -> StopCause {
        let parent = &mut self.parent;
        let parent_gone = async {
            let Some(stdin) = parent else {
                return std::future::pending().await;
            };
            let mut buffer = [0; 64];
            while stdin.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
        };
        tokio::select! {
            _ = self.terminate.recv() => StopCause::Signal,
            _ = self.interrupt.recv() => StopCause::Signal,
            () = parent_gone => StopCause::ParentGone,
        }
    }
}
