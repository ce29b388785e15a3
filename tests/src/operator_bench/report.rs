//! The figures: a table in Markdown for people, JSON for programs.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::HarnessError;
use crate::figures::{short, write_rows};

/// A figure.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// Which part of the measurement.
    part: &'static str,
    /// What was measured.
    what: String,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    /// Number of values.
    values: usize,
    /// The median should be below this.
    #[serde(skip_serializing_if = "Option::is_none")]
    aim: Option<f64>,
    /// What belongs to it, such as which requests were counted.
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

impl Row {
    /// The median of `values`, in `unit`; zeros if there are none.
    pub(super) fn new(
        part: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        values: &[f64],
    ) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or(0.0);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) && middle > 0 {
            (at(middle - 1) + at(middle)) / 2.0
        } else {
            at(middle)
        };
        Self {
            part,
            what: what.into(),
            unit,
            median,
            min: at(0),
            max: sorted.last().copied().unwrap_or(0.0),
            values: sorted.len(),
            aim: None,
            detail: String::new(),
        }
    }

    pub(super) fn aim(mut self, aim: f64) -> Self {
        self.aim = Some(aim);
        self
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

/// What it was measured on.
#[derive(Clone, Debug, Serialize)]
struct Machine {
    processor: String,
    processors: usize,
    memory_gib: f64,
    /// Of the operating system's kernel.
    kernel: String,
    /// Of Kubernetes.
    kubernetes: String,
    /// How the programs were built.
    profile: &'static str,
    /// Other work that the machine did meanwhile: the mean number of runnable processes before the measurement.
    load_before: f64,
}

impl Machine {
    fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or(String::new(), |(_, value)| value.trim().to_owned())
        };
        let memory = value(&read("/proc/meminfo"), "MemTotal");
        let kib: f64 = first_number(&memory);
        Self {
            processor: value(&read("/proc/cpuinfo"), "model name"),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kib / 1024.0 / 1024.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            kubernetes: crate::kube::version().to_owned(),
            profile: if cfg!(debug_assertions) {
                "dev"
            } else {
                "release"
            },
            load_before: first_number(&read("/proc/loadavg")),
        }
    }
}

fn first_number(text: &str) -> f64 {
    let first = text.split_whitespace().next();
    first.and_then(|n| n.parse().ok()).unwrap_or(0.0)
}

/// All figures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    machine: Machine,
    rows: Vec<Row>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            machine: Machine::look(),
            rows: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, row: Row) {
        super::say(&format!(
            "  {}: {} {}",
            row.what,
            short(row.median),
            row.unit
        ));
        self.rows.push(row);
    }

    /// Writes `bench/operator.json` in the target directory.
    pub(super) fn write(&self) -> Result<PathBuf, HarnessError> {
        write_rows("operator", self)
    }

    /// The table, as it stands in `docs/benchmarks.md`.
    pub(super) fn table(&self) -> String {
        let Machine {
            processor,
            processors,
            memory_gib,
            kernel,
            kubernetes,
            profile,
            load_before,
        } = &self.machine;
        let mut text = format!(
            "{processor}, {processors} processors, {memory_gib:.0} GiB, Linux {kernel}; Kubernetes {kubernetes}; profile {profile}; \
             load before {load_before:.1}\n\n| part | what | median | range | aim |\n|---|---|---:|---:|---:|\n"
        );
        for row in &self.rows {
            let Row {
                part,
                what,
                unit,
                median,
                min,
                max,
                values,
                aim,
                detail,
            } = row;
            let range = match values {
                0 | 1 => String::new(),
                n => format!("{} to {} ({n})", short(*min), short(*max)),
            };
            let aim = aim.map_or(String::new(), |aim| {
                let met = if *median < aim { "met" } else { "missed" };
                format!("< {} {unit}: {met}", short(aim))
            });
            let detail = if detail.is_empty() {
                String::new()
            } else {
                format!("; {detail}")
            };
            // Writing to a String does not fail.
            let _infallible = writeln!(
                text,
                "| {part} | {what}{detail} | {} {unit} | {range} | {aim} |",
                short(*median)
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_median_and_the_table_says_whether_the_aim_is_met() {
        let odd = Row::new("a", "b", "ms", &[3.0, 1.0, 200.0]);
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 200.0));
        assert!((Row::new("a", "b", "ms", &[1.0, 2.0]).median - 1.5).abs() < 1e-9);
        assert_eq!(Row::new("a", "b", "ms", &[]).median, 0.0);
        let mut report = Report::new();
        report.rows = vec![odd.clone().aim(4.0), odd.aim(2.5).detail("with c")];
        let table = report.table();
        assert!(
            table.contains("| a | b | 3 ms | 1 to 200 (3) | < 4 ms: met |"),
            "{table}"
        );
        assert!(
            table.contains("| a | b; with c | 3 ms | 1 to 200 (3) | < 2.50 ms: missed |"),
            "{table}"
        );
    }
}
