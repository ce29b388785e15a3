//! The command line of brainyd.

mod exchange;
mod file;
mod grpc;
mod import;
mod nats;
mod planner;
mod pre_stop;
mod server;
mod settings;

use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use brainy_conflict::Policy;
use brainy_coordination::assignment::Role;
use brainy_coordination::config::SharedConfig;
use brainy_coordination::store::s3::{Credentials, S3Config};
use brainy_coordination::types::InstanceId;
use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};

use crate::engine::{BuildOptions, GraphBuilder};
use crate::memory;
use crate::node::Coordination;

pub use exchange::{ExchangeArgs, PeerArg};
pub use file::{OptionsFile, Reread};
pub use grpc::GrpcListen;
pub use import::ImportStandalone;
pub use nats::NatsArgs;
pub use planner::{PlannerArg, PlannerArgs};
pub use pre_stop::PreStop;
pub use server::ServerArgs;
pub use settings::SettingArgs;

/// What this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// The only process, with a local directory in place of a bucket.
    Standalone,
    /// Serves searches of the partitions assigned to it.
    Reader,
    /// Takes the writes of the partitions assigned to it.
    Writer,
    /// Both.
    Hybrid,
}

/// How nodes learn of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CoordinationArg {
    /// Nothing is told: for one process. What a cluster keeps in the bucket is still polled.
    None,
    /// They read the documents in the bucket again and again, and at once when another node hints at a change.
    S3Polling,
    /// Besides, they tell each other what happens at once, over WebSocket connections between them.
    Websocket,
    /// Besides, they tell each other what happens at once, by way of a NATS server.
    Pubsub,
}

/// Form of the log lines on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What builds the graphs of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphBuilderArg {
    /// Brainy's own: on all build threads, with links in different directions that keep clusters connected.
    Native,
    /// The crate hnsw_rs: on one thread, keeping the nearest links; with a small m, clusters can be cut off from searches.
    #[value(name = "hnsw_rs", alias = "hnsw-rs")]
    HnswRs,
}

