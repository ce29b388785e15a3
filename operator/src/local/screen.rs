//! What people see: a live table on a terminal, log lines elsewhere.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brainy_crds::BrainyClusterStatus;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::cli::LogFormat;
use crate::error::OperatorError;

/// Variable with the filter of log lines.
const FILTER: &str = "BRAINY_LOG";
/// Lines that the table shows last.
const RECENT: usize = 12;
/// The table is not drawn more often than this: nobody reads faster.
const REDRAW: Duration = Duration::from_millis(450);

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\r\n";
const CLEAR_BELOW: &str = "\x1b[J";

/// The last log lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent(Arc<Mutex<VecDeque<String>>>);

impl Recent {
    fn push(&self, line: String) {
        let mut lines = self.0.lock();
        if lines.len() == RECENT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().iter().cloned().collect()
    }
}

/// Keeps the lines of this program's own events for the table.
struct Collect(Recent);

impl<S: tracing::Subscriber> Layer<S> for Collect {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        let ours = event
            .metadata()
            .target()
            .starts_with(env!("CARGO_CRATE_NAME"));
        if level > tracing::Level::INFO || (!ours && level > tracing::Level::WARN) {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let mark = match level {
            tracing::Level::ERROR => "error: ",
            tracing::Level::WARN => "warning: ",
            _ => "",
        };
        let time = Timestamp::now().strftime("%H:%M:%S");
        self.0
            .push(format!("{time}  {mark}{}{}", line.subject, line.text));
    }
}

/// An event as one line: the instance it is about, the message, the other fields.
#[derive(Default)]
struct Line {
    subject: String,
    text: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let value = format!("{value:?}").replace(['\n', '\r', '\x1b'], " ");
        match field.name() {
            "message" => self.text.insert_str(0, &value),
            "instance" => self.subject = format!("{value} "),
            name => self.text.push_str(&format!(" {name}={value}")),
        }
    }
}

/// Where reports go.
pub(crate) enum Screen {
    /// To standard output, as log lines.
    Lines,
    /// To a table on the terminal; log lines go to a file.
    Table {
        /// The last of them.
        recent: Recent,
        /// When the table was drawn last.
        drawn: Option<Instant>,
    },
}

impl Screen {
    /// Chooses and prepares the place for reports and the log.
    ///
    /// # Errors
    /// If the log file cannot be opened.
    pub(crate) fn open(plain: bool, format: LogFormat, log: &Path) -> Result<Self, OperatorError> {
        let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new("info"));
        if plain || format == LogFormat::Json || !std::io::stdout().is_terminal() {
            let registry = tracing_subscriber::registry().with(filter);
            let layer = fmt::layer()
                .with_target(false)
                .with_ansi(std::io::stdout().is_terminal());
            let _set_before_in_a_test = match format {
                LogFormat::Text => registry.with(layer).try_init(),
                LogFormat::Json => registry
                    .with(fmt::layer().json().flatten_event(true))
                    .try_init(),
            };
            return Ok(Self::Lines);
        }
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(|source| OperatorError::DataDir {
                action: "write",
                path: log.to_owned(),
                source,
            })?;
        let file = SharedFile(Arc::new(file));
        let recent = Recent::default();
        let _set_before_in_a_test = tracing_subscriber::registry()
            .with(filter)
            .with(
                fmt::layer()
                    .with_ansi(false)
                    .with_writer(move || file.clone()),
            )
            .with(Collect(recent.clone()))
            .try_init();
        print(ENTER);
        Ok(Self::Table {
            recent,
            drawn: None,
        })
    }

    /// Whether there is a table to draw.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self, Self::Table { .. })
    }

    /// Draws the table anew, unless that was done a moment ago.
    pub(crate) fn draw(&mut self, view: &View<'_>, now: Instant) {
        if let Self::Table { recent, drawn } = self {
            if drawn.is_some_and(|then| now.duration_since(then) < REDRAW) {
                return;
            }
            *drawn = Some(now);
            let mut text = HOME.to_owned();
            for line in render(view)
                .lines()
                .chain(recent.lines().iter().map(String::as_str))
            {
                text.push_str(line);
                text.push_str(CLEAR_LINE);
            }
            text.push_str(CLEAR_BELOW);
            print(&text);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Self::Table { recent, .. } = self {
            print(LEAVE);
            for line in recent.lines() {
                print(&format!("{line}\n"));
            }
        }
    }
}

