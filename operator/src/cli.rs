//! The command line. Its help is the first documentation that people see.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use brainy_crds::{DurationString, InvalidDuration};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Runs a BrainyCluster.
#[derive(Debug, Parser)]
#[command(
    name = "brainy-operator",
    version,
    about = "Runs a BrainyCluster: a distributed vector database whose only durable state lives in S3",
    after_help = "Try it:\n  brainy-operator local -f examples/quickstart.yaml\n  curl http://127.0.0.1:6333/collections"
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the BrainyClusters of a Kubernetes cluster
    #[command(long_about = RUN_ABOUT, after_long_help = RUN_AFTER)]
    Run(RunArgs),
    /// Run a cluster on this machine, without Kubernetes
    #[command(long_about = LOCAL_ABOUT, after_long_help = LOCAL_AFTER)]
    Local(LocalArgs),
    /// Print the CustomResourceDefinition of BrainyCluster as YAML
    #[command(after_help = "Example:\n  brainy-operator crd | kubectl apply --server-side -f -")]
    Crd,
    /// Wait until a URL answers with a status of 2xx; images have no shell to ask with
    Probe(ProbeArgs),
}

/// What `probe` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProbeArgs {
    /// What to ask, such as http://brainy-operator-metrics:8080/readyz
    #[arg(value_name = "URL")]
    pub(crate) url: reqwest::Url,

    /// How long to go on asking, such as 60s
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

fn duration(text: &str) -> Result<Duration, InvalidDuration> {
    DurationString::try_from(text.to_owned()).map(|duration| duration.get())
}

const RUN_ABOUT: &str = "\
Run the BrainyClusters of a Kubernetes cluster.

Watches BrainyClusters and makes each so: StatefulSets, Services, PodDisruptionBudgets, a NetworkPolicy and a ServiceAccount. Pods
hand over their partitions before they are removed or replaced. `kubectl get brainyclusters` shows how far that is, and
`kubectl describe brainycluster NAME` why it waits.

It works with the kubeconfig that KUBECONFIG names, with ~/.kube/config, or, in a pod, with the pod's ServiceAccount. It needs the
CustomResourceDefinition (`brainy-operator crd`) and the permissions that the Helm chart brainy-operator grants.

Any number of copies may run: one holds a Lease and works, the others stand by. It keeps no state of its own. Killing it at any moment
loses nothing and stops no request; while none runs, clusters serve on and nothing is scaled, repaired or rolled.";

const RUN_AFTER: &str = "\
Examples:
  brainy-operator run                                       # all namespaces
  brainy-operator run --namespaces team-a,team-b            # these only; Roles in them suffice
  brainy-operator run --leader-elect false --log debug      # on a desk, against the cluster of the kubeconfig

Endpoints at --metrics-listen:
  /metrics   for Prometheus; names begin with brainy_operator_
  /healthz   whether the process lives
  /readyz    whether it stands by, or leads and knows what there is

Exit codes:
  0    stopped by SIGTERM or Ctrl-C; the Lease is given back
  2    wrong command line, or an address that this machine does not have
  69   no API server, no CustomResourceDefinition, or no permission; the message says which
  70   a defect
  75   start again: the Lease was lost, or the port of the metrics is taken";

/// What `run` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// Namespaces to work in, separated by commas [default: all]
    #[arg(
        long,
        env = "BRAINY_OPERATOR_NAMESPACES",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    pub(crate) namespaces: Vec<String>,

    /// Whether to work only while holding the Lease
    #[arg(
        long,
        env = "BRAINY_OPERATOR_LEADER_ELECT",
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    pub(crate) leader_elect: bool,

    /// Namespace of the Lease [default: the pod's, or the kubeconfig's]
    #[arg(long, env = "BRAINY_OPERATOR_LEASE_NAMESPACE", value_name = "NAME")]
    pub(crate) lease_namespace: Option<String>,

    /// Name of the Lease
    #[arg(
        long,
        env = "BRAINY_OPERATOR_LEASE_NAME",
        value_name = "NAME",
        default_value = "brainy-operator"
    )]
    pub(crate) lease_name: String,

    /// Address of metrics and health; port 0 finds a free one
    #[arg(
        long,
        env = "BRAINY_OPERATOR_METRICS_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:8080"
    )]
    pub(crate) metrics_listen: SocketAddr,

    /// Image of clusters that name none; a cluster that runs keeps the one it has
    #[arg(
        long,
        env = "BRAINY_OPERATOR_DEFAULT_IMAGE",
        value_name = "REPOSITORY:TAG",
        default_value = concat!("brainyd:", env!("CARGO_PKG_VERSION"))
    )]
    pub(crate) default_image: String,

    /// What to log, such as info, debug or brainy_operator=debug
    #[arg(
        long,
        env = "BRAINY_OPERATOR_LOG",
        value_name = "FILTER",
        default_value = "info",
        value_parser = filter
    )]
    pub(crate) log: String,

    /// Form of log lines
    #[arg(
        long,
        env = "BRAINY_OPERATOR_LOG_FORMAT",
        value_enum,
        default_value_t = LogFormat::Text
    )]
    pub(crate) log_format: LogFormat,
}