/// A node of Brainy, a vector database whose durable state lives in S3.
///
/// Without any option it is a whole database by itself: it listens on 127.0.0.1:6333 and keeps its data in ./brainy-data.
/// As a part of a cluster it needs a role, a name and the cluster's bucket; `brainy-operator local` starts such nodes for
/// you.
#[derive(Debug, Parser)]
#[command(
    name = "brainyd",
    version,
    after_help = "EXAMPLES\n  brainyd --data-dir ./data\n      A database by itself.\n  brainyd --role hybrid --instance hybrid-0 --advertise 10.0.0.7:6333 --s3-bucket vectors --s3-prefix team-a\n      A node of the cluster below s3://vectors/team-a, with credentials from the environment or the instance. Nodes that are\n      started like this, each under a name of its own, find each other and share the work; no operator is needed.\n\nEXIT CODES\n  0   stopped by SIGTERM or SIGINT after releasing what it owned\n  2   wrong options, or an address that this machine does not have\n  69  the bucket cannot be used: name, credentials, or no conditional writes\n  70  an error of Brainy itself\n  75  a resource is busy now: the port, the data directory, the bucket; try again\n  76  another process was started under the same --instance, and this one ended; do not start it again"
)]
pub struct Cli {
    /// YAML file with any of these options, such as `flush_bytes: 1000000`; options and variables override it. Settings that may change
    /// while it runs are taken up when the file changes.
    #[arg(long, env = "BRAINY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What this process is.
    #[arg(long, env = "BRAINY_ROLE", value_enum, default_value = "standalone")]
    pub role: RoleArg,
    /// Name of this node, stable across restarts: 1 to 63 lower-case letters, digits and '-'; needed in a cluster.
    #[arg(
        long,
        env = "BRAINY_INSTANCE",
        default_value = "standalone",
        default_value_ifs([("role", "reader", None::<&str>), ("role", "writer", None), ("role", "hybrid", None)]),
        required_if_eq_any([("role", "reader"), ("role", "writer"), ("role", "hybrid")])
    )]
    pub instance: InstanceId,
    /// Address to listen on.
    #[arg(long, env = "BRAINY_LISTEN", default_value = "127.0.0.1:6333")]
    pub listen: SocketAddr,
    /// Address for gRPC alone, or `off`; the port after that of --listen if not given. gRPC is served at --listen as well.
    #[arg(long, env = "BRAINY_GRPC_LISTEN", value_name = "ADDRESS")]
    pub grpc_listen: Option<GrpcListen>,
    /// Where other nodes reach this one, host:port; what it listens on if not given.
    #[arg(long, env = "BRAINY_ADVERTISE")]
    pub advertise: Option<String>,
    /// Local files: a cache that may be lost, or, standalone, the data itself.
    #[arg(long, env = "BRAINY_DATA_DIR", default_value = "brainy-data")]
    pub data_dir: PathBuf,
    /// Bucket of the cluster.
    #[arg(long, env = "BRAINY_S3_BUCKET", required_if_eq_any([("role", "reader"), ("role", "writer"), ("role", "hybrid")]))]
    pub s3_bucket: Option<String>,
    /// Prefix of the cluster in the bucket.
    #[arg(long, env = "BRAINY_S3_PREFIX", default_value = "")]
    pub s3_prefix: String,
    /// Endpoint of a store that is not AWS's, such as http://minio:9000.
    #[arg(long, env = "BRAINY_S3_ENDPOINT")]
    pub s3_endpoint: Option<String>,
    /// Region of the bucket.
    #[arg(long, env = "BRAINY_S3_REGION")]
    pub s3_region: Option<String>,
    /// Name the bucket in the path in place of the host name.
    #[arg(long, env = "BRAINY_S3_PATH_STYLE")]
    pub s3_path_style: bool,
    /// How nodes learn of changes; `s3-polling` in a cluster if not given. `none` is for one process, which a reader or a writer is
    /// not.
    #[arg(
        long,
        env = "BRAINY_COORDINATION",
        value_enum,
        default_value = "none",
        default_value_ifs([("role", "reader", "s3-polling"), ("role", "writer", "s3-polling"), ("role", "hybrid", "s3-polling")])
    )]
    pub coordination: CoordinationArg,
    /// The NATS server.
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Who plans.
    #[command(flatten)]
    pub planner: PlannerArgs,
    /// Every hybrid takes writes for every partition, into a log of its own, and the partition's owner merges them; for all nodes of
    /// a cluster or none.
    #[arg(long, env = "BRAINY_MULTI_WRITER")]
    pub multi_writer: bool,
    /// What becomes of concurrent writes to a point where there are several writers: last-write-wins, vector-clock or crdt; for all nodes
    /// of a cluster the same.
    #[arg(
        long,
        env = "BRAINY_CONFLICT_RESOLUTION",
        default_value = "last-write-wins"
    )]
    pub conflict_resolution: Policy,
    /// Other clusters.
    #[command(flatten)]
    pub exchange: ExchangeArgs,
    /// The same as --assignment-poll-interval-ms.
    #[arg(long, env = "BRAINY_POLL_INTERVAL_MS")]
    pub poll_interval_ms: Option<u64>,
    /// How long nothing is removed from the bucket after it became unneeded, milliseconds; the same on every node.
    #[arg(long, env = "BRAINY_GC_GRACE_MS", default_value_t = 600_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub gc_grace_ms: u64,
    /// Partitions of a collection that does not ask for a number.
    #[arg(long, env = "BRAINY_PARTITIONS", value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub partitions: Option<u32>,
    /// Memory for segments, write buffers and queues, bytes; half of the machine's, or of the container's limit, if not given.
    #[arg(long, env = "BRAINY_MEMORY_BUDGET_BYTES", value_parser = clap::value_parser!(u64).range(67_108_864..))]
    pub memory_budget_bytes: Option<u64>,
    /// Local disk that segment files may take, bytes. What has no room is read from the bucket. If not given, nine tenths of the file system
    /// of --data-dir in a cluster; without limit standalone.
    #[arg(long, env = "BRAINY_DISK_BUDGET_BYTES", value_parser = clap::value_parser!(u64).range(67_108_864..))]
    pub disk_budget_bytes: Option<u64>,
    /// Reads that search at a time; as many as there are cores if not given.
    #[arg(long, env = "BRAINY_READ_THREADS", value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub read_threads: Option<u32>,
    /// Threads that build a graph; all cores if not given.
    #[arg(long, env = "BRAINY_BUILD_THREADS", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub build_threads: Option<u32>,
    /// What builds the graphs of new segments; both kinds are stored and searched alike, so it can be changed at any time.
    #[arg(
        long,
        env = "BRAINY_GRAPH_BUILDER",
        value_enum,
        default_value = "native"
    )]
    pub graph_builder: GraphBuilderArg,
    /// Key for everything; with it, requests between nodes need it too.
    #[arg(long, env = "BRAINY_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Key for reading and writing points.
    #[arg(
        long,
        env = "BRAINY_READ_WRITE_API_KEY",
        hide_env_values = true,
        requires = "api_key"
    )]
    pub read_write_api_key: Option<String>,
    /// Key for reading.
    #[arg(
        long,
        env = "BRAINY_READ_ONLY_API_KEY",
        hide_env_values = true,
        requires = "api_key"
    )]
    pub read_only_api_key: Option<String>,
    /// PEM file with the certificate chain of this node, its own first: everything is served over TLS only, and other nodes are
    /// asked over TLS.
    #[arg(
        long,
        env = "BRAINY_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate.
    #[arg(
        long,
        env = "BRAINY_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// PEM file with the authorities that sign the nodes' certificates, besides the system's; need not exist.
    #[arg(
        long,
        env = "BRAINY_TLS_CA",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_ca: Option<PathBuf>,
    /// What to log, such as `info` or `brainy_dataplane=debug,info`; overrides the shared configuration.
    #[arg(long = "log", env = "BRAINY_LOG")]
    pub log_filter: Option<String>,
    /// Form of the log lines.
    #[arg(long, env = "BRAINY_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Limits of the server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Stop when standard input is closed, so that this process does not outlive the one that started it.
    #[arg(long)]
    pub exit_with_parent: bool,
    /// What may change while it runs.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// The file that --config named.
    #[arg(skip)]
    pub file: Option<OptionsFile>,
}

