//! Follows the shared configuration and tells the process what is in force.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{ConfigDocument, ConfigError, EffectiveConfig, SharedConfig};
use crate::document::{self, DocumentError};
use crate::keys;
use crate::store::retry::Store;
use crate::store::{ETag, StoreError};

/// What a poll came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Nothing new.
    Unchanged,
    /// This version is in force now.
    Applied(u64),
}

/// What is in force and where it is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigState {
    /// Version of the shared document that is in force; 0: none.
    pub version: u64,
    /// Its content.
    pub shared: SharedConfig,
    /// What lies over it.
    pub local: SharedConfig,
    /// Why what the store holds now is not in force.
    pub refused: Option<String>,
    /// Why what this process was told locally last is not in force.
    pub refused_local: Option<String>,
    /// How often something was refused.
    pub refusals: u64,
}

/// Follows the shared configuration; clones follow together.
#[derive(Clone, Debug)]
pub struct ConfigWatcher {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    looking: Mutex<Looking>,
    in_force: watch::Sender<EffectiveConfig>,
    state: watch::Sender<ConfigState>,
}

#[derive(Debug, Default)]
struct Looking {
    /// When the last look that succeeded began.
    at: Option<Instant>,
    /// The stored version that was looked at last, applied or refused.
    seen: Option<ETag>,
}

