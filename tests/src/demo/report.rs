//! The demo's figures: a table for people, JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::HarnessError;
use crate::figures::write_json;

/// Planned handoffs should refuse writes for no longer, 99th percentile.
const PLANNED_PAUSE_MS: f64 = 250.0;
/// A killed writer's partitions should take writes again within this.
const CRASH_PAUSE_MS: f64 = 5000.0;
/// Part of the true ten nearest that should be found.
const RECALL: f64 = 0.95;

/// Time to answer, milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Latency {
    pub(super) count: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// One phase under load.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PhaseFigures {
    pub(super) name: &'static str,
    pub(super) seconds: f64,
    pub(super) search: Latency,
}

/// Recall of the first ten, 0 to 1.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Recalls {
    /// Everything in write buffers, twelve partitions.
    pub(super) buffers: f64,
    /// In segments, twelve partitions: small ones, which are scanned.
    pub(super) segments: f64,
    /// In segments, two partitions: large enough for a graph.
    pub(super) graph: f64,
    /// Twelve partitions, after everything else.
    pub(super) at_the_end: f64,
}

/// Everything measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) acknowledged: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) unexpected: u64,
    pub(super) strong_reads: u64,
    pub(super) stale_reads: usize,
    pub(super) failed_requests: usize,
    pub(super) repeated_requests: u64,
    pub(super) moves: usize,
    pub(super) minimal_moves: usize,
    pub(super) planned_handoffs: usize,
    pub(super) planned_pause_ms_p50: f64,
    pub(super) planned_pause_ms_p99: f64,
    pub(super) planned_pause_ms_max: f64,
    /// Gaps between writes of one partition while nothing moved, for comparison.
    pub(super) undisturbed_gap_ms_p99: f64,
    pub(super) crash_takeovers: usize,
    pub(super) crash_pause_ms_max: f64,
    /// The smallest of `recall`.
    pub(super) recall_at_10: f64,
    pub(super) recall: Recalls,
    pub(super) phases: Vec<PhaseFigures>,
    /// Duration of each step, seconds.
    pub(super) steps: BTreeMap<&'static str, f64>,
    pub(super) seconds: f64,
    /// What is wrong, in words.
    pub(super) findings: Vec<String>,
}

impl Report {
    /// Whether nothing was lost, doubled, stale or left unanswered.
    pub(super) fn is_clean(&self) -> bool {
        let wrong = self.lost + self.duplicated + self.unexpected;
        wrong == 0 && self.stale_reads == 0 && self.failed_requests == 0
    }

    /// Writes `demo/report.json` in the target directory.
    pub(super) fn write(&self) -> Result<PathBuf, HarnessError> {
        write_json("demo/report.json", self)
    }

    /// The table.
    pub(super) fn table(&self) -> String {
        let zero = |n: u64| if n == 0 { "ok" } else { "WRONG" };
        let aim = |met: bool| if met { "met" } else { "missed" };
        let mut rows: Vec<(String, String, String)> = Vec::new();
        let mut row = |what: &str, value: String, verdict: &str| {
            rows.push((what.to_owned(), value, verdict.to_owned()));
        };
        row(
            "acknowledged writes of points",
            self.acknowledged.to_string(),
            "",
        );
        row("lost", self.lost.to_string(), zero(self.lost));
        row(
            "duplicated",
            self.duplicated.to_string(),
            zero(self.duplicated),
        );
        row(
            "never written",
            self.unexpected.to_string(),
            zero(self.unexpected),
        );
        row(
            "stale among strong reads",
            format!("{} of {}", self.stale_reads, self.strong_reads),
            zero(self.stale_reads as u64),
        );
        row(
            "requests without an answer",
            self.failed_requests.to_string(),
            zero(self.failed_requests as u64),
        );
        row(
            "partitions moved",
            format!("{} of at least {}", self.moves, self.minimal_moves),
            aim(self.moves == self.minimal_moves),
        );
        row(
            "write pause of a planned move, p50 / p99 / max",
            format!(
                "{:.0} / {:.0} / {:.0} ms in {} moves",
                self.planned_pause_ms_p50,
                self.planned_pause_ms_p99,
                self.planned_pause_ms_max,
                self.planned_handoffs
            ),
            &format!(
                "aim p99 <= {PLANNED_PAUSE_MS:.0} ms {}",
                aim(self.planned_handoffs > 0 && self.planned_pause_ms_p99 <= PLANNED_PAUSE_MS)
            ),
        );
        row(
            "gap between writes while nothing moves, p99",
            format!("{:.0} ms", self.undisturbed_gap_ms_p99),
            "",
        );
        row(
            "write pause after a crash, max",
            format!(
                "{:.0} ms in {} partitions",
                self.crash_pause_ms_max, self.crash_takeovers
            ),
            &format!(
                "aim <= {CRASH_PAUSE_MS:.0} ms {}",
                aim(self.crash_takeovers > 0 && self.crash_pause_ms_max <= CRASH_PAUSE_MS)
            ),
        );
        let Recalls {
            buffers,
            segments,
            graph,
            at_the_end,
        } = self.recall;
        row(
            "recall@10: buffers / segments / graph / at the end",
            format!("{buffers:.3} / {segments:.3} / {graph:.3} / {at_the_end:.3}"),
            &format!("aim >= {RECALL} {}", aim(self.recall_at_10 >= RECALL)),
        );
        for phase in &self.phases {
            let Latency {
                count,
                p50_ms,
                p99_ms,
            } = phase.search;
            row(
                &format!("search p50 / p99: {}", phase.name),
                format!("{p50_ms:.1} / {p99_ms:.1} ms in {count}"),
                "",
            );
        }
        row("duration", format!("{:.0} s", self.seconds), "");
        let widest = |cell: fn(&(String, String, String)) -> usize| rows.iter().map(cell).max();
        let first = widest(|r| r.0.chars().count()).unwrap_or(0);
        let second = widest(|r| r.1.chars().count()).unwrap_or(0);
        let mut text = "\n".to_owned();
        for (what, value, verdict) in &rows {
            let line = format!("  {what:first$}  {value:>second$}  {verdict}");
            // Writing to a string cannot fail.
            let _infallible = writeln!(text, "{}", line.trim_end());
        }
        for finding in &self.findings {
            let _infallible = writeln!(text, "  ! {finding}");
        }
        text + "\n"
    }
}
