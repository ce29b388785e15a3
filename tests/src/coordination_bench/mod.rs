//! What coordination costs: time above the bare request for each of its operations, and requests and dollars of a cluster.
//!
//! `latency` calls the operations of the crate `coordination` by themselves, against the embedded S3 server, which lets every
//! request wait. `cost` runs a cluster of real processes and counts what reaches the server.

pub mod bucket;
mod cost;
mod latency;

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::HarnessError;
use crate::figures::{machine, say, write_rows, write_table};

/// Measures coordination. Build all programs of the same profile first: `make bench-coordination` does.
#[derive(Debug, Parser)]
#[command(name = "brainy-bench-coordination", version)]
pub struct Args {
    /// What to measure; everything if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Milliseconds that every request to S3 waits.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 10, 30, 100])]
    injected_ms: Vec<u64>,
    /// How often each operation is measured.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// How long requests of each idle cluster are counted, seconds; those of the busy one half as long.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Methods of coordination whose clusters are counted.
    #[arg(long, value_delimiter = ',', default_values_t = ["s3-polling".to_owned(), "websocket".to_owned()])]
    methods: Vec<String>,
    /// Write the tables into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Time of each operation.
    Latency,
    /// Requests of clusters.
    Cost,
}

#[derive(Debug, Default, Serialize)]
struct Rows {
    machine: String,
    latency: Vec<latency::Row>,
    cost: Vec<cost::Row>,
}

/// Measures, prints tables, and writes `bench/coordination.json` in the target directory.
pub async fn run(args: Args) -> ExitCode {
    match measure(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("brainy-bench-coordination: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure(args: &Args) -> Result<(), HarnessError> {
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let mut rows = Rows {
        machine: machine(),
        ..Rows::default()
    };
    if wanted(Part::Latency) {
        for &ms in &args.injected_ms {
            say(&format!("latency: {ms} ms injected"));
            rows.latency
                .extend(latency::measure(ms, args.rounds).await?);
        }
    }
    if wanted(Part::Cost) {
        // All at once: requests are counted, not timed.
        let clusters = args.methods.iter().map(|m| cost::measure(m, args.seconds));
        let counted = futures::future::try_join_all(clusters).await?;
        rows.cost.extend(counted.into_iter().flatten());
    }
    let file = write_rows("coordination", &rows)?;
    say(&format!("figures: {}", file.display()));
    let table = table(&rows);
    print(&table);
    if args.write {
        write_table("coordination", &table)?;
    }
    Ok(())
}

fn table(rows: &Rows) -> String {
    let mut text = format!("{}.\n\n", rows.machine);
    // Writing to a String does not fail.
    if !rows.latency.is_empty() {
        let _infallible = writeln!(text, "{}", latency::table(&rows.latency));
    }
    if !rows.cost.is_empty() {
        let _infallible = writeln!(text, "{}", cost::table(&rows.cost));
    }
    text
}

#[allow(clippy::print_stdout)]
fn print(text: &str) {
    print!("{text}");
}
