//! Small JSON documents that many processes change by compare-and-swap.
//!
//! On the wire a document is one JSON object: `format`, `version` and `nonce` beside the fields of its body. `version`
//! grows by one with each change, and the nonce is fresh for every attempt to write, so that no two attempts ever have the
//! same bytes and an ETag never repeats (design rule 2).
//!
//! # Invariants
//! - A document that exists is only ever replaced under `If-Match`, and only created under `If-None-Match: *`.
//! - Its version is the number of changes since it was created; two contents never share a version.
//! - A format that this binary does not know is refused by name and never overwritten; content that does not parse likewise.
//!
//! # A field that is added
//! An older binary that rewrites a document drops fields it does not know. A field whose loss would hurt therefore needs
//! a new [`Document::FORMAT`]; one that only informs may be added with `#[serde(default)]`. A new format whose additions have
//! defaults leaves [`Document::OLDEST`] as it was: documents of before are read, and are of the new format once they change.
//!
//! # Failure cases
//! - Our write was applied, its answer was lost, and somebody has already changed the document again: the loss looks like
//!   an ordinary conflict. [`update`] then calls the function again on what is there now, so the function **must be
//!   idempotent**: given a state that already contains its effect it must recognise it (by an id it wrote, or because the
//!   change is a no-op) and return [`Update::Keep`].
//! - The deadline passes under contention: [`DocumentError::Contended`]; nothing was changed by the last attempt.
//! - The store gives no answer until its own deadline: [`DocumentError::Store`] with `Ambiguous`; the change may
//!   appear later, so the caller reads again before it says anything about it.

use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::store::retry::{Created, Store, Swapped};
use crate::store::{ETag, Object, StoreError};
use crate::types::Nonce;

/// How long [`update`] goes on after lost races before it reports [`DocumentError::Contended`].
pub const UPDATE_DEADLINE: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The body of a compare-and-swap document. Serialises to a JSON object without fields named `format`, `version`, `nonce`.
pub trait Document: Serialize + DeserializeOwned + Clone + Send + Sync {
    /// Format that this binary writes.
    const FORMAT: u32;
    /// Oldest format that this binary reads: what was added since has a default.
    const OLDEST: u32 = Self::FORMAT;
    /// What the document is, for messages: "assignment table".
    const WHAT: &'static str;
}

/// Why a document could not be read or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DocumentError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Written by a version of Brainy that knows more than this one.
    #[error(
        "{what} '{key}' was written by a newer Brainy: format {found}, this binary knows {known}. Upgrade this process"
    )]
    UnknownFormat {
        /// What the document is.
        what: &'static str,
        /// Key below the prefix.
        key: String,
        /// Format found.
        found: u32,
        /// Format known.
        known: u32,
    },
    /// The bytes are not such a document.
    #[error(
        "{what} '{key}' cannot be read: {message}. It was left untouched; restore an earlier version of this object (bucket versioning or a backup)"
    )]
    Corrupt {
        /// What the document is.
        what: &'static str,
        /// Key below the prefix.
        key: String,
        /// What the parser said.
        message: String,
    },
    /// The body does not serialise to a JSON object: a defect of this program.
    #[error(
        "{what} for '{key}' cannot be written: {message}. This is a defect in Brainy, please report it"
    )]
    Encode {
        /// What the document is.
        what: &'static str,
        /// Key below the prefix.
        key: String,
        /// What the serialiser said.
        message: String,
    },
    /// Others changed the document first, again and again.
    #[error(
        "{what} '{key}' changed under each of {attempts} attempts within {waited:?}. Try again; if it persists, look for a process that rewrites it in a loop"
    )]
    Contended {
        /// What the document is.
        what: &'static str,
        /// Key below the prefix.
        key: String,
        /// Attempts made.
        attempts: u32,
        /// Time spent.
        waited: Duration,
    },
}

/// A document as it was read or written. Dereferences to its body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// Number of changes since creation; the first is 1.
    pub version: u64,
    /// Identity of this very write.
    pub nonce: Nonce,
    /// Tag to replace exactly this version.
    pub etag: ETag,
    /// The content.
    pub body: T,
}

impl<T> Deref for Versioned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.body
    }
}

/// What a function given to [`update`] wants done.
#[derive(Clone, Debug)]
pub enum Update<T, R> {
    /// Write this body, and return `R` when it is written.
    Write(T, R),
    /// Write nothing.
    Keep(R),
}

/// What [`update`] came to.
#[derive(Clone, Debug)]
pub struct Updated<T, R> {
    /// The document afterwards; `None` when there was none and nothing was written.
    pub current: Option<Versioned<T>>,
    /// What the function returned with its last decision.
    pub outcome: R,
    /// Whether the last decision was a write. `false` may still mean that an earlier attempt of this call was applied.
    pub wrote: bool,
}

/// What [`try_write`] came to.
#[derive(Clone, Debug)]
pub enum Written<T> {
    /// Ours is in place.
    Ours(Versioned<T>),
    /// Another version is there, `None` if nothing is. Ours may have been in between (an answer was lost).
    Lost(Option<Versioned<T>>),
}