impl ConfigWatcher {
    /// A watcher that begins with `local` over the defaults.
    ///
    /// # Errors
    /// `Invalid` if `local` is.
    pub fn new(store: Store, local: SharedConfig) -> Result<Self, ConfigError> {
        let effective = local.resolve()?;
        let state = ConfigState {
            local,
            ..ConfigState::default()
        };
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                looking: Mutex::default(),
                in_force: watch::Sender::new(effective),
                state: watch::Sender::new(state),
            }),
        })
    }

    /// What is in force, now and from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<EffectiveConfig> {
        self.inner.in_force.subscribe()
    }

    /// Where it is from, and what was refused.
    #[must_use]
    pub fn state(&self) -> ConfigState {
        self.inner.state.borrow().clone()
    }

    /// Woken when [`Self::state`] changes.
    #[must_use]
    pub fn watch_state(&self) -> watch::Receiver<ConfigState> {
        self.inner.state.subscribe()
    }

    /// Looks once: one conditional GET. Calls that wait for the same look share it.
    ///
    /// # Errors
    /// Why the stored version was refused (once per version), or why the store could not be read. What was in force stays.
    pub async fn poll_once(&self) -> Result<Polled, ConfigError> {
        let asked = Instant::now();
        let mut looking = self.inner.looking.lock().await;
        // One that began at this very moment may have been over before we asked.
        if looking.at.is_some_and(|at| at > asked) {
            return Ok(Polled::Unchanged);
        }
        let began = Instant::now();
        let looked = self.look(&mut looking).await;
        if !is_silence(&looked) {
            looking.at = Some(began);
        }
        looked
    }

    async fn look(&self, looking: &mut Looking) -> Result<Polled, ConfigError> {
        let store = &self.inner.store;
        let object = match &looking.seen {
            Some(seen) => store.get_if_changed(keys::CONFIG, seen).await,
            None => store.get(keys::CONFIG).await,
        };
        let object = match object {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(Polled::Unchanged),
            Err(error @ StoreError::NotFound { .. }) => {
                // Whatever is stored next is new, also if it has the bytes of before.
                looking.seen = None;
                let reason = "it was removed from the store";
                self.refuse(|state| &mut state.refused, reason.to_owned());
                return Err(DocumentError::from(error).into());
            }
            Err(error) => return Err(DocumentError::from(error).into()),
        };
        looking.seen = Some(object.etag.clone());
        let judged = document::decode::<ConfigDocument>(keys::CONFIG, &object)
            .map_err(ConfigError::from)
            .and_then(|stored| {
                // The stored part must be right by itself: what a local setting hides here is in force elsewhere.
                stored.config.resolve()?;
                let local = self.inner.state.borrow().local.clone();
                let effective = local.over(&stored.config).resolve()?;
                Ok((stored, effective))
            });
        match judged {
            Ok((stored, effective)) => {
                let version = stored.version;
                self.apply(effective, |state| {
                    state.version = version;
                    state.shared = stored.body.config;
                    state.refused = None;
                });
                Ok(Polled::Applied(version))
            }
            Err(error) => {
                self.refuse(|state| &mut state.refused, error.to_string());
                Err(error)
            }
        }
    }

    /// Lays `local` over the shared settings from now on, in place of what did.
    ///
    /// # Errors
    /// `Invalid`; what was in force stays.
    pub async fn set_local(&self, local: SharedConfig) -> Result<(), ConfigError> {
        let mut looking = self.inner.looking.lock().await;
        let shared = self.inner.state.borrow().shared.clone();
        match local.over(&shared).resolve() {
            Ok(effective) => {
                self.apply(effective, |state| {
                    state.local = local;
                    state.refused_local = None;
                });
                // What the store holds may have been refused only because of what lay over it.
                looking.seen = None;
                Ok(())
            }
            Err(error) => {
                self.refuse_local(error.to_string());
                Err(error)
            }
        }
    }

    /// Notes that what this process was told locally cannot be used, for `reason`.
    pub fn refuse_local(&self, reason: String) {
        self.refuse(|state| &mut state.refused_local, reason);
    }

    fn apply(&self, effective: EffectiveConfig, note: impl FnOnce(&mut ConfigState)) {
        self.inner.in_force.send_if_modified(|now| {
            let changed = *now != effective;
            *now = effective;
            changed
        });
        self.inner.state.send_modify(note);
    }

    fn refuse(&self, of: fn(&mut ConfigState) -> &mut Option<String>, reason: String) {
        self.inner.state.send_if_modified(|state| {
            let refused = of(state);
            if refused.as_ref() == Some(&reason) {
                return false;
            }
            *refused = Some(reason);
            state.refusals += 1;
            true
        });
    }

    /// Looks again and again until `stop`, as often as `pause` says, which is asked again when settings or `woken` change; refusals
    /// and failures are logged once.
    pub async fn run<T>(
        self,
        pause: impl Fn() -> Duration,
        mut woken: watch::Receiver<T>,
        stop: CancellationToken,
    ) {
        let mut in_force = self.subscribe();
        let mut state = self.watch_state();
        let mut told = self.state();
        let mut silent = false;
        loop {
            let began = Instant::now();
            let looked = self.poll_once().await;
            let was_silent = std::mem::replace(&mut silent, is_silence(&looked));
            if let Err(error) = looked
                && silent
                && !was_silent
            {
                tracing::warn!(%error, "cannot read the shared configuration; it stays as it was");
            }
            // A change of the interval, by whatever look, holds at once.
            loop {
                report(&mut told, state.borrow_and_update().clone());
                in_force.borrow_and_update();
                let wait = pause();
                tokio::select! {
                    () = sleep_until(began + wait) => break,
                    _ = in_force.changed() => {}
                    _ = state.changed() => {}
                    Ok(()) = woken.changed() => {}
                    () = stop.cancelled() => return,
                }
            }
        }
    }
}

/// Whether the store gave no answer.
fn is_silence(looked: &Result<Polled, ConfigError>) -> bool {
    let Err(ConfigError::Document(DocumentError::Store(error))) = looked else {
        return false;
    };
    !matches!(error, StoreError::NotFound { .. })
}

/// Logs what is new in `now`.
fn report(told: &mut ConfigState, now: ConfigState) {
    if now.version != told.version {
        tracing::info!(version = now.version, "shared configuration applied");
    }
    if now.local != told.local {
        tracing::info!("local settings applied");
    }
    if now.refused != told.refused
        && let Some(reason) = &now.refused
    {
        tracing::warn!(
            reason,
            in_force = now.version,
            "shared configuration refused"
        );
    }
    if now.refused_local != told.refused_local
        && let Some(reason) = &now.refused_local
    {
        tracing::warn!(reason, "local settings refused; what was in force stays");
    }
    *told = now;
}
