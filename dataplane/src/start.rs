//! What a start needs from outside, an address, a directory, a bucket, and what is said when it is not to be had.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brainy_conflict::Policy;
use brainy_coordination::assignment::Role;
use brainy_coordination::document::DocumentError;
use brainy_coordination::exchange::ReadOnly;
use brainy_coordination::keys;
use brainy_coordination::self_coordination::ownership::{self, Planner, Wish};
use brainy_coordination::store::dir::DirStore;
use brainy_coordination::store::probe::{ProbeError, ProbeOptions, probe_s3};
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::s3::{S3Config, S3Store};
use brainy_coordination::store::{ObjectStore, StoreError};
use brainy_coordination::types::InstanceId;
use brainy_coordination::writers;
use brainy_dataplane::cli::Cli;
use brainy_dataplane::node::{ExchangeConfig, PeerConfig, SelfCoordination, StartError};
use brainy_http_server::tls::{self, ServerTls, TlsError};
use tokio::net::TcpListener;
use tokio_rustls::rustls::ClientConfig;

/// Exit code: wrong options.
pub(crate) const USAGE: u8 = 2;
/// Exit code: the bucket or the data directory cannot be used.
pub(crate) const UNUSABLE: u8 = 69;
/// Exit code: an error of Brainy itself.
pub(crate) const INTERNAL: u8 = 70;
/// Exit code: try again.
const BUSY: u8 = 75;
/// Exit code: another process has the name of this one.
const SUPERSEDED: u8 = 76;

/// Longest time for the checks of the bucket.
const PROBE_DEADLINE: Duration = Duration::from_secs(60);
/// What the SDK says when its chain ends without credentials. Outside AWS the end of the chain, the instance's metadata,
/// does not answer at all.
const NO_CREDENTIALS: [&str; 5] = [
    "CredentialsNotLoaded",
    "no providers in chain provided credentials",
    "the credential provider was not enabled",
    "identity resolver timed out",
    "failed to load IMDS",
];

/// Why brainyd ends with an error, with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

/// A failure with `code`, of a message.
pub(crate) fn failure(code: u8) -> impl Fn(String) -> Failure {
    move |message| Failure { code, message }
}

/// Listens on `address`, which `option` chooses.
///
/// # Errors
/// Whether another address is needed, or this one later.
pub(crate) async fn listen(
    address: SocketAddr,
    option: &'static str,
) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|e| match e.kind() {
        ErrorKind::AddrNotAvailable | ErrorKind::PermissionDenied => failure(USAGE)(format!(
            "cannot listen on {address}: {e}. Choose an address of this machine and a port that you may use with {option}"
        )),
        _ => failure(BUSY)(format!(
            "cannot listen on {address}: {e}. Stop what listens there, or choose another address with {option}"
        )),
    })
}

/// How this node serves and asks over TLS.
pub(crate) struct Tls {
    pub(crate) server: ServerTls,
    pub(crate) client: Arc<ClientConfig>,
}

/// Reads the files of the TLS settings, if there are any.
///
/// # Errors
/// Which of them cannot be used.
pub(crate) fn open_tls(cli: &Cli) -> Result<Option<Tls>, Failure> {
    let (Some(cert), Some(key)) = (&cli.tls_cert, &cli.tls_key) else {
        return Ok(None);
    };
    let load = || {
        Ok(Tls {
            server: ServerTls::load(cert, key)?,
            client: tls::client(cli.tls_ca.as_deref())?,
        })
    };
    load().map(Some).map_err(|e: TlsError| {
        failure(UNUSABLE)(format!("{e}, with --tls-cert, --tls-key, --tls-ca"))
    })
}

/// Makes the data directory if need be, for the owner only, and takes it for as long as the file is held.
///
/// # Errors
/// Another process has it, or the disk refuses.
pub(crate) fn take_data_dir(dir: &Path) -> Result<File, Failure> {
    let refused = |e: std::io::Error| {
        failure(UNUSABLE)(format!(
            "cannot use the data directory {}: {e}. Check permissions and free space, or choose another with --data-dir",
            dir.display()
        ))
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(refused)?;
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("lock"))
        .map_err(refused)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(failure(BUSY)(format!(
            "the data directory {} is in use by another brainyd. Stop that one, or choose another with --data-dir",
            dir.display()
        ))),
        Err(TryLockError::Error(e)) => Err(refused(e)),
    }
}

