//! The demo: search, then a cluster that grows, shrinks and crashes under load, and a count of what was lost.

mod progress;
mod report;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::HarnessError;
use crate::cluster::Setup;
use crate::manifest::Manifest;
use progress::Progress;

/// Shows a cluster at work on this machine: questions and answers, then writes and reads that go on while writers come and
/// go and processes are killed. At the end every acknowledged write is looked up. Takes a minute or two.
#[derive(Debug, Parser)]
#[command(
    name = "brainy-demo",
    version,
    after_help = "EXIT CODES\n  0    everything acknowledged was found once\n  1    something was lost, came twice, was stale, or a step did not complete in time\n  130  interrupted\n\nThe figures go to demo/report.json in the target directory."
)]
pub struct Args {
    /// How long each phase under load lasts at least, seconds.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds_per_phase: u64,
    /// Where the cluster keeps its data and logs; a temporary directory if not given.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Keep data and logs afterwards. Those of --data-dir always stay.
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
pub async fn run(args: Args) -> ExitCode {
    let progress = Progress::new();
    match play(&args, &progress).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(HarnessError::Interrupted) => {
            progress.say("interrupted; everything is stopped");
            ExitCode::from(130)
        }
        Err(error) => {
            progress.fail(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Plays the story and stops the cluster however it ended. Says whether nothing was wrong.
async fn play(args: &Args, progress: &Progress) -> Result<bool, HarnessError> {
    let manifest = Manifest::quickstart()?.with("metadata.name", "demo");
    let mut setup = Setup::new(manifest);
    if let Some(dir) = kept(args)? {
        progress.say(&format!("data and logs stay in {}", dir.display()));
        setup = setup.in_dir(dir);
    }
    let mut cluster = setup.launch()?;
    let pause = Duration::from_secs(args.seconds_per_phase);
    let told = tokio::select! {
        told = story::tell(&mut cluster, pause, progress) => told,
        interrupted = interrupted() => Err(interrupted),
    };
    progress.live("stopping the cluster");
    let stopped = tokio::select! {
        stopped = cluster.stop() => stopped,
        // Once more: dropping the cluster kills what is left.
        interrupted = interrupted() => Err(interrupted),
    };
    let report = told?;
    stopped?;
    progress.say("the cluster stopped in order");
    let file = report.write()?;
    progress.show(&report.table());
    progress.say(&format!("figures: {}", file.display()));
    Ok(report.is_clean())
}

/// The directory that is to stay, if any.
fn kept(args: &Args) -> Result<Option<PathBuf>, HarnessError> {
    if args.data_dir.is_some() || !args.keep {
        return Ok(args.data_dir.clone());
    }
    let dir = tempfile::Builder::new().prefix("brainy-demo-").tempdir();
    let dir = dir.map_err(HarnessError::io("create", std::env::temp_dir()))?;
    Ok(Some(dir.keep()))
}

/// Returns at SIGINT or SIGTERM.
async fn interrupted() -> HarnessError {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        // Without handlers a signal ends this process, and the operator with it.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    HarnessError::Interrupted
}
