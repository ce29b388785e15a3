//! One operator works, the others stand by: a Lease says which one.
//!
//! A leader that cannot renew its Lease ends before anybody else may take it. Two at once would do no harm all the same: the table
//! in S3 changes under conditions only, and pods are deleted only as they were last seen.

use std::time::Duration;

use kube::{Client, Config};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::OperatorError;

/// A Lease that was not renewed for this long may be taken by another.
const DURATION: Duration = Duration::from_secs(20);
/// It is renewed when this much of it is left.
const RENEW_BEFORE: Duration = Duration::from_secs(15);
/// A request about the Lease that takes longer has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// A leader ends when this much of its Lease is left: clocks differ, and what is under way has to end.
const MARGIN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(500);
/// How long the end may wait for the release.
const RELEASE_WITHIN: Duration = Duration::from_secs(3);

/// Our part in the election.
pub(super) struct Election {
    manager: LeaseManager,
}

impl Election {
    /// Prepares to stand for the Lease `name` in `namespace` as `identity`.
    ///
    /// # Errors
    /// What the API server said.
    pub(super) async fn new(
        mut config: Config,
        namespace: &str,
        name: &str,
        identity: &str,
    ) -> Result<Self, OperatorError> {
        // A request that hangs must not outlive the Lease.
        config.connect_timeout = Some(REQUEST_TIMEOUT);
        config.read_timeout = Some(REQUEST_TIMEOUT);
        let refused = |error: String| OperatorError::Lease {
            lease: format!("{namespace}/{name}"),
            message: error,
        };
        let client = Client::try_from(config).map_err(|error| refused(error.to_string()))?;
        let manager = LeaseManagerBuilder::new(client, name)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(DURATION.as_secs())
            .with_grace(RENEW_BEFORE.as_secs())
            .build()
            .await
            .map_err(|error| refused(error.to_string()))?;
        Ok(Self { manager })
    }

    /// Waits until the Lease is ours.
    pub(super) async fn won(&self) {
        loop {
            match self.manager.changed().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "the Lease cannot be asked for");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Waits until the Lease is not ours any more, or soon will not be; tells why.
    pub(super) async fn lost(&self) -> String {
        loop {
            match self.manager.changed().await {
                Ok(true) => {}
                Ok(false) => return "another process holds it".to_owned(),
                // The renewal began when this much was left.
                Err(error) => {
                    let left = RENEW_BEFORE - REQUEST_TIMEOUT - MARGIN;
                    tracing::warn!(%error, "the Lease cannot be renewed");
                    if let Err(error) = self.renewed(Instant::now() + left, error).await {
                        return error;
                    }
                }
            }
        }
    }

    /// Tries to renew until it is too late for another attempt to end before `deadline`.
    async fn renewed(&self, deadline: Instant, mut error: LeaseManagerError) -> Result<(), String> {
        loop {
            sleep(PAUSE).await;
            let attempt = Instant::now() + REQUEST_TIMEOUT;
            if attempt > deadline {
                return Err(format!("it could not be renewed in time: {error}"));
            }
            match timeout_at(attempt, self.manager.changed()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return Err("another process holds it".to_owned()),
                Ok(Err(again)) => error = again,
                // No request takes that long: it succeeded, and the next renewal is waited for.
                Err(_) => return Ok(()),
            }
        }
    }

    /// Gives the Lease back, so that another need not wait for its end.
    pub(super) async fn release(&self) {
        match tokio::time::timeout(RELEASE_WITHIN, self.manager.release()).await {
            Ok(Ok(())) => tracing::info!("the Lease is given back"),
            Ok(Err(error)) => tracing::warn!(%error, "the Lease cannot be given back"),
            Err(_) => tracing::warn!("the Lease could not be given back in time"),
        }
    }
}