/// The log file; lines are written whole, by one call each.
#[derive(Clone)]
struct SharedFile(Arc<File>);

impl Write for SharedFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        (&*self.0).flush()
    }
}

/// The terminal may be gone; the cluster goes on without it.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// What the table shows.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// The cluster.
    pub(crate) name: &'a str,
    /// Where the data is.
    pub(crate) storage: &'a str,
    /// Conditions and figures.
    pub(crate) status: &'a BrainyClusterStatus,
    /// The instances.
    pub(crate) rows: Vec<Row>,
}

/// One instance in the table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) instance: String,
    /// Where it stands.
    pub(crate) phase: String,
    /// Where it listens.
    pub(crate) address: String,
    /// Its process.
    pub(crate) pid: Option<u32>,
    /// Resident memory, bytes.
    pub(crate) memory: Option<u64>,
    /// Starts after the first.
    pub(crate) restarts: u32,
    /// Partitions it owns.
    pub(crate) owned: usize,
    /// Partitions it reads.
    pub(crate) reading: usize,
    /// Partitions on their way to it.
    pub(crate) incoming: usize,
    /// What it lacks.
    pub(crate) detail: String,
}

fn render(view: &View<'_>) -> String {
    let View {
        name,
        storage,
        status,
        rows,
    } = view;
    let mut text = String::new();
    let url = status.url.as_deref().unwrap_or_default();
    // Writing into a string cannot fail.
    let _ = writeln!(text, "Brainy cluster {name}   {url}   {storage}\n");
    for condition in &status.conditions {
        let _ = writeln!(
            text,
            "{:<13} {:<8} {:<21} {}",
            condition.type_, condition.status, condition.reason, condition.message
        );
    }
    let _ = writeln!(
        text,
        "\n{:<11} {:<9} {:<16} {:>8} {:>8} {:>8} {:>6} {:>8} {:>7}",
        "INSTANCE", "STATE", "ADDRESS", "PID", "MEMORY", "RESTARTS", "OWNED", "READING", "MOVING"
    );
    for row in rows {
        let pid = row
            .pid
            .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let memory = row
            .memory
            .map_or_else(|| "-".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
        let _ = writeln!(
            text,
            "{:<11} {:<9} {:<16} {:>8} {:>8} {:>8} {:>6} {:>8} {:>7}  {}",
            row.instance,
            row.phase,
            row.address,
            pid,
            memory,
            row.restarts,
            row.owned,
            row.reading,
            row.incoming,
            row.detail
        );
    }
    let partitions = status.partitions.unwrap_or_default();
    let number = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let _ = writeln!(
        text,
        "\npartitions {}, moving {}, without owner {}   balance {}   ring epoch {}   configuration {}\n",
        partitions.total,
        partitions.moving,
        partitions.unassigned,
        status.balance.as_deref().unwrap_or("-"),
        number(status.ring_epoch),
        number(status.config_version),
    );
    text
}

#[cfg(test)]
mod tests {
    use brainy_crds::PartitionStatus;

    use super::*;

    #[test]
    fn the_table_shows_each_instance_on_a_line() {
        let status = BrainyClusterStatus {
            url: Some("http://127.0.0.1:6333".to_owned()),
            partitions: Some(PartitionStatus {
                total: 12,
                moving: 2,
                unassigned: 0,
            }),
            ring_epoch: Some(7),
            ..BrainyClusterStatus::default()
        };
        let row = Row {
            instance: "writer-0".to_owned(),
            phase: "Serving".to_owned(),
            pid: Some(42),
            memory: Some(64 << 20),
            owned: 4,
            ..Row::default()
        };
        let text = render(&View {
            name: "quickstart",
            storage: "here",
            status: &status,
            rows: vec![row, Row::default()],
        });
        let line = text
            .lines()
            .find(|line| line.starts_with("writer-0"))
            .unwrap();
        assert!(
            line.contains("Serving") && line.contains("42") && line.contains("64 MiB"),
            "{line}"
        );
        assert!(
            text.contains("partitions 12, moving 2") && text.contains("ring epoch 7"),
            "{text}"
        );
    }

    #[test]
    fn the_last_lines_are_kept_and_no_more() {
        let recent = Recent::default();
        for n in 0..RECENT + 3 {
            recent.push(n.to_string());
        }
        let lines = recent.lines();
        assert_eq!(
            (lines.len(), lines.first().map(String::as_str)),
            (RECENT, Some("3"))
        );
    }
}
