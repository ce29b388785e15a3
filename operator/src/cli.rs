//! The command line. Its help is the first documentation that people see.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Run a cluster on this machine, without Kubernetes
    #[command(long_about = LOCAL_ABOUT, after_long_help = LOCAL_AFTER)]
    Local(LocalArgs),
    /// Print the CustomResourceDefinition of BrainyCluster as YAML
    #[command(after_help = "Example:\n  brainy-operator crd | kubectl apply --server-side -f -")]
    Crd,
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

    /// File that gets the endpoint's URL, with a line end, once every instance is ready
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