/// The store of the cluster, checked; or, standalone, the one in the data directory.
///
/// # Errors
/// Why it cannot be used, by name.
pub(crate) async fn open_store(cli: &Cli) -> Result<Store, Failure> {
    let Some(config) = cli.s3() else {
        let store = DirStore::open(cli.data_dir.join("store")).map_err(|e| store_failure(&e))?;
        return Ok(Store::new(
            store as Arc<dyn ObjectStore>,
            RetryPolicy::default(),
        ));
    };
    open_bucket(config).await
}

/// The bucket, checked.
///
/// # Errors
/// Why it cannot be used, by name.
pub(crate) async fn open_bucket(config: S3Config) -> Result<Store, Failure> {
    let endpoint = config.endpoint.as_deref().unwrap_or("AWS");
    let place = format!("the bucket '{}' at {endpoint}", config.bucket);
    let store = S3Store::connect(config)
        .await
        .map_err(|e| store_failure(&e))?;
    // A few contenders are enough to tell, and kind to stores that make losers wait.
    let options = ProbeOptions {
        contenders: 4,
        deadline: PROBE_DEADLINE,
    };
    let report = probe_s3(&store, options)
        .await
        .map_err(|e| bucket_failure(&place, &e))?;
    tracing::info!(took = ?report.took, "the bucket keeps conditional writes");
    Ok(Store::new(
        store as Arc<dyn ObjectStore>,
        RetryPolicy::default(),
    ))
}

/// Makes sure that all nodes of the cluster know of lanes, or none ([`brainy_coordination::writers`]).
///
/// # Errors
/// A `--multi-writer` that does not fit the role or what the cluster's other nodes were told.
pub(crate) async fn agree_on_writers(cli: &Cli, store: &Store) -> Result<(), Failure> {
    let role = cli.cluster_role();
    if cli.multi_writer && role != Some(Role::Hybrid) {
        return Err(failure(USAGE)(
            "--multi-writer is for --role hybrid: every node of such a cluster reads and writes"
                .to_owned(),
        ));
    }
    if !cli.multi_writer && cli.conflict_resolution != Policy::LastWriteWins {
        return Err(failure(USAGE)(format!(
            "--conflict-resolution {} needs --multi-writer: with one writer there are no conflicts",
            cli.conflict_resolution
        )));
    }
    if role.is_none() {
        return Ok(());
    }
    let told = cli.multi_writer.then(|| cli.conflict_resolution.as_str());
    let agreed = writers::agree(store, told).await;
    if agreed.map_err(|e| node_failure(&e.into()))? {
        return Ok(());
    }
    Err(failure(USAGE)(format!(
        "this node was told --multi-writer={} --conflict-resolution={}, and the other nodes of the cluster something else, as {} says: \
         all have to agree",
        cli.multi_writer,
        cli.conflict_resolution,
        keys::WRITERS
    )))
}

/// Longest time for a request to another cluster's bucket, with its repetitions.
const PEER_DEADLINE: Duration = Duration::from_secs(10);

/// The clusters to exchange with. None of them is asked for anything yet: one that is away holds up no start.
///
/// # Errors
/// Options that contradict each other.
pub(crate) async fn exchange(cli: &Cli) -> Result<ExchangeConfig, Failure> {
    let mut peers = Vec::new();
    for peer in cli.exchange.peers().map_err(failure(USAGE))? {
        let config = peer
            .s3(|name| std::env::var(name).ok())
            .map_err(failure(USAGE))?;
        let store = S3Store::connect(config)
            .await
            .map_err(|e| store_failure(&e))?;
        let policy = RetryPolicy {
            deadline: PEER_DEADLINE,
            ..RetryPolicy::default()
        };
        peers.push(PeerConfig {
            name: peer.name.clone(),
            store: Store::new(ReadOnly::new(store), policy),
        });
    }
    Ok(ExchangeConfig {
        peers,
        poll: cli.exchange.poll(),
    })
}

fn bucket_failure(place: &str, error: &ProbeError) -> Failure {
    let text = error.to_string();
    if NO_CREDENTIALS.iter().any(|said| text.contains(said)) {
        return failure(UNUSABLE)(format!(
            "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or run with a role (for {place})"
        ));
    }
    let unreachable = match error {
        ProbeError::Unfit { .. } => false,
        ProbeError::Store { source, .. } => source.is_transient(),
        ProbeError::Late { .. } => true,
    };
    if unreachable {
        failure(BUSY)(format!(
            "{place} does not answer: {text}. Check --s3-endpoint and the network, then start again"
        ))
    } else {
        failure(UNUSABLE)(format!("{place} cannot be used: {text}"))
    }
}

