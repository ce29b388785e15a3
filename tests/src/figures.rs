//! What benches of this crate have in common: quantiles, the machine's name, rows as JSON, a table in a document.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::HarnessError;
use crate::manifest::repository;

/// What was measured how often, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half of the values are at most this.
    pub p50: f64,
    /// 99 of a hundred are at most this; of fewer values, all.
    pub p99: f64,
    /// Number of values.
    pub values: usize,
}

impl Quantiles {
    /// Of these times; zeros if there are none.
    #[must_use]
    pub fn of(times: &[Duration]) -> Self {
        let mut ms: Vec<f64> = times.iter().map(|t| t.as_secs_f64() * 1_000.0).collect();
        ms.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * ms.len() as f64).ceil() as usize;
            ms.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Self {
            p50: at(0.5),
            p99: at(0.99),
            values: ms.len(),
        }
    }
}

/// What was measured on, in words.
#[must_use]
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let memory = value(&read("/proc/meminfo"), "MemTotal");
    let kib = first_number(&memory);
    format!(
        "{}, {} processors, {:.0} GiB, Linux {}; profile {}; load before {:.1}",
        value(&read("/proc/cpuinfo"), "model name"),
        std::thread::available_parallelism().map_or(1, usize::from),
        kib / 1024.0 / 1024.0,
        read("/proc/sys/kernel/osrelease").trim(),
        if cfg!(debug_assertions) {
            "dev"
        } else {
            "release"
        },
        first_number(&read("/proc/loadavg")),
    )
}

fn first_number(text: &str) -> f64 {
    let first = text.split_whitespace().next();
    first.and_then(|n| n.parse().ok()).unwrap_or(0.0)
}

/// How a bench ends: with its error on stderr, if it has one.
#[must_use]
pub fn ended(program: &str, result: Result<(), HarnessError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{program}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes `bench/{name}.json` in the target directory.
///
/// # Errors
/// The file cannot be written.
pub fn write_rows<T: Serialize>(name: &str, rows: &T) -> Result<PathBuf, HarnessError> {
    write_json(&format!("bench/{name}.json"), rows)
}

/// Writes `path` in the target directory.
///
/// # Errors
/// The file cannot be written.
pub fn write_json<T: Serialize>(path: &str, rows: &T) -> Result<PathBuf, HarnessError> {
    let own = std::env::current_exe().map_err(HarnessError::io("find", "this program"))?;
    let file = own.ancestors().nth(2).unwrap_or(&own).join(path);
    let dir = file.parent().unwrap_or(&file);
    std::fs::create_dir_all(dir).map_err(HarnessError::io("create", dir))?;
    let text = serde_json::to_string_pretty(rows).map_err(|e| content(&file, &e))?;
    std::fs::write(&file, text + "\n").map_err(HarnessError::io("write", &file))?;
    Ok(file)
}

/// Puts `text` between the markers `bench-{name}:begin` and `bench-{name}:end` of `docs/benchmarks.md`.
///
/// # Errors
/// The file cannot be read or written, or has not exactly these markers.
pub fn write_table(name: &str, text: &str) -> Result<PathBuf, HarnessError> {
    let file = repository().join("docs/benchmarks.md");
    let document = std::fs::read_to_string(&file).map_err(HarnessError::io("read", &file))?;
    let document = inserted(&document, text, name).map_err(|e| content(&file, &e))?;
    std::fs::write(&file, document).map_err(HarnessError::io("write", &file))?;
    Ok(file)
}

fn content(path: &std::path::Path, message: &dyn Display) -> HarnessError {
    HarnessError::Content {
        path: path.to_owned(),
        message: message.to_string(),
    }
}

fn inserted(document: &str, text: &str, name: &str) -> Result<String, String> {
    let begin = format!("<!-- bench-{name}:begin -->");
    let end = format!("<!-- bench-{name}:end -->");
    let missing = || format!("it needs {begin} and {end}, in this order");
    let (head, rest) = document.split_once(&begin).ok_or_else(missing)?;
    let (_, tail) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{head}{begin}\n\n{}\n\n{end}{tail}", text.trim()))
}

/// Progress of a bench, apart from its tables.
#[allow(clippy::print_stderr)]
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// Three digits that matter.
#[must_use]
pub fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let all = Quantiles::of(&times);
        assert_eq!((all.p50, all.p99, all.values), (100.0, 198.0, 200));
        let one = Quantiles::of(&times[..1]);
        assert_eq!((one.p50, one.p99), (200.0, 200.0));
        assert_eq!(Quantiles::of(&[]), Quantiles::default());
    }

    #[test]
    fn a_table_replaces_what_was_between_its_markers() {
        let document = "a\n<!-- bench-x:begin -->\nold\n<!-- bench-x:end -->\nb\n";
        let new = inserted(document, "t\n", "x").unwrap();
        assert_eq!(
            new,
            "a\n<!-- bench-x:begin -->\n\nt\n\n<!-- bench-x:end -->\nb\n"
        );
        assert_eq!(inserted(&new, "t", "x").unwrap(), new);
        assert!(inserted(document, "t", "y").is_err());
    }
}
