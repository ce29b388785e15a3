//! brainyd: starts a node and serves it.
//!
//! The way of a write and of a query begins in [`brainy_dataplane::api`] and goes on in [`brainy_dataplane::node`].

use std::future::IntoFuture;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use brainy_coordination::config::ConfigWatcher;
use brainy_coordination::lease::Identity;
use brainy_coordination::store::dir::DirStore;
use brainy_coordination::store::probe::{ProbeOptions, probe_s3};
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::s3::S3Store;
use brainy_coordination::store::{ObjectStore, StoreError};
use brainy_dataplane::api::metrics::ApiMetrics;
use brainy_dataplane::api::{self, ApiConfig, ApiKeys};
use brainy_dataplane::cli::{Cli, LogFormat};
use brainy_dataplane::node::{Node, NodeConfig, rpc};
use clap::Parser;
use prometheus_client::registry::Registry;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Registry as Subscribers, reload};

/// Why brainyd ends with an error, with its exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

const USAGE: u8 = 2;
const BUCKET_UNUSABLE: u8 = 69;
const INTERNAL: u8 = 70;
const BUSY: u8 = 75;

fn failure(code: u8) -> impl Fn(String) -> Failure {
    move |message| Failure { code, message }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = match start_log(&cli) {
        Ok(log) => log,
        Err(message) => {
            eprintln!("brainyd: {message}");
            return ExitCode::from(USAGE);
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
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
            tracing::error!(code, "{message}");
            eprintln!("brainyd: {message}");
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
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(handle)
}

async fn run(cli: Cli, log: LogHandle) -> Result<(), Failure> {
    let keys = ApiKeys::new(
        cli.api_key.clone(),
        cli.read_write_api_key.clone(),
        cli.read_only_api_key.clone(),
    )
    .map_err(|e| failure(USAGE)(e.to_string()))?;
    let listener = TcpListener::bind(cli.listen).await.map_err(|e| {
        failure(BUSY)(format!(
            "cannot listen on {}: {e}. Choose another address with --listen",
            cli.listen
        ))
    })?;
    let address = listener
        .local_addr()
        .map_err(|e| failure(INTERNAL)(e.to_string()))?;
    let store = open_store(&cli).await?;
    let watcher = ConfigWatcher::new(store.clone(), cli.local_config())
        .map_err(|e| failure(USAGE)(e.to_string()))?;
    let settings = watcher.subscribe();
    let config = NodeConfig {
        identity: Identity::new(cli.instance.clone()),
        role: cli.cluster_role(),
        advertise: cli.advertise.clone().unwrap_or(address.to_string()),
        data_dir: cli.data_dir.clone(),
        store,
        gc_grace: cli.gc_grace(),
        partitions: cli.default_partitions(),
        memory_budget: cli.memory_budget(),
        build: cli.build_options(),
        cluster_key: cli.api_key.clone(),
    };
    let mut registry = Registry::default();
    let metrics = ApiMetrics::register(&mut registry);
    let node = Node::start(config, watcher, registry)
        .await
        .map_err(|e| failure(INTERNAL)(e.to_string()))?;
    if cli.log_filter.is_none() {
        tokio::spawn(follow_log_level(settings, log));
    }
    let app = api::router(
        Arc::new(node.clone()),
        ApiConfig {
            api_keys: keys,
            metrics,
        },
    )
    .merge(rpc::router(node.clone()));
    tracing::info!(%address, role = ?cli.role, instance = %cli.instance, "serving");
    let listener = listener.tap_io(|io| {
        // Small requests and answers must not wait for more bytes. A socket that refuses the option still works.
        let _refused = io.set_nodelay(true);
    });
    let server = tokio::spawn(axum::serve(listener, app).into_future());
    let cause = wait_for_stop(cli.exit_with_parent)
        .await
        .map_err(|e| failure(INTERNAL)(e.to_string()))?;
    tracing::info!(?cause, "stopping: releasing what this node owns");
    // The server goes on meanwhile: requests find out who has the partitions now.
    if tokio::time::timeout(cause.patience(), node.shutdown()).await.is_err() {
        tracing::warn!("not everything was released in time; whoever takes over finds it in the log");
    }
    server.abort();
    Ok(())
}

async fn open_store(cli: &Cli) -> Result<Store, Failure> {
    let Some(config) = cli.s3() else {
        let store = DirStore::open(cli.data_dir.join("store")).map_err(|e| store_failure(&e))?;
        return Ok(Store::new(store as Arc<dyn ObjectStore>, RetryPolicy::default()));
    };
    let store = S3Store::connect(config)
        .await
        .map_err(|e| store_failure(&e))?;
    // A few contenders are enough to tell, and kind to stores that make losers wait.
    let options = ProbeOptions {
        contenders: 4,
        ..ProbeOptions::default()
    };
    let report = probe_s3(&store, options)
        .await
        .map_err(|e| failure(BUCKET_UNUSABLE)(e.to_string()))?;
    tracing::info!(took = ?report.took, "the bucket keeps conditional writes");
    Ok(Store::new(store as Arc<dyn ObjectStore>, RetryPolicy::default()))
}

fn store_failure(error: &StoreError) -> Failure {
    let code = if error.is_transient() {
        BUSY
    } else {
        BUCKET_UNUSABLE
    };
    failure(code)(error.to_string())
}

/// A level of Brainy's own lines. Those of libraries stay at `info` at most: an SDK's debug lines would bury everything.
fn filter_for(level: &str) -> String {
    match level {
        "debug" | "trace" => {
            format!("info,brainyd={level},brainy_dataplane={level},brainy_coordination={level}")
        }
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
}

impl StopCause {
    /// How long releasing may take. Without the parent there may be nobody to release to, and no bucket.
    fn patience(self) -> Duration {
        match self {
            StopCause::Signal => Duration::from_secs(25),
            StopCause::ParentGone => Duration::from_secs(3),
        }
    }
}

/// Returns at SIGTERM, at SIGINT, and when the parent is gone if it is to be watched.
async fn wait_for_stop(exit_with_parent: bool) -> std::io::Result<StopCause> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let parent_gone = async {
        if !exit_with_parent {
            return std::future::pending().await;
        }
        let mut stdin = tokio::io::stdin();
        let mut buffer = [0; 64];
        while stdin.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    };
    tokio::select! {
        _ = terminate.recv() => Ok(StopCause::Signal),
        _ = interrupt.recv() => Ok(StopCause::Signal),
        () = parent_gone => Ok(StopCause::ParentGone),
    }
}
