//! The figures: a table in Markdown for people, JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::Args;
use crate::figures::machine;

/// One kind of work.
#[derive(Clone, Debug, Serialize)]
struct Row {
    what: String,
    unit: &'static str,
    /// Of the writer and the reader, each round's.
    separate: Vec<f64>,
    /// Of the hybrid.
    hybrid: Vec<f64>,
    /// Median of the rounds' ratios.
    ratio: f64,
}

/// All figures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    budget_mib: u64,
    dimensions: u32,
    seconds: u16,
    machine: String,
    rows: Vec<Row>,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        Some(upper) if sorted.len().is_multiple_of(2) => (sorted[middle - 1] + upper) / 2.0,
        Some(value) => *value,
        None => 0.0,
    }
}

impl Report {
    pub(super) fn new(args: &Args) -> Self {
        Self {
            budget_mib: args.budget_mib,
            dimensions: args.dimensions,
            seconds: args.seconds,
            machine: machine(),
            rows: Vec::new(),
        }
    }

    /// Adds a round.
    pub(super) fn add(&mut self, what: &str, separate: f64, hybrid: f64) {
        let unit = match what.starts_with("points") {
            true => "points/s",
            false => "searches/s",
        };
        let at = self.rows.iter().position(|row| row.what == what);
        let at = at.unwrap_or_else(|| {
            self.rows.push(Row {
                what: what.to_owned(),
                unit,
                separate: Vec::new(),
                hybrid: Vec::new(),
                ratio: 0.0,
            });
            self.rows.len() - 1
        });
        let row = &mut self.rows[at];
        row.separate.push(separate);
        row.hybrid.push(hybrid);
        let ratios = row.separate.iter().zip(&row.hybrid);
        let ratios: Vec<f64> = ratios.map(|(s, h)| s / h.max(f64::MIN_POSITIVE)).collect();
        row.ratio = median(&ratios);
    }

    /// The table, as it stands in `docs/benchmarks.md`.
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{}; {} MiB a node, {} dimensions, measurements of {} s\n\n\
             | work | writer and reader | hybrid | ratio |\n|---|---:|---:|---:|\n",
            self.machine, self.budget_mib, self.dimensions, self.seconds
        );
        for row in &self.rows {
            let (separate, hybrid) = (median(&row.separate), median(&row.hybrid));
            // Writing to a String does not fail.
            let _infallible = writeln!(
                text,
                "| {} | {separate:.0} {} | {hybrid:.0} | {:.2} |",
                row.what, row.unit, row.ratio
            );
        }
        text
    }
}
