//! Processes that run now, known by pod.

use std::sync::Arc;

use rustix::process::Signal;

use super::container::PodPlace;
use super::{lock, pod_key};
use crate::process;

/// A process that runs. Dropping it says that it does no longer.
#[derive(Debug)]
pub(super) struct Running {
    place: Arc<PodPlace>,
    container: String,
    pid: u32,
}

impl Running {
    /// Enters a process: tests find it, and it is killed whatever becomes of this program.
    pub(super) fn register(place: &Arc<PodPlace>, container: &str, pid: u32) -> Self {
        let made = Self {
            place: place.clone(),
            container: container.to_owned(),
            pid,
        };
        let shared = place.shared();
        // A keeper that is gone has ended everything already.
        let _ = shared.keeper.add(pid);
        lock(&shared.running)
            .entry(pod_key(&place.pod))
            .or_default()
            .insert(container.to_owned(), pid);
        made
    }

    /// Sends a signal; one that has ended meanwhile needs none.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = process::signal(self.pid, signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let shared = self.place.shared();
        let _ = shared.keeper.forget(self.pid);
        let mut running = lock(&shared.running);
        let key = pod_key(&self.place.pod);
        if let Some(containers) = running.get_mut(&key) {
            // A pod of the same name may be there already.
            if containers.get(&self.container) == Some(&self.pid) {
                containers.remove(&self.container);
            }
            if containers.is_empty() {
                running.remove(&key);
            }
        }
    }
}
