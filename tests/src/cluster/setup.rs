//! How a cluster is started.

use std::path::PathBuf;

use tempfile::TempDir;

use super::LocalCluster;
use crate::HarnessError;
use crate::manifest::Manifest;

/// How to start a cluster.
#[derive(Debug)]
pub struct Setup {
    manifest: Manifest,
    work: Option<PathBuf>,
    environment: Vec<(String, String)>,
    brainyd: Option<PathBuf>,
}

impl Setup {
    /// With this manifest, in a temporary directory.
    #[must_use]
    pub fn new(manifest: Manifest) -> Self {
        Self {
            manifest,
            work: None,
            environment: Vec::new(),
            brainyd: None,
        }
    }

    /// Keeps everything in `dir`, which stays.
    #[must_use]
    pub fn in_dir(mut self, dir: PathBuf) -> Self {
        self.work = Some(dir);
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another program as data plane.
    #[must_use]
    pub fn with_brainyd(mut self, program: PathBuf) -> Self {
        self.brainyd = Some(program);
        self
    }

    /// Starts the operator without waiting for anything.
    ///
    /// # Errors
    /// A program is missing or the directory cannot be used.
    pub fn launch(self) -> Result<LocalCluster, HarnessError> {
        let temporary = match &self.work {
            Some(_) => None,
            None => Some(TempDir::new().map_err(HarnessError::io("create", std::env::temp_dir()))?),
        };
        let work = match (self.work, &temporary) {
            (Some(dir), _) => dir,
            (None, Some(dir)) => dir.path().to_owned(),
            (None, None) => PathBuf::new(),
        };
        std::fs::create_dir_all(&work).map_err(HarnessError::io("create", &work))?;
        let mut cluster = LocalCluster {
            work,
            manifest: self.manifest,
            environment: self.environment,
            brainyd: self.brainyd,
            operator: None,
            url: String::new(),
            _temporary: temporary,
        };
        cluster.write_manifest()?;
        cluster.launch()?;
        Ok(cluster)
    }

    /// Starts the operator and waits until every instance is ready.
    ///
    /// # Errors
    /// As [`Setup::launch`], and [`HarnessError::Late`] with the logs.
    pub async fn start(self) -> Result<LocalCluster, HarnessError> {
        let mut cluster = self.launch()?;
        cluster.wait_ready().await?;
        Ok(cluster)
    }
}