/// What brainyd is asked to do.
#[derive(Debug)]
pub enum Invocation {
    /// Run a node.
    Serve(Box<Cli>),
    /// Wait until the node beside it has given its partitions away.
    PreStop(PreStop),
    /// Take the data of a standalone node into a bucket.
    ImportStandalone(ImportStandalone),
}

/// Names of the subcommands.
const PRE_STOP: &str = "pre-stop";
const IMPORT_STANDALONE: &str = "import-standalone";

impl Invocation {
    /// Parses a command line, the program's name first. Without a subcommand it is a node's.
    ///
    /// # Errors
    /// Clap's, which prints itself; help and version are such errors too.
    pub fn try_from_args<I, T>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let mut command = command();
        let file::Completed { arguments, file } =
            file::complete(&command, args.into_iter().map(Into::into).collect())?;
        let explain = |error| match &file {
            Some(file) => file.explain(error),
            None => error,
        };
        let matches = command
            .try_get_matches_from_mut(arguments)
            .map_err(explain)?;
        let parsed = match matches.subcommand() {
            Some((IMPORT_STANDALONE, matches)) => {
                ImportStandalone::from_arg_matches(matches).map(Self::ImportStandalone)
            }
            Some((_, matches)) => PreStop::from_arg_matches(matches).map(Self::PreStop),
            None => Cli::from_arg_matches(&matches).map(|mut cli| {
                cli.file = file;
                Self::Serve(Box::new(cli))
            }),
        };
        parsed.map_err(|e| e.format(&mut command))
    }
}

