//! `brainy-s3`: the embedded S3 server as a program, for what runs where a directory of one machine has to do: the
//! end-to-end tests in Kubernetes, and trying Brainy in a container.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use brainy_embedded_s3::faults::{Fault, Rule, When};
use brainy_embedded_s3::{EmbeddedS3, EmbeddedS3Config, EmbeddedS3Error, Faults};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// A small S3 server over a local directory. It is for trying and testing: one machine, one directory, one pair of keys,
/// no TLS.
#[derive(Parser)]
#[command(name = "brainy-s3", version)]
#[command(
    after_help = "Exit codes:\n  0   stopped by SIGINT or SIGTERM, requests under way finished\n  2   wrong command line\n  \
                  70  a defect\n  73  the directory cannot be used\n  75  the address cannot be listened on: try again or choose another"
)]
struct Args {
    /// Address and port to listen on
    #[arg(
        long,
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:9000",
        env = "BRAINY_S3_LISTEN"
    )]
    listen: SocketAddr,

    /// Directory that holds the objects; created if missing, for one process at a time
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./brainy-s3-data",
        env = "BRAINY_S3_DATA_DIR"
    )]
    data_dir: PathBuf,

    /// Bucket that exists from the start; others are made by CreateBucket
    #[arg(
        long,
        value_name = "NAME",
        default_value = "brainy",
        env = "BRAINY_S3_BUCKET"
    )]
    bucket: String,

    /// Access key of whoever may do anything
    #[arg(long, value_name = "KEY", env = "AWS_ACCESS_KEY_ID")]
    access_key: String,

    /// The secret that goes with it; better in the environment, where a list of processes does not show it
    #[arg(
        long,
        value_name = "SECRET",
        env = "AWS_SECRET_ACCESS_KEY",
        hide_env_values = true
    )]
    secret_key: String,

    /// Milliseconds that every request waits before it is looked at, as one over a network does
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 0,
        env = "BRAINY_S3_LATENCY_MS",
        value_parser = clap::value_parser!(u64).range(0..=60_000)
    )]
    latency_ms: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("brainy-s3: {error}");
            ExitCode::from(error.code())
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Server(#[from] EmbeddedS3Error),
    #[error("cannot wait for signals: {0}. This is a defect of the system or of this program")]
    Signals(std::io::Error),
}

impl Failure {
    /// Codes of sysexits.h, as Brainy's other programs have them.
    fn code(&self) -> u8 {
        match self {
            Self::Server(EmbeddedS3Error::BucketName(_)) => 2,
            Self::Server(EmbeddedS3Error::Root { .. }) => 73,
            Self::Server(EmbeddedS3Error::Listen { .. }) => 75,
            Self::Signals(_) => 70,
        }
    }
}

async fn run(args: Args) -> Result<(), Failure> {
    // Before the server: the first process of a container has no default action for a signal that comes early.
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Signals)?;
    let faults = Faults::new(0);
    if args.latency_ms > 0 {
        let delay = Fault::Delay(Duration::from_millis(args.latency_ms));
        faults.add(Rule::any(delay, When::Probability(1.0)));
    }
    let config = EmbeddedS3Config {
        root: args.data_dir,
        bucket: args.bucket,
        listen: args.listen,
        access_key: args.access_key,
        secret_key: args.secret_key,
    };
    let server = EmbeddedS3::start_with_faults(config, faults).await?;
    eprintln!("brainy-s3: {}", server.endpoint());
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    server.shutdown().await;
    Ok(())
}
