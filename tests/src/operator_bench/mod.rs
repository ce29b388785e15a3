//! What the operator costs: time until a cluster is ready, requests per change, memory, planning.
//!
//! The API server, the controllers and the scheduler are the real ones ([`crate::kube`]), and the operator runs as a
//! process with the rights that the chart gives it. `planner` is computation alone. `ready` and `membership` run
//! real `brainyd` processes as pods ([`crate::kubelet`]). `memory` needs more pods than a machine has processes for:
//! there a `hollow` node says of them what a kubelet would, and `nodes` writes to the bucket what they would.

mod hollow;
mod membership;
mod memory;
mod nodes;
mod planner;
mod ready;
mod report;
mod usage;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::HarnessError;
use crate::figures::{ended, say};
use report::Report;

/// Measures the operator. Build all programs of the same profile first: `make bench-operator` does.
#[derive(Debug, Parser)]
#[command(name = "brainy-bench-operator", version)]
pub struct Args {
    /// What to measure; everything if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Clusters that are made ready one after another, and changes of membership of each kind.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// Clusters of the memory measurement; one of them is measured alone before.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(2..=2000))]
    clusters: u16,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The planner at 1,000 members and 100,000 partitions.
    Planner,
    /// From apply to Ready.
    Ready,
    /// Requests and time per change of membership.
    Membership,
    /// Resident memory at one and at many clusters.
    Memory,
}

/// Measures, prints a table and writes `bench/operator.json` in the target directory.
pub async fn run(args: Args) -> ExitCode {
    ended("brainy-bench-operator", measure(&args).await)
}

async fn measure(args: &Args) -> Result<(), HarnessError> {
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let mut report = Report::new();
    if wanted(Part::Planner) {
        say("planner: 1,000 members, 100,000 partitions");
        planner::measure(&mut report)?;
        report.write()?;
    }
    if wanted(Part::Ready) {
        ready::measure(&mut report, args.runs).await?;
        report.write()?;
    }
    if wanted(Part::Membership) {
        membership::measure(&mut report, args.runs).await?;
        report.write()?;
    }
    if wanted(Part::Memory) {
        memory::measure(&mut report, usize::from(args.clusters)).await?;
    }
    let file = report.write()?;
    say(&format!("figures: {}", file.display()));
    print(&report.table());
    Ok(())
}

#[allow(clippy::print_stdout)]
fn print(text: &str) {
    print!("{text}");
}
