//! Configuration that a whole cluster shares, changed while it runs.
//!
//! # Where a value comes from
//! The first of these that has it: command line, environment, file, the shared document in the store, built-in default.
//! What is set locally is thus never overridden from afar. The first three are the caller's: it lays them over each other
//! with [`SharedConfig::over`] and gives the result to [`ConfigWatcher`].
//!
//! # Invariants
//! - A configuration that is out of range is never published, and never applied when somebody stored it by other means:
//!   what was in force stays in force, and the refusal is reported once per stored version.
//! - Publishing names the version that it replaces, so two administrators cannot overwrite each other unseen.
//!
//! # Failure cases
//! - Publishing whose answer was lost and that is repeated recognises itself by content and version, also in the history.
//! - The document is removed: what was in force stays, and that is reported.
//! - The store is away: what was in force stays.

mod setting;
mod watcher;

use serde::{Deserialize, Serialize};

use crate::document::{self, Document, DocumentError, Versioned, Written};
use crate::keys;
use crate::store::retry::Store;

pub use setting::{Setting, Values};
pub use watcher::{ConfigState, ConfigWatcher, Polled};

/// Versions kept in the document besides the current one.
pub const HISTORY: usize = 10;

const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const CONSISTENCIES: [&str; 3] = ["strong", "bounded", "eventual"];

/// How fresh a read must be (design rule 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Sees every write acknowledged before the read began: what programs written for one process expect.
    #[default]
    Strong,
    /// Sees every write older than the staleness bound.
    Bounded,
    /// Sees what is cached.
    Eventual,
}

impl Consistency {
    /// The level named `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "strong" => Some(Self::Strong),
            "bounded" => Some(Self::Bounded),
            "eventual" => Some(Self::Eventual),
            _ => None,
        }
    }
}

/// A field that is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, it must be {rule}")]
pub struct FieldError {
    /// The field.
    pub field: &'static str,
    /// What was given.
    pub value: String,
    /// What is allowed.
    pub rule: String,
}

/// Why a configuration was not read, applied or published.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Reading or writing the document failed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Values are out of range; all of them are listed.
    #[error("configuration refused: {}", list(.0))]
    Invalid(Vec<FieldError>),
    /// Somebody else published meanwhile.
    #[error(
        "configuration is at version {found}, not {expected}: read it again and apply your change to it"
    )]
    VersionConflict {
        /// The version that was to be replaced; 0 means none.
        expected: u64,
        /// The version there is; 0 means none.
        found: u64,
    },
}