/// A node's options, and beside them the subcommands, which need none of them.
fn command() -> clap::Command {
    Cli::command()
        .subcommand(PreStop::augment_args(clap::Command::new(PRE_STOP)))
        .subcommand(ImportStandalone::augment_args(clap::Command::new(
            IMPORT_STANDALONE,
        )))
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
}

impl Cli {
    /// The role in a cluster, `None` standalone.
    #[must_use]
    pub fn cluster_role(&self) -> Option<Role> {
        match self.role {
            RoleArg::Standalone => None,
            RoleArg::Reader => Some(Role::Reader),
            RoleArg::Writer => Some(Role::Writer),
            RoleArg::Hybrid => Some(Role::Hybrid),
        }
    }

    /// How this node learns of changes and tells of them.
    ///
    /// # Errors
    /// A method that does not fit the role.
    pub fn coordination(&self) -> Result<Coordination, String> {
        match (self.coordination, self.cluster_role()) {
            (CoordinationArg::None, None | Some(Role::Hybrid)) => Ok(Coordination::None),
            (CoordinationArg::None, Some(Role::Reader | Role::Writer)) => Err(
                "--coordination none is for one process, and readers and writers are at least two: choose s3-polling, websocket or pubsub"
                    .to_owned(),
            ),
            (CoordinationArg::S3Polling, _) => Ok(Coordination::S3Polling),
            (CoordinationArg::Websocket, Some(_)) => Ok(Coordination::WebSocket),
            (CoordinationArg::Pubsub, Some(_)) => {
                let bucket = self.s3_bucket.as_deref().unwrap_or_default();
                let (name, prefix) = (self.instance.as_str(), self.s3_prefix.as_str());
                let nats = self
                    .nats
                    .options(name, bucket, prefix, self.tls_ca.as_ref())?;
                Ok(Coordination::PubSub(nats))
            }
            (CoordinationArg::Websocket | CoordinationArg::Pubsub, None) => Err(
                "--coordination websocket and pubsub are for nodes of a cluster: name this one's role with --role"
                    .to_owned(),
            ),
        }
    }

    /// Where gRPC alone is served, if anywhere.
    #[must_use]
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        GrpcListen::address(self.grpc_listen, self.listen)
    }

    /// Where other nodes reach this one, which listens on `bound`.
    ///
    /// # Errors
    /// In a cluster, an address that means "all of mine" and leads nowhere from elsewhere.
    pub fn advertised(&self, bound: SocketAddr) -> Result<String, String> {
        let address = match &self.advertise {
            Some(address) => bracketed(address),
            None => bound.to_string(),
        };
        let unspecified = address
            .parse::<SocketAddr>()
            .is_ok_and(|address| address.ip().is_unspecified());
        if unspecified && self.cluster_role().is_some() {
            return Err(format!(
                "other nodes cannot reach this one at {address}: name the address where they can with --advertise"
            ));
        }
        Ok(address)
    }

    /// How to reach the bucket; `None` standalone. Credentials come from the SDK's chain.
    #[must_use]
    pub fn s3(&self) -> Option<S3Config> {
        self.cluster_role()?;
        let mut config = S3Config::new(self.s3_bucket.clone()?);
        config.prefix = self.s3_prefix.trim_matches('/').to_owned();
        config.endpoint.clone_from(&self.s3_endpoint);
        config.region.clone_from(&self.s3_region);
        config.path_style = self.s3_path_style;
        config.credentials = Credentials::DefaultChain;
        Some(config)
    }

    /// Settings that this process has before the shared ones.
    #[must_use]
    pub fn local_config(&self) -> SharedConfig {
        let older_name = SharedConfig {
            assignment_poll_interval_ms: self.poll_interval_ms,
            ..SharedConfig::default()
        };
        self.settings.0.over(&older_name)
    }

    /// Partitions of a collection: more in a cluster, where they are what is spread.
    #[must_use]
    pub fn default_partitions(&self) -> u32 {
        self.partitions
            .unwrap_or(if self.cluster_role().is_some() { 12 } else { 1 })
    }

    /// The collector's grace.
    #[must_use]
    pub fn gc_grace(&self) -> Duration {
        Duration::from_millis(self.gc_grace_ms)
    }

    /// Bytes of memory to use.
    #[must_use]
    pub fn memory_budget(&self) -> u64 {
        self.memory_budget_bytes
            .unwrap_or_else(|| memory::available(Path::new("/")).map_or(2 << 30, |m| m / 2))
    }

    /// Bytes of local disk to use; `None`: as much as there is.
    #[must_use]
    pub fn disk_budget(&self) -> Option<u64> {
        let size = || {
            self.cluster_role()?;
            let system = rustix::fs::statvfs(&self.data_dir).ok()?;
            Some(system.f_blocks.saturating_mul(system.f_frsize) / 10 * 9)
        };
        self.disk_budget_bytes.or_else(size)
    }

    /// Reads that search at a time.
    #[must_use]
    pub fn read_threads(&self) -> usize {
        self.read_threads.map_or_else(cores, |n| n as usize)
    }

    /// How segments are built.
    #[must_use]
    pub fn build_options(&self) -> BuildOptions {
        BuildOptions {
            threads: self.build_threads.map_or_else(cores, |n| n as usize),
            graph: match self.graph_builder {
                GraphBuilderArg::Native => GraphBuilder::Native,
                GraphBuilderArg::HnswRs => GraphBuilder::HnswRs,
            },
        }
    }
}

