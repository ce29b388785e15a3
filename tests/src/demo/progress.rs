//! What the demo prints: lines, and on a terminal one line at the bottom that changes.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Standard output. A reader that went away, as `head` does, is no reason to stop.
#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    is_terminal: bool,
    /// Whether a live line is on the screen.
    live: Mutex<bool>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            is_terminal: std::io::stdout().is_terminal(),
            live: Mutex::new(false),
        }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Whether [`Progress::live`] shows anything.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// A line with the time since the start.
    pub(super) fn say(&self, text: &str) {
        self.show(&format!("{:6.1} s  {text}\n", self.seconds()));
    }

    /// The line at the bottom; nothing where there is no terminal.
    pub(super) fn live(&self, text: &str) {
        if self.is_terminal {
            let line: String = text.chars().take(100).collect();
            self.print(&format!("{:6.1} s  {line}", self.seconds()), true);
        }
    }

    /// Text as it is.
    pub(super) fn show(&self, text: &str) {
        self.print(text, false);
    }

    fn print(&self, text: &str, stays_live: bool) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = if *live { "\r\x1b[2K" } else { "" };
        let mut out = std::io::stdout().lock();
        let _closed = write!(out, "{clear}{text}").and_then(|()| out.flush());
        *live = stays_live;
    }

    /// Why the demo ended, on standard error.
    pub(super) fn fail(&self, text: &str) {
        self.show("");
        eprintln!("brainy-demo: {text}");
    }
}