fn list(errors: &[FieldError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $name:ident = $default:literal in $min:literal..=$max:literal; )*) => {
        /// All settings, for command lines, files and lists.
        pub const SETTINGS: &[Setting] = &[
            Setting {
                name: "log_level",
                about: "Least severe level that is logged.",
                values: Values::OneOf { default: "info", allowed: &LOG_LEVELS },
            },
            Setting {
                name: "default_consistency",
                about: "Consistency of reads that ask for none.",
                values: Values::OneOf { default: "strong", allowed: &CONSISTENCIES },
            },
            $( Setting {
                name: stringify!($name),
                about: concat!($($doc),+),
                values: Values::Number { default: $default, min: $min, max: $max },
            }, )*
        ];

        /// Settings, each optional: the shared document, or what one process was told locally.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct SharedConfig {
            /// Least severe level that is logged: off, error, warn, info, debug, trace.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub log_level: Option<String>,
            /// Consistency of reads that ask for none: strong, bounded, eventual.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub default_consistency: Option<String>,
            $( $(#[doc = $doc])+ #[serde(default, skip_serializing_if = "Option::is_none")] pub $name: Option<u64>, )*
        }

        /// Every setting with its value.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        pub struct EffectiveConfig {
            /// Least severe level that is logged.
            pub log_level: String,
            /// Consistency of reads that ask for none.
            pub default_consistency: Consistency,
            $( $(#[doc = $doc])+ pub $name: u64, )*
        }

        impl Default for EffectiveConfig {
            fn default() -> Self {
                Self {
                    log_level: "info".to_owned(),
                    default_consistency: Consistency::default(),
                    $( $name: $default, )*
                }
            }
        }

        impl SharedConfig {
            /// These settings, and those of `lower` where there are none here.
            #[must_use]
            pub fn over(&self, lower: &SharedConfig) -> SharedConfig {
                SharedConfig {
                    log_level: self.log_level.clone().or_else(|| lower.log_level.clone()),
                    default_consistency: self.default_consistency.clone().or_else(|| lower.default_consistency.clone()),
                    $( $name: self.$name.or(lower.$name), )*
                }
            }

            /// These settings, and the defaults where there are none here.
            ///
            /// # Errors
            /// [`ConfigError::Invalid`] with everything that is wrong.
            pub fn resolve(&self) -> Result<EffectiveConfig, ConfigError> {
                let mut errors = Vec::new();
                let mut effective = EffectiveConfig::default();
                if let Some(level) = &self.log_level {
                    if !LOG_LEVELS.contains(&level.as_str()) {
                        errors.push(one_of("log_level", level, &LOG_LEVELS));
                    }
                    effective.log_level.clone_from(level);
                }
                if let Some(name) = &self.default_consistency {
                    match Consistency::parse(name) {
                        Some(level) => effective.default_consistency = level,
                        None => errors.push(one_of("default_consistency", name, &CONSISTENCIES)),
                    }
                }
                $( if let Some(value) = self.$name {
                    let allowed: std::ops::RangeInclusive<u64> = $min..=$max;
                    if !allowed.contains(&value) {
                        errors.push(FieldError {
                            field: stringify!($name),
                            value: value.to_string(),
                            rule: format!("from {} to {}", allowed.start(), allowed.end()),
                        });
                    }
                    effective.$name = value;
                } )*
                if effective.max_unflushed_bytes < effective.flush_bytes {
                    errors.push(FieldError {
                        field: "max_unflushed_bytes",
                        value: effective.max_unflushed_bytes.to_string(),
                        rule: format!("at least flush_bytes, which is {}", effective.flush_bytes),
                    });
                }
                if errors.is_empty() { Ok(effective) } else { Err(ConfigError::Invalid(errors)) }
            }
        }
    };
}

settings! {
    /// How old what a `bounded` read sees may be, milliseconds.
    bounded_staleness_ms = 1_000 in 10..=3_600_000;
    /// Unflushed log bytes of a partition at which its writer makes a segment.
    flush_bytes = 67_108_864 in 65_536..=4_294_967_296;
    /// Longest time between a write and its segment, milliseconds.
    flush_interval_ms = 60_000 in 100..=86_400_000;
    /// Unflushed log bytes of a partition at which its writer refuses writes.
    max_unflushed_bytes = 268_435_456 in 65_536..=17_179_869_184;
    /// How often a reader looks for new log slots, milliseconds.
    tail_poll_interval_ms = 500 in 10..=60_000;
    /// How often a node looks at the assignment table, milliseconds.
    assignment_poll_interval_ms = 2_000 in 50..=300_000;
    /// How often a node looks at this configuration, milliseconds.
    config_poll_interval_ms = 900 in 100..=3_600_000;
    /// How often a node looks at anything in the bucket while all other members push changes to it, milliseconds.
    pushed_poll_interval_ms = 30_000 in 100..=3_600_000;
    /// Largest request body, bytes.
    max_request_bytes = 33_554_432 in 1_024..=1_073_741_824;
    /// Most points in one write request.
    max_batch_points = 10_000 in 1..=1_000_000;
    /// Most results of one search.
    max_search_limit = 10_000 in 1..=100_000;
    /// Reads that may wait for a core on a node, besides those that have one.
    max_queued_reads = 512 in 1..=1_000_000;
    /// Longest time for the answer to a request, milliseconds.
    request_timeout_ms = 60_000 in 100..=3_600_000;
    /// Largest size of the vectors of a new collection.
    max_dimension = 65_536 in 1..=65_536;
    /// Segments of a partition at which they are merged.
    segment_merge_threshold = 8 in 2..=1_000;
}

fn one_of(field: &'static str, value: &str, allowed: &[&str]) -> FieldError {
    FieldError {
        field,
        value: format!("'{}'", value.chars().take(64).collect::<String>()),
        rule: format!("one of {}", allowed.join(", ")),
    }
}

/// An earlier version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastConfig {
    /// Its version.
    pub version: u64,
    /// Its content.
    pub config: SharedConfig,
}

/// The shared document's body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigDocument {
    /// The configuration.
    pub config: SharedConfig,
    /// Up to [`HISTORY`] earlier versions, newest first.
    #[serde(default)]
    pub history: Vec<PastConfig>,
}

impl Document for ConfigDocument {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "shared configuration";
}

/// The shared configuration in the store.
#[derive(Clone, Debug)]
pub struct ConfigStore {
    store: Store,
}

impl ConfigStore {
    /// Access through `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The document, `None` if nothing was ever published.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub async fn load(&self) -> Result<Option<Versioned<ConfigDocument>>, DocumentError> {
        document::load(&self.store, keys::CONFIG).await
    }

    /// Publishes `config` in place of version `expected` (0: nothing was published yet) and returns its version.
    ///
    /// # Errors
    /// `Invalid`, `VersionConflict`, or `Document`; after an ambiguous store error repeat the call.
    pub async fn publish_if_version(
        &self,
        expected: u64,
        config: &SharedConfig,
    ) -> Result<u64, ConfigError> {
        config.resolve()?;
        let mut current = self.load().await?;
        loop {
            if current
                .as_ref()
                .is_some_and(|c| published(c, expected + 1, config))
            {
                return Ok(expected + 1);
            }
            let found = current.as_ref().map_or(0, |c| c.version);
            if found != expected {
                return Err(ConfigError::VersionConflict { expected, found });
            }
            let mut history = Vec::new();
            if let Some(current) = &current {
                history.push(PastConfig {
                    version: current.version,
                    config: current.config.clone(),
                });
                history.extend(current.history.iter().take(HISTORY - 1).cloned());
            }
            let body = ConfigDocument {
                config: config.clone(),
                history,
            };
            match document::try_write(&self.store, keys::CONFIG, current.as_ref(), body).await? {
                Written::Ours(written) => return Ok(written.version),
                Written::Lost(found) => current = found,
            }
        }
    }
}

/// Whether version `version` has exactly this content: the call was repeated, or somebody published the same.
fn published(current: &Versioned<ConfigDocument>, version: u64, config: &SharedConfig) -> bool {
    let past = current.history.iter().map(|p| (p.version, &p.config));
    std::iter::once((current.version, &current.config))
        .chain(past)
        .any(|known| known == (version, config))
}