pub(crate) fn store_failure(error: &StoreError) -> Failure {
    let code = if error.is_transient() { BUSY } else { UNUSABLE };
    failure(code)(error.to_string())
}

/// How this node coordinates itself with others; `None` standalone, and where an operator plans.
///
/// # Errors
/// The options contradict each other or what the prefix is.
pub(crate) async fn self_coordination(
    cli: &Cli,
    store: &Store,
) -> Result<Option<SelfCoordination>, Failure> {
    let (heartbeat_interval, lease_ttl) = cli.planner.times().map_err(failure(USAGE))?;
    let wish = cli.planner.wish();
    if cli.cluster_role().is_none() {
        return match wish {
            Wish::Auto => Ok(None),
            Wish::Operator | Wish::Myself => Err(failure(USAGE)(
                "--planner is for nodes of a cluster, and this one is standalone: give it a --role, or leave --planner out"
                    .to_owned(),
            )),
        };
    }
    let settled = ownership::settle(store, wish).await;
    let settled = settled.map_err(|error| node_failure(&StartError::Document(error)))?;
    match settled.map_err(|refusal| failure(UNUSABLE)(refusal.to_string()))? {
        Planner::Operator => {
            tracing::info!("an operator plans this cluster: this node waits for it");
            Ok(None)
        }
        Planner::Nodes => {
            tracing::info!(
                ?heartbeat_interval,
                ?lease_ttl,
                "the nodes of this cluster coordinate themselves"
            );
            Ok(Some(SelfCoordination {
                heartbeat_interval,
                lease_ttl,
            }))
        }
    }
}

/// Another process was started under the name of this one.
pub(crate) fn superseded(instance: &InstanceId) -> Failure {
    failure(SUPERSEDED)(format!(
        "another brainyd was started under the name '{instance}' and has taken the place of this one. Give each process an --instance of its own; do not start this one again while the other runs"
    ))
}

/// Why a node does not start.
pub(crate) fn node_failure(error: &StartError) -> Failure {
    match error {
        StartError::Document(DocumentError::Store(error)) => store_failure(error),
        StartError::Nats(error) => failure(UNUSABLE)(error.to_string()),
        other => failure(INTERNAL)(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use brainy_coordination::store::probe::Check;

    use super::*;

    #[test]
    fn a_data_directory_is_the_owners_and_has_one_user() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("data");
        let held = take_data_dir(&dir).unwrap();
        let mode = std::fs::metadata(&dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let refused = take_data_dir(&dir).unwrap_err();
        assert_eq!(refused.code, BUSY);
        assert!(refused.message.contains("in use"), "{}", refused.message);
        drop(held);
        take_data_dir(&dir).unwrap();
    }

    #[tokio::test]
    async fn an_address_that_is_taken_may_be_free_later_and_a_foreign_one_will_not() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let refused = listen(address, "--grpc-listen").await.unwrap_err();
        assert_eq!(refused.code, BUSY);
        assert!(
            refused.message.contains("--grpc-listen"),
            "{}",
            refused.message
        );
        // Reserved for documentation (RFC 5737): no machine has it.
        let foreign = "192.0.2.1:6333".parse().unwrap();
        assert_eq!(listen(foreign, "--listen").await.unwrap_err().code, USAGE);
    }

    #[test]
    fn each_trouble_with_a_bucket_has_its_name_and_code() {
        let refused = |message: &str| StoreError::Refused {
            what: "put",
            key: "k".to_owned(),
            message: message.to_owned(),
            remedy: "Correct it".to_owned(),
        };
        let busy = |message: &str| StoreError::Busy {
            what: "put",
            key: "k".to_owned(),
            message: message.to_owned(),
        };
        for (source, code, named) in [
            (
                refused("no providers in chain provided credentials"),
                UNUSABLE,
                "AWS_ACCESS_KEY_ID",
            ),
            (
                busy("identity resolver timed out after 5s"),
                UNUSABLE,
                "AWS_ACCESS_KEY_ID",
            ),
            (
                refused("403 SignatureDoesNotMatch"),
                UNUSABLE,
                "cannot be used",
            ),
            (busy("connection refused"), BUSY, "--s3-endpoint"),
        ] {
            let error = ProbeError::Store {
                check: Check::ReadAfterWrite,
                source,
            };
            let Failure {
                code: found,
                message,
            } = bucket_failure("the bucket 'b' at http://e", &error);
            assert_eq!(found, code, "{message}");
            assert!(
                message.contains(named) && message.contains("'b' at http://e"),
                "{message}"
            );
        }
    }
}
