//! A cluster on one machine: processes in place of pods, an embedded S3 server in place of a bucket.

mod cluster;
mod data_dir;
mod fleet;
mod follow;
pub(crate) mod http;
mod process;
mod screen;
mod spec;
mod storage;
mod supervise;

use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brainy_crds::{BrainyCluster, parse_manifest};
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;

use crate::cli::LocalArgs;
use crate::error::OperatorError;
use crate::hint::Messenger;
use crate::keeper::Keeper;
use crate::proxy::{Proxy, Routes};
use cluster::{Cluster, Parts};
use data_dir::DataDir;
use fleet::{Common, Fleet};
use follow::ManifestFile;
use screen::Screen;
use storage::Bucket;

/// Where clusters are kept unless told otherwise, below the working directory.
const DATA_ROOT: &str = ".brainy";
/// Variables with API keys, which instances inherit.
const ADMIN_KEY: &str = "BRAINY_API_KEY";

/// Runs a cluster until a signal ends it.
///
/// # Errors
/// Why it could not start or had to stop.
pub(crate) fn run(args: LocalArgs) -> Result<(), OperatorError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| OperatorError::System {
            what: "cannot start the runtime",
            source,
        })?;
    runtime.block_on(serve(args))
}

async fn serve(args: LocalArgs) -> Result<(), OperatorError> {
    let (manifest, cluster) = read_manifest(&args.file)?;
    let admin_key = std::env::var(ADMIN_KEY).ok().filter(|key| !key.is_empty());
    if cluster.spec.api_keys.is_some() && admin_key.is_none() {
        return Err(OperatorError::NoApiKey);
    }
    let name = cluster.metadata.name.clone().unwrap_or_default();
    let brainyd = find_brainyd(args.brainyd.as_deref())?;
    let listener = listen(args.listen, args.port, "--port").await?;
    let address = listener.local_addr().map_err(no_address)?;
    let grpc_port = args.grpc_port.unwrap_or(match args.port {
        0 => 0,
        port => port.wrapping_add(1),
    });
    let grpc_listener = listen(args.listen, grpc_port, "--grpc-port").await?;
    let grpc_address = grpc_listener.local_addr().map_err(no_address)?;
    let root = args
        .data_dir
        .clone()
        .unwrap_or_else(|| Path::new(DATA_ROOT).join(&name));
    let data = Arc::new(DataDir::open(root)?);
    let bucket = Bucket::open(&cluster, &data, args.s3_port).await?;
    bucket.take_from_nodes(&cluster).await?;
    let screen = Screen::open(args.plain, args.log_format, &data.log("operator"))?;
    if !args.listen.is_loopback() && admin_key.is_none() {
        tracing::warn!(
            "{} is open to the network and no API key is set: anybody who reaches it may do anything",
            address
        );
    }
    let ignored = spec::without_effect(&cluster.spec);
    if !ignored.is_empty() {
        tracing::info!("without effect on one machine: {}", ignored.join(", "));
    }

    let client = http::client()?;
    let (events, news) = unbounded_channel();
    let mut arguments = bucket.arguments.clone();
    arguments.extend([
        "--log-format".to_owned(),
        args.log_format.as_str().to_owned(),
    ]);
    let common = Common {
        brainyd,
        arguments,
        environment: bucket.environment.clone(),
    };
    let fleet = Fleet::new(common, Arc::clone(&data), client.clone(), events)?;
    let keeper = Keeper::new(bucket.store.clone())?;
    let routes = Routes {
        ready: Vec::new(),
        missing: "the cluster starts".to_owned(),
        max_body: 0,
    };
    let parts = Parts {
        name,
        url: format!("http://{address}"),
        grpc: grpc_address.to_string(),
        storage: bucket.description.clone(),
        ready_file: args.ready_file.clone(),
        data,
        manifest,
        proxy: Proxy::new(client, routes),
        messenger: Messenger::plain().map_err(|error| OperatorError::System {
            what: "cannot make an HTTP client",
            source: std::io::Error::other(error),
        })?,
        admin_key,
        fleet,
        news,
        keeper: Arc::new(keeper),
        screen,
    };
    let ended = match Cluster::new(parts, cluster) {
        Ok(cluster) => cluster.run(listener, grpc_listener).await,
        Err(error) => Err(error),
    };
    bucket.close().await;
    ended
}

fn read_manifest(path: &Path) -> Result<(ManifestFile, BrainyCluster), OperatorError> {
    let (manifest, text) =
        ManifestFile::open(path).map_err(|source| OperatorError::ReadManifest {
            path: path.to_owned(),
            source,
        })?;
    let cluster = parse_manifest(&text).map_err(|source| OperatorError::Manifest {
        path: path.to_owned(),
        source,
    })?;
    let findings = spec::not_local(&cluster);
    if findings.is_empty() {
        Ok((manifest, cluster))
    } else {
        Err(OperatorError::NotLocal {
            path: path.to_owned(),
            findings,
        })
    }
}

fn no_address(source: std::io::Error) -> OperatorError {
    OperatorError::System {
        what: "no local address",
        source,
    }
}

async fn listen(
    address: IpAddr,
    port: u16,
    flag: &'static str,
) -> Result<TcpListener, OperatorError> {
    TcpListener::bind((address, port)).await.map_err(|source| {
        let host = address.to_string();
        match source.kind() {
            ErrorKind::AddrNotAvailable | ErrorKind::PermissionDenied => {
                OperatorError::NoSuchAddress { host, port, source }
            }
            _ => OperatorError::PortTaken {
                host,
                port,
                flag,
                source,
            },
        }
    })
}

/// The data plane's program: the one that was named, or the one beside this program.
fn find_brainyd(named: Option<&Path>) -> Result<PathBuf, OperatorError> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()
            .map_err(|source| OperatorError::System {
                what: "cannot find this program's own place",
                source,
            })?
            .with_file_name("brainyd"),
    };
    let no = |message: String| OperatorError::NoBrainyd {
        path: path.clone(),
        message,
    };
    let metadata = std::fs::metadata(&path).map_err(|error| no(error.to_string()))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(no("not an executable file".to_owned()));
    }
    // Started from elsewhere later, if the name is relative.
    path.canonicalize().map_err(|error| no(error.to_string()))
}
