//! This process's own heartbeat: it tells others that the process lives, and the process that another took its name.
//!
//! A node that an orchestrator plans writes it once, at its start: enough for two processes under one name to find out, at no cost
//! while nothing happens. A node that coordinates itself renews it.

use std::time::Duration;

use brainy_coordination::assignment::Role;
use brainy_coordination::document::DocumentError;
use brainy_coordination::lease::Identity;
use brainy_coordination::members::{Beat, Heartbeat, Phase};
use brainy_coordination::store::retry::Store;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// The heartbeat, and whether another process has replaced this one.
#[derive(Debug)]
pub(crate) struct Presence {
    heartbeat: Mutex<Heartbeat>,
    superseded: CancellationToken,
}

impl Presence {
    /// Replaces whoever had the name before.
    ///
    /// # Errors
    /// [`DocumentError`]: without it nobody would know of this process.
    pub(super) async fn register(
        store: Store,
        me: Identity,
        role: Role,
        address: String,
        ttl: Duration,
    ) -> Result<Self, DocumentError> {
        let presence = Self {
            heartbeat: Mutex::new(Heartbeat::new(store, me, role, address, ttl)),
            superseded: CancellationToken::new(),
        };
        presence.renew().await?;
        Ok(presence)
    }

    /// Renews once.
    ///
    /// # Errors
    /// [`DocumentError`]; renew again.
    pub(super) async fn renew(&self) -> Result<(), DocumentError> {
        let beat = self.heartbeat.lock().await.beat().await?;
        self.note(&beat);
        Ok(())
    }

    /// Tells how far this process is.
    ///
    /// # Errors
    /// [`DocumentError`]; the next renewal tells it too.
    pub(super) async fn enter(&self, phase: Phase) -> Result<(), DocumentError> {
        self.heartbeat.lock().await.set_phase(phase);
        self.renew().await
    }

    /// Whether another process has taken the name of this one; asks the bucket.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub(super) async fn is_superseded(&self) -> Result<bool, DocumentError> {
        let found = self.heartbeat.lock().await.check().await?;
        self.note(&found);
        Ok(self.superseded.is_cancelled())
    }

    fn note(&self, beat: &Beat) {
        if let Beat::Superseded { by } = beat
            && !self.superseded.is_cancelled()
        {
            tracing::error!(%by, "another process was started under the name of this one, which ends");
            self.superseded.cancel();
        }
    }

    /// Cancelled when another process has taken the name of this one.
    pub(super) fn superseded(&self) -> &CancellationToken {
        &self.superseded
    }

    /// Renews every `interval` until `stop`, or until another process takes the name.
    pub(super) async fn run(&self, interval: Duration, stop: CancellationToken) {
        let mut pause = interval;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.superseded.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = match self.renew().await {
                Ok(()) => interval,
                Err(error) => {
                    tracing::warn!(%error, "the heartbeat was not renewed; trying again");
                    interval / 4
                }
            };
        }
    }
}