/// `host:port` with an IPv6 host in brackets, also where it came without them, as an orchestrator's variable for a pod's address
/// does: what follows the last colon is always the port.
fn bracketed(address: &str) -> String {
    match address.rsplit_once(':') {
        Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{port}"),
        _ => address.to_owned(),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        let parsed = |args: &[&str]| {
            let args = ["brainyd"].iter().chain(args);
            Cli::try_parse_from(args)
        };
        let pair = ["--tls-cert", "c", "--tls-key", "k"];
        assert!(parsed(&pair).is_ok());
        assert!(parsed(&[&pair[..], &["--tls-ca", "a"]].concat()).is_ok());
        for alone in [&pair[..2], &pair[2..], &["--tls-ca", "a"]] {
            let error = parsed(alone).unwrap_err().to_string();
            assert!(error.contains("--tls-"), "{error}");
        }
    }

    #[test]
    fn a_cluster_node_needs_a_bucket_and_standalone_needs_nothing() {
        assert!(Cli::try_parse_from(["brainyd"]).is_ok());
        assert!(Cli::try_parse_from(["brainyd", "--role", "writer"]).is_err());
        let cli = node(&["--instance", "writer-0"]).unwrap();
        assert_eq!(cli.s3().unwrap().bucket, "b");
        assert_eq!(cli.default_partitions(), 12);
    }

    /// A writer's command line.
    fn node(more: &[&str]) -> Result<Cli, clap::Error> {
        let args = ["brainyd", "--role", "writer", "--s3-bucket", "b"];
        Cli::try_parse_from(args.iter().chain(more))
    }

    #[test]
    fn a_cluster_node_needs_a_name_and_standalone_has_one() {
        let error = node(&[]).unwrap_err().to_string();
        assert!(error.contains("--instance"), "{error}");
        assert_eq!(
            node(&["--instance", "w-0"]).unwrap().instance.as_str(),
            "w-0"
        );
        let alone = Cli::try_parse_from(["brainyd"]).unwrap();
        assert_eq!(alone.instance.as_str(), "standalone");
    }

    #[test]
    fn a_cluster_node_advertises_an_address_that_leads_somewhere() {
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 6333));
        let own = SocketAddr::from(([10, 0, 0, 7], 6333));
        let named = |more: &[&str], bound| {
            let args = ["--instance", "w-0"].iter().chain(more);
            let args: Vec<&str> = args.copied().collect();
            node(&args).unwrap().advertised(bound)
        };
        assert_eq!(named(&[], own).unwrap(), "10.0.0.7:6333");
        assert_eq!(
            named(&["--advertise", "w-0.brainy:6333"], everywhere).unwrap(),
            "w-0.brainy:6333"
        );
        for host in ["[fd00::7]:6333", "fd00::7:6333"] {
            let address = named(&["--advertise", host], everywhere);
            assert_eq!(address.unwrap(), "[fd00::7]:6333");
        }
        for wrong in [
            named(&[], everywhere),
            named(&["--advertise", "0.0.0.0:6333"], own),
            named(&["--advertise", "[::]:6333"], own),
        ] {
            let error = wrong.unwrap_err();
            assert!(error.contains("--advertise"), "{error}");
        }
        let alone = Cli::try_parse_from(["brainyd"]).unwrap();
        assert_eq!(alone.advertised(everywhere).unwrap(), "0.0.0.0:6333");
    }

    #[test]
    fn the_disk_is_limited_in_a_cluster_and_by_who_asks() {
        let most = |args: &[&str]| node(args).unwrap().disk_budget();
        let there = std::env::temp_dir();
        let there = there.to_str().unwrap();
        let args = ["--instance", "w-0", "--data-dir", there];
        assert!(most(&args).is_some_and(|bytes| bytes > 0));
        let asked = [&args[..], &["--disk-budget-bytes", "100000000"]].concat();
        assert_eq!(most(&asked), Some(100_000_000));
        assert!(node(&["--instance", "w-0", "--disk-budget-bytes", "1"]).is_err());
        let alone = Cli::try_parse_from(["brainyd"]).unwrap();
        assert_eq!(alone.disk_budget(), None);
    }

    #[test]
    fn graphs_are_built_natively_unless_hnsw_rs_is_asked_for_by_name() {
        let options = |args: &[&str]| {
            let args = ["brainyd"].iter().chain(args);
            Cli::try_parse_from(args).map(|cli| cli.build_options())
        };
        assert_eq!(options(&[]).unwrap().graph, GraphBuilder::Native);
        let chosen = options(&["--graph-builder", "hnsw_rs", "--build-threads", "3"]).unwrap();
        assert_eq!(
            chosen,
            BuildOptions {
                threads: 3,
                graph: GraphBuilder::HnswRs
            }
        );
        assert!(options(&["--graph-builder", "faiss"]).is_err());
    }

    #[test]
    fn methods_of_coordination_are_for_roles_that_can_use_them() {
        let chosen = |args: &[&str]| {
            let args = ["brainyd"].iter().chain(args);
            Cli::try_parse_from(args).unwrap().coordination()
        };
        let node = |role, more: &[&'static str]| {
            let args = ["--role", role, "--instance", "n-0", "--s3-bucket", "b"];
            chosen(&[&args[..], more].concat())
        };
        let method = |name| ["--coordination", name];
        assert_eq!(chosen(&[]), Ok(Coordination::None));
        assert_eq!(node("reader", &[]), Ok(Coordination::S3Polling));
        let websocket = node("writer", &method("websocket"));
        assert_eq!(websocket, Ok(Coordination::WebSocket));
        assert_eq!(node("hybrid", &method("none")), Ok(Coordination::None));
        let pubsub = ["--coordination", "pubsub", "--nats-url", "nats://n:4222"];
        let Ok(Coordination::PubSub(nats)) = node("reader", &pubsub) else {
            panic!("pubsub");
        };
        assert_eq!(nats.subject, crate::events::nats::subject("b", ""));
        assert_eq!(nats.client_name, "n-0");
        for refused in [
            node("reader", &method("none")),
            node("writer", &method("none")),
            chosen(&method("websocket")),
            chosen(&pubsub),
        ] {
            let error = refused.unwrap_err();
            assert!(error.contains("--coordination"), "{error}");
        }
    }

    #[test]
    fn names_and_methods_that_do_not_exist_are_refused() {
        assert!(Cli::try_parse_from(["brainyd", "--instance", "Not A Name"]).is_err());
        assert!(Cli::try_parse_from(["brainyd", "--coordination", "telepathy"]).is_err());
    }
}
