//! What happened to pods, in order, for tests to look at.

use std::sync::Mutex;
use std::time::Instant;

use super::lock;

/// Something that happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Its process runs.
    Started {
        /// Process id.
        pid: u32,
    },
    /// The hook before its end runs.
    PreStopBegan,
    /// The hook is over: `Err` says how it failed, or that it took longer than the grace period.
    PreStopEnded(Result<(), String>),
    /// SIGTERM was sent.
    Terminated,
    /// SIGKILL was sent.
    Killed,
    /// Its process has ended, with this exit code; 128 and the signal if a signal ended it.
    Exited(i32),
    /// A probe had its say: liveness or startup gave up, in the kubelet's words.
    Unhealthy(String),
    /// The kubelet could not do something and tries again; the container's name is empty.
    Problem(String),
}

/// An entry of the journal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When.
    pub at: Instant,
    /// `namespace/name` of the pod.
    pub pod: String,
    /// Which pod of that name.
    pub uid: String,
    /// Name of the container.
    pub container: String,
    /// What.
    pub what: Happening,
}

#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Vec<Entry>>);

impl Journal {
    /// Adds an entry, unless it only repeats the pod's last.
    pub(super) fn add(&self, entry: Entry) {
        let mut entries = lock(&self.0);
        let last = entries.iter().rev().find(|e| e.uid == entry.uid);
        let repeats = last.is_some_and(|last| last.what == entry.what);
        if !(repeats && matches!(entry.what, Happening::Problem(_))) {
            entries.push(entry);
        }
    }

    pub(super) fn of(&self, pod: &str) -> Vec<Entry> {
        let entries = lock(&self.0);
        entries.iter().filter(|e| e.pod == pod).cloned().collect()
    }
}