const LOCAL_ABOUT: &str = "\
Run a cluster on this machine, without Kubernetes.

The same manifest, the same planner and the same handover of partitions as in Kubernetes, with processes in place of pods. A
manifest without storage.bucket gets an embedded S3 server whose files stay below the data directory. One endpoint forwards
requests to the instances.

The manifest is followed while the cluster runs: change writers.replicas in an editor and watch partitions move. Settings under
sharedConfig reach running instances without a restart. An edit that breaks a rule is reported and the last good one stays.

Ctrl-C stops everything in order: instances flush and hand back their partitions, the embedded server goes last, the data stays.
The next start with the same data directory finds it. A second Ctrl-C stops at once; what was acknowledged is in S3 even then.";

const LOCAL_AFTER: &str = "\
Examples:
  brainy-operator local -f examples/quickstart.yaml
  brainy-operator local -f my.yaml --port 0 --ready-file /run/brainy.url    # for scripts: a free port, and a file that names it
  brainy-operator local -f my.yaml --plain --log-format json                # for log collectors

Environment:
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN   credentials for a manifest with storage.bucket
  BRAINY_API_KEY, BRAINY_READ_WRITE_API_KEY, BRAINY_READ_ONLY_API_KEY   API keys that requests must carry (header api-key)
  BRAINY_LOG   what to log, such as info or brainy_operator=debug

Files below the data directory:
  status.json        conditions and instances, as the status of a BrainyCluster in Kubernetes
  logs/              one log for each instance, and operator.log while the live table is shown
  s3/                the embedded server's objects: the data
  s3-credentials.json, ports.json, <instance>/   credentials, ports, caches

Exit codes:
  0    stopped by Ctrl-C or SIGTERM, everything handed back
  2    wrong command line, or an address that this machine does not have
  65   the manifest breaks a rule, or asks for what one machine does not offer; the message names the fields
  66   the manifest cannot be read
  69   the bucket refuses: wrong name, credentials, or no conditional writes
  70   a defect, or a program that is missing
  73   the data directory cannot be used
  75   try again: a port is taken, the data directory is in use, or the bucket does not answer
  130  stopped by a second Ctrl-C";

/// What `local` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct LocalArgs {
    /// Manifest of the BrainyCluster
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Where everything is kept [default: .brainy/ and the name of the cluster]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Port of the endpoint; 0 finds a free one
    #[arg(long, value_name = "PORT", default_value_t = 6333)]
    pub(crate) port: u16,

    /// Address of the endpoint; another than loopback opens the cluster to the network, so set API keys then
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    pub(crate) listen: IpAddr,

    /// Port of the endpoint for gRPC [default: the one after --port; a free one where --port is 0]
    #[arg(long, value_name = "PORT")]
    pub(crate) grpc_port: Option<u16>,

    /// File that gets the endpoint's URL and, on a second line, host:port for gRPC, once every instance is ready
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,

    /// The data plane's program [default: brainyd beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) brainyd: Option<PathBuf>,

    /// Port of the embedded S3 server; 0 finds a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) s3_port: u16,

    /// Print one line for each change instead of a live table; as if standard output were no terminal
    #[arg(long)]
    pub(crate) plain: bool,

    /// Form of log lines, the operator's and the instances'
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// Refuses a filter that the log would not take.
fn filter(text: &str) -> Result<String, String> {
    let parsed: Result<EnvFilter, _> = text.parse();
    parsed
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The value of the flag.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
