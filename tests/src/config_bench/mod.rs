//! How soon a shared configuration is in force at many nodes.
//!
//! The nodes are real `brainyd` processes and write a line to their log when a version is in force: its time stands beside the
//! time at which the publication was acknowledged, on the clock of the one machine. Looking at the logs costs the nodes nothing.
//!
//! `pushed`: published by `POST /sync/config` at one node, which tells the others; the last hope, polling, comes an hour later.
//! `polled`: published in the bucket, where nobody is told and nodes find it at their next look.

mod nodes;
mod when;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use brainy_coordination::config::{ConfigStore, EffectiveConfig, SharedConfig};
use clap::{Parser, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use crate::HarnessError;
use crate::coordination_bench::bucket::{Bucket, failed};
use crate::figures::{Quantiles, ended, machine, say, short, write_rows, write_table};
use nodes::Nodes;

/// Measures how shared configuration spreads. Build all programs of the same profile first: `make bench-config` does.
#[derive(Debug, Parser)]
#[command(name = "brainy-bench-config", version)]
pub struct Args {
    /// Nodes.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(2..=500))]
    nodes: u16,
    /// Versions that are published in each way.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// Methods of coordination of the nodes that are told.
    #[arg(long, value_delimiter = ',', default_values_t = ["websocket".to_owned()])]
    methods: Vec<String>,
    /// Ways; both if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Way>,
    /// Write the table into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

/// How nodes learn of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    /// They are told.
    Pushed,
    /// They look.
    Polled,
}

impl Way {
    /// The proposal's limit for the 99th percentile, milliseconds.
    fn aim(self) -> f64 {
        match self {
            Self::Pushed => 100.0,
            Self::Polled => 1_000.0,
        }
    }
}

#[derive(Debug, Serialize)]
struct Row {
    way: Way,
    method: String,
    nodes: u16,
    poll_interval_ms: u64,
    /// From the acknowledgement until the version is in force at a node.
    each: Quantiles,
    /// Until it is at all of them.
    all: Quantiles,
}

#[derive(Debug, Serialize)]
struct Rows {
    machine: String,
    rows: Vec<Row>,
}

/// Measures, prints a table, and writes `bench/config.json` in the target directory.
pub async fn run(args: Args) -> ExitCode {
    ended("brainy-bench-config", measure(&args).await)
}

async fn measure(args: &Args) -> Result<(), HarnessError> {
    let wanted = |way| args.only.is_empty() || args.only.contains(&way);
    let mut rows = Rows {
        machine: machine(),
        rows: Vec::new(),
    };
    if wanted(Way::Polled) {
        rows.rows
            .push(measure_way(args, Way::Polled, "s3-polling").await?);
    }
    if wanted(Way::Pushed) {
        for method in &args.methods {
            rows.rows
                .push(measure_way(args, Way::Pushed, method).await?);
        }
    }
    let file = write_rows("config", &rows)?;
    say(&format!("figures: {}", file.display()));
    let table = format!("{}.\n\n{}", rows.machine, table(&rows.rows));
    print(&table);
    if args.write {
        write_table("config", &table)?;
    }
    Ok(())
}

/// A setting that no two versions have alike.
fn settings(round: u64, poll_interval_ms: u64) -> SharedConfig {
    SharedConfig {
        max_search_limit: Some(1_000 + round),
        config_poll_interval_ms: Some(poll_interval_ms),
        ..SharedConfig::default()
    }
}

async fn measure_way(args: &Args, way: Way, method: &str) -> Result<Row, HarnessError> {
    let bucket = Bucket::start().await?;
    let configs = ConfigStore::new(bucket.store("").await?);
    let poll_interval_ms = match way {
        Way::Pushed => 3_600_000,
        Way::Polled => EffectiveConfig::default().config_poll_interval_ms,
    };
    say(&format!("{way:?}, {method}: starting {} nodes", args.nodes));
    let first = configs
        .publish_if_version(0, &settings(0, poll_interval_ms))
        .await;
    let mut version = first.map_err(|e| failed("publish", &e))?;
    let nodes = Nodes::start(&bucket, args.nodes, method).await?;
    nodes.in_force(version).await?;
    let (mut each, mut all) = (Vec::new(), Vec::new());
    for round in 1..=u64::from(args.rounds) {
        let config = settings(round, poll_interval_ms);
        match way {
            Way::Polled => {
                let published = configs.publish_if_version(version, &config).await;
                published.map_err(|e| failed("publish", &e))?;
            }
            Way::Pushed => {
                let body = json!({"version": version, "config": config});
                nodes
                    .post(usize::try_from(round).unwrap_or(0), &body)
                    .await?;
            }
        }
        let acknowledged = SystemTime::now();
        version += 1;
        let times: Vec<Duration> = nodes
            .in_force(version)
            .await?
            .into_iter()
            // Whoever had it before the acknowledgement did not wait.
            .map(|at| at.duration_since(acknowledged).unwrap_or_default())
            .collect();
        all.extend(times.iter().max().copied());
        each.extend(times);
    }
    let row = Row {
        way,
        method: method.to_owned(),
        nodes: args.nodes,
        poll_interval_ms,
        each: Quantiles::of(&each),
        all: Quantiles::of(&all),
    };
    say(&format!(
        "  in force at a node: p50 {} ms, p99 {} ms",
        short(row.each.p50),
        short(row.each.p99)
    ));
    Ok(row)
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| way | method | nodes | looks every | at a node: p50 | p99 | at all nodes: p50 | p99 | versions | aim |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---|\n",
    );
    for row in rows {
        let Row {
            way,
            method,
            nodes,
            poll_interval_ms,
            each,
            all,
        } = row;
        let met = if each.p99 < way.aim() {
            "met"
        } else {
            "missed"
        };
        // Writing to a String does not fail.
        let _infallible = writeln!(
            text,
            "| {} | {method} | {nodes} | {poll_interval_ms} ms | {} ms | {} ms | {} ms | {} ms | {} | p99 < {} ms: {met} |",
            name(*way),
            short(each.p50),
            short(each.p99),
            short(all.p50),
            short(all.p99),
            all.values,
            short(way.aim()),
        );
    }
    text
}

fn name(way: Way) -> String {
    match serde_json::to_value(way) {
        Ok(Value::String(name)) => name,
        _ => format!("{way:?}"),
    }
}

#[allow(clippy::print_stdout)]
fn print(text: &str) {
    print!("{text}");
}