#[derive(Serialize)]
struct EnvelopeRef<'a, T> {
    format: u32,
    version: u64,
    nonce: Nonce,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Envelope<T> {
    version: u64,
    nonce: Nonce,
    #[serde(flatten)]
    body: T,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// Parses an object as document `T`; the format is judged before anything else is looked at.
///
/// # Errors
/// `UnknownFormat` or `Corrupt`, naming `key`.
pub fn decode<T: Document>(key: &str, object: &Object) -> Result<Versioned<T>, DocumentError> {
    let corrupt = |e: serde_json::Error| DocumentError::Corrupt {
        what: T::WHAT,
        key: key.to_owned(),
        message: e.to_string(),
    };
    let FormatOnly { format } = serde_json::from_slice(&object.body).map_err(corrupt)?;
    if !(T::OLDEST..=T::FORMAT).contains(&format) {
        return Err(DocumentError::UnknownFormat {
            what: T::WHAT,
            key: key.to_owned(),
            found: format,
            known: T::FORMAT,
        });
    }
    let envelope: Envelope<T> = serde_json::from_slice(&object.body).map_err(corrupt)?;
    Ok(Versioned {
        version: envelope.version,
        nonce: envelope.nonce,
        etag: object.etag.clone(),
        body: envelope.body,
    })
}

fn encode<T: Document>(
    key: &str,
    version: u64,
    nonce: Nonce,
    body: &T,
) -> Result<Bytes, DocumentError> {
    let envelope = EnvelopeRef {
        format: T::FORMAT,
        version,
        nonce,
        body,
    };
    serde_json::to_vec(&envelope)
        .map(Bytes::from)
        .map_err(|e| DocumentError::Encode {
            what: T::WHAT,
            key: key.to_owned(),
            message: e.to_string(),
        })
}

/// The document at `key`, `None` when there is none.
///
/// # Errors
/// [`DocumentError`], never `Contended`.
pub async fn load<T: Document>(
    store: &Store,
    key: &str,
) -> Result<Option<Versioned<T>>, DocumentError> {
    match store.get(key).await? {
        Some(object) => decode(key, &object).map(Some),
        None => Ok(None),
    }
}

/// The document at `key` if it is no longer the version `known` (costs one request that answers 304 otherwise).
///
/// # Errors
/// [`DocumentError`]; a document that vanished is `Store(NotFound)`.
pub async fn load_if_changed<T: Document>(
    store: &Store,
    key: &str,
    known: &ETag,
) -> Result<Option<Versioned<T>>, DocumentError> {
    match store.get_if_changed(key, known).await? {
        Some(object) => decode(key, &object).map(Some),
        None => Ok(None),
    }
}

/// One attempt: puts `body` in place of exactly `current` (`None`: creates the document).
///
/// # Errors
/// [`DocumentError`], never `Contended`; with `Store(Ambiguous)` the write may appear later.
pub async fn try_write<T: Document>(
    store: &Store,
    key: &str,
    current: Option<&Versioned<T>>,
    body: T,
) -> Result<Written<T>, DocumentError> {
    let version = current.map_or(0, |c| c.version) + 1;
    let nonce = Nonce::random();
    let bytes = encode(key, version, nonce, &body)?;
    let lost = match current {
        Some(current) => match store.swap(key, bytes, &current.etag).await? {
            Swapped::Ours(etag) => Ok(etag),
            Swapped::Lost(found) => Err(found),
        },
        None => match store.create(key, bytes).await? {
            Created::Ours(etag) => Ok(etag),
            Created::Exists(found) => Err(Some(found)),
        },
    };
    match lost {
        Ok(etag) => Ok(Written::Ours(Versioned {
            version,
            nonce,
            etag,
            body,
        })),
        Err(Some(object)) => decode(key, &object).map(|found| Written::Lost(Some(found))),
        Err(None) => Ok(Written::Lost(None)),
    }
}

/// Read, decide, write; again from the start when another process was faster, until [`UPDATE_DEADLINE`].
///
/// `decide` may be called several times and must be idempotent (see the module's failure cases).
///
/// # Errors
/// What `decide` returned, or a [`DocumentError`].
pub async fn update<T, R, E>(
    store: &Store,
    key: &str,
    mut decide: impl FnMut(Option<&Versioned<T>>) -> Result<Update<T, R>, E>,
) -> Result<Updated<T, R>, E>
where
    T: Document,
    E: From<DocumentError>,
{
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut attempts = 0;
    let mut current = load::<T>(store, key).await?;
    loop {
        let (body, outcome) = match decide(current.as_ref())? {
            Update::Write(body, outcome) => (body, outcome),
            Update::Keep(outcome) => {
                return Ok(Updated {
                    current,
                    outcome,
                    wrote: false,
                });
            }
        };
        attempts += 1;
        match try_write(store, key, current.as_ref(), body).await? {
            Written::Ours(written) => {
                return Ok(Updated {
                    current: Some(written),
                    outcome,
                    wrote: true,
                });
            }
            Written::Lost(found) => current = found,
        }
        if started.elapsed() + pause > UPDATE_DEADLINE {
            return Err(E::from(DocumentError::Contended {
                what: T::WHAT,
                key: key.to_owned(),
                attempts,
                waited: started.elapsed(),
            }));
        }
        // The winner's document is in hand, so the first retry follows at once; later ones spread out and read anew.
        if attempts > 1 {
            sleep(store.jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            current = load::<T>(store, key).await?;
        }
    }
}
