//! The programs of Kubernetes: found, never built from here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::HarnessError;

/// What is pinned; the script that builds the programs reads the same file.
const PINS: &str = include_str!("../../controlplane/go.mod");

/// The pinned release of Kubernetes, such as `1.34.4`.
#[must_use]
pub fn version() -> &'static str {
    let pin = |line: &'static str| line.trim().strip_prefix("k8s.io/kubernetes v");
    let rest = PINS.lines().find_map(pin).unwrap_or_default();
    rest.split_whitespace().next().unwrap_or_default()
}

/// The directory of the programs.
#[derive(Debug)]
pub(super) struct Assets {
    dir: PathBuf,
}

impl Assets {
    /// `KUBEBUILDER_ASSETS`, or where `scripts/controlplane.sh` puts what it builds.
    pub(super) fn find() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        if let Some(dir) = set("KUBEBUILDER_ASSETS") {
            return Self { dir: dir.into() };
        }
        let cache = set("BRAINY_CACHE").map(PathBuf::from).unwrap_or_else(|| {
            let home = || Path::new(&set("HOME").unwrap_or_default()).join(".cache");
            let caches = set("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
            caches.join("brainy")
        });
        let dir = cache
            .join("tools")
            .join(format!("kubernetes-{}", version()));
        Self { dir }
    }

    /// The path of a program.
    ///
    /// # Errors
    /// [`HarnessError::NoKubernetes`]: nothing is skipped when it was not built.
    pub(super) fn program(&self, name: &str) -> Result<PathBuf, HarnessError> {
        let path = self.dir.join(name);
        if path.is_file() {
            Ok(path)
        } else {
            Err(HarnessError::NoKubernetes { path })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_version_has_three_numbers() {
        let numbers: Vec<&str> = version().split('.').collect();
        assert_eq!(numbers.len(), 3, "{}", version());
        assert!(
            numbers.iter().all(|n| n.parse::<u32>().is_ok()),
            "{numbers:?}"
        );
    }
}
