//! The start-up probe: does this store really decide conditional writes? (design rule 1)
//!
//! Some gateways ignore conditions and answer 200; some decide them without a lock and let several creators win. Either
//! loses acknowledged writes, so a node refuses to run on such a store, saying which check failed and what it saw.

mod checks;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use self::checks::Probe;
use super::s3::S3Store;
use super::{ObjectStore, StoreError};
use crate::keys;
use crate::types::Nonce;

/// How to probe.
#[derive(Clone, Copy, Debug)]
pub struct ProbeOptions {
    /// Concurrent writers in each race, at least 2. SeaweedFS makes each loser wait about a second.
    pub contenders: usize,
    /// Longest time for all checks together.
    pub deadline: Duration,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            contenders: 32,
            deadline: Duration::from_secs(180),
        }
    }
}

/// One thing that a store must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// A created object can be read at once, with the tag that its creation told.
    ReadAfterWrite,
    /// A second `If-None-Match: *` is refused and changes nothing.
    CreateTwice,
    /// `If-Match` with the current tag replaces the object.
    CurrentIfMatch,
    /// `If-Match` with an old tag is refused and changes nothing.
    StaleIfMatch,
    /// `If-Match` on a key that does not exist is refused and creates nothing.
    IfMatchOnMissing,
    /// Of many concurrent creators exactly one wins.
    CreateRace,
    /// Of many concurrent replacements of one version exactly one wins.
    SwapRace,
    /// A conditional GET tells "not modified" from "modified".
    ConditionalRead,
    /// A range read returns exactly that range.
    RangeRead,
    /// A listing shows what was written, in order, and not what was removed.
    ListAfterWrite,
    /// A removed object is gone.
    ReadAfterDelete,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadAfterWrite => "read after write",
            Self::CreateTwice => "create twice (If-None-Match: *)",
            Self::CurrentIfMatch => "replace the current version (If-Match)",
            Self::StaleIfMatch => "replace an old version (If-Match)",
            Self::IfMatchOnMissing => "If-Match on a missing key",
            Self::CreateRace => "concurrent creators",
            Self::SwapRace => "concurrent replacements",
            Self::ConditionalRead => "conditional read",
            Self::RangeRead => "range read",
            Self::ListAfterWrite => "list after write",
            Self::ReadAfterDelete => "read after delete",
        })
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// Checks that passed, in order.
    pub passed: Vec<Check>,
    /// How long they took.
    pub took: Duration,
    /// Whether the store takes tags in `If-Match` only without quotes.
    pub unquoted_if_match: bool,
}

/// Why a store is not used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProbeError {
    /// The store does something else than it must.
    #[error(
        "the store failed the check '{check}': {observed}. Brainy cannot keep data safe on it: use a store that supports conditional writes (AWS S3, MinIO, Ceph 19 or newer, SeaweedFS 4.17 or newer), without a gateway in front that drops the If-Match and If-None-Match headers"
    )]
    Unfit {
        /// The check.
        check: Check,
        /// What the store did.
        observed: String,
    },
    /// The store could not be asked.
    #[error("the store could not be probed (check '{check}'): {source}")]
    Store {
        /// The check that was under way.
        check: Check,
        /// What the store said.
        source: StoreError,
    },
    /// The checks took too long.
    #[error(
        "the store did not pass all checks within {deadline:?}, the last one under way was '{check}'. Check the connection to it, or allow more time or fewer contenders"
    )]
    Late {
        /// The check that was under way.
        check: Check,
        /// Time allowed.
        deadline: Duration,
    },
}

/// Checks `store` with objects of its own below [`keys::PROBES`], which it removes at the end.
///
/// # Errors
/// [`ProbeError`]; a node must not run on this store then.
pub async fn probe(
    store: Arc<dyn ObjectStore>,
    options: ProbeOptions,
) -> Result<ProbeReport, ProbeError> {
    let started = Instant::now();
    let prefix = format!("{}{}/", keys::PROBES, Nonce::random());
    let mut probe = Probe::new(store, prefix, options.contenders.max(2));
    let outcome = timeout(options.deadline, probe.run()).await;
    let cleaned = timeout(options.deadline, probe.clean()).await;
    if cleaned.is_err() {
        tracing::warn!(
            prefix = probe.prefix(),
            "objects of the probe were left behind"
        );
    }
    match outcome {
        Ok(Ok(())) => Ok(ProbeReport {
            passed: probe.passed(),
            took: started.elapsed(),
            unquoted_if_match: false,
        }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ProbeError::Late {
            check: probe.current(),
            deadline: options.deadline,
        }),
    }
}

/// As [`probe`], and finds out whether the store takes tags with quotes (all but Ceph) or without.
///
/// # Errors
/// As [`probe`].
pub async fn probe_s3(
    store: &Arc<S3Store>,
    options: ProbeOptions,
) -> Result<ProbeReport, ProbeError> {
    match probe(Arc::clone(store) as Arc<dyn ObjectStore>, options).await {
        Err(ProbeError::Unfit {
            check: Check::CurrentIfMatch,
            observed,
        }) => {
            tracing::info!(observed, "trying If-Match without quotes");
            store.set_unquoted_if_match(true);
            let again = probe(Arc::clone(store) as Arc<dyn ObjectStore>, options).await;
            if again.is_err() {
                store.set_unquoted_if_match(false);
            }
            again.map(|report| ProbeReport {
                unquoted_if_match: true,
                ..report
            })
        }
        done => done,
    }
}
