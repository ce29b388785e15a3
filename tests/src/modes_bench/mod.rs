//! The same work for a writer and a reader, and for a hybrid: searches, searches while writes come, writes while searches come.
//!
//! Two clusters run at once, one of a writer and a reader, one of a hybrid; every node has the same memory budget. Rounds take
//! turns between them, so that whatever else the machine does falls on both. Vectors are not quantized, so searches walk
//! full vectors: a collection that fits into the cache of a reader and of a hybrid, and one that fits only into that of the reader.

mod report;
mod work;

use std::process::ExitCode;

use clap::Parser;

use crate::HarnessError;
use crate::figures::{ended, say, write_rows, write_table};
use report::Report;
use work::Pair;

/// Compares operational modes. Build all programs of the same profile first: `make bench-modes` does.
#[derive(Clone, Debug, Parser)]
#[command(name = "brainy-bench-modes", version)]
pub struct Args {
    /// Memory budget of each node, MiB.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(64..=65_536))]
    budget_mib: u64,
    /// Dimensions of the vectors.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(64..=4096))]
    dimensions: u32,
    /// Rounds; medians are taken of them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How long each measurement of a round lasts, seconds.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// Share of a node's budget that the larger collection's vectors and graph take, percent.
    #[arg(long, default_value_t = 65, value_parser = clap::value_parser!(u64).range(10..=400))]
    large_percent: u64,
    /// Write the table into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

/// Measures, prints a table and writes `bench/modes.json` in the target directory.
pub async fn run(args: Args) -> ExitCode {
    ended("brainy-bench-modes", measure(&args).await)
}

async fn measure(args: &Args) -> Result<(), HarnessError> {
    let mut report = Report::new(args);
    let mut pair = Pair::start(args).await?;
    for (name, percent) in [("fits both", 20), ("fits the reader", args.large_percent)] {
        say(&format!("a collection that {name}"));
        pair.fill(name, percent).await?;
        for round in 1..=args.rounds {
            say(&format!("  round {round} of {}", args.rounds));
            for (what, separate, hybrid) in pair.round(name).await? {
                report.add(&format!("{what}, {name}"), separate, hybrid);
            }
        }
    }
    let file = write_rows("modes", &report)?;
    say(&format!("figures: {}", file.display()));
    let table = report.table();
    print(&table);
    if args.write {
        let file = write_table("modes", &table)?;
        say(&format!("table: {}", file.display()));
    }
    pair.stop().await
}

#[allow(clippy::print_stdout)]
fn print(text: &str) {
    println!("{text}");
}
