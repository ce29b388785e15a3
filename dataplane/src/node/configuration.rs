//! The shared configuration, as a node answers for it.

use std::sync::atomic::{AtomicU64, Ordering};

use brainy_coordination::config::{
    ConfigError, ConfigState, ConfigStore, ConfigWatcher, EffectiveConfig, SharedConfig,
};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::Node;
use super::service::from_document;
use crate::error::ServiceError;

/// Body of `POST /sync/config`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigRequest {
    /// Version that the new configuration replaces; 0 for the first.
    version: u64,
    /// The new configuration.
    config: Option<SharedConfig>,
    /// Settings that change; null takes one back to its default. The others stay.
    changes: Option<Map<String, Value>>,
    /// A version of the history that is to be in force again.
    restore: Option<u64>,
}

/// What is in force, and its figures.
#[derive(Debug)]
pub(super) struct Configuration {
    watcher: ConfigWatcher,
    /// The newest version that a node, this or another, has told of.
    told: AtomicU64,
    version: Gauge,
    refused: Gauge,
    refusals: Gauge,
}

impl Configuration {
    /// Registers its figures under `brainy_`.
    pub(super) fn new(watcher: ConfigWatcher, registry: &mut Registry) -> Self {
        let new = Self {
            watcher,
            told: AtomicU64::new(0),
            version: Gauge::default(),
            refused: Gauge::default(),
            refusals: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("brainy");
        registry.register(
            "config_version",
            "Version of the shared configuration in force; 0: none",
            new.version.clone(),
        );
        registry.register(
            "config_refused",
            "1 while the stored configuration or the local file is refused and an earlier one is in force",
            new.refused.clone(),
        );
        registry.register(
            "config_refusals",
            "Configurations that were refused since the start",
            new.refusals.clone(),
        );
        new
    }

    /// Brings the figures up to date.
    pub(super) fn observe(&self) {
        let state = self.watcher.state();
        self.version.set(state.version as i64);
        let refused = state.refused.is_some() || state.refused_local.is_some();
        self.refused.set(i64::from(refused));
        self.refusals.set(state.refusals as i64);
    }

    /// Notes that a node tells of `version`; says whether none had before.
    pub(super) fn is_news(&self, version: u64) -> bool {
        self.told.fetch_max(version, Ordering::Relaxed) < version
    }

    /// What is in force, now and from now on.
    pub(super) fn states(&self) -> watch::Receiver<ConfigState> {
        self.watcher.watch_state()
    }

    /// For `/health`.
    pub(super) fn health(&self) -> Value {
        let state = self.watcher.state();
        json!({
            "version": state.version,
            "refused": state.refused,
            "refusedLocal": state.refused_local,
        })
    }

    /// Somebody says that there is another version.
    pub(super) async fn look(&self) {
        // A refusal is kept and reported by the watcher, and silence of the store by its own looks.
        let _looked = self.watcher.poll_once().await;
    }
}

impl Node {
    /// Another node says that the shared configuration has `version`.
    pub(super) async fn follow_configuration(&self, version: u64) {
        self.configuration().is_news(version);
        if self.configuration().watcher.state().version != version {
            self.configuration().look().await;
        }
    }

    /// Publishes what `body` asks for, if there is one, takes it up, tells the others, and answers what is stored.
    pub(super) async fn publish_config(&self, body: Option<Value>) -> Result<Value, ServiceError> {
        let configs = ConfigStore::new(self.store().clone());
        if let Some(body) = body {
            let request: ConfigRequest = serde_json::from_value(body)
                .map_err(|e| ServiceError::BadRequest(format!("configuration: {e}")))?;
            let version = publish(&configs, request).await?;
            self.configuration().is_news(version);
            self.configuration().look().await;
            self.context().hint_configuration(version);
        } else {
            self.configuration().look().await;
        }
        let stored = configs.load().await.map_err(from_document)?;
        let state = self.configuration().watcher.state();
        Ok(json!({
            "version": stored.as_ref().map_or(0, |c| c.version),
            "config": stored.map(|c| c.body.config).unwrap_or_default(),
            "inForce": state.version,
            "refused": state.refused,
        }))
    }

    /// What is in force here, where each value is from, what is stored and what was.
    pub(super) async fn describe_config(&self) -> Result<Value, ServiceError> {
        let stored = ConfigStore::new(self.store().clone());
        let stored = stored.load().await;
        let state = self.configuration().watcher.state();
        let effective = self.settings();
        let (version, config, history, unreadable) = match stored {
            Ok(Some(c)) => (c.version, c.body.config, c.body.history, None),
            Ok(None) => (0, SharedConfig::default(), Vec::new(), None),
            // What is in force can be told all the same.
            Err(error) => (
                0,
                SharedConfig::default(),
                Vec::new(),
                Some(error.to_string()),
            ),
        };
        Ok(json!({
            "version": version,
            "config": config,
            "history": history,
            "unreadable": unreadable,
            "inForce": state.version,
            "refused": state.refused,
            "refusedLocal": state.refused_local,
            "effective": effective,
            "sources": sources(&state, &effective)?,
        }))
    }
}

async fn publish(configs: &ConfigStore, request: ConfigRequest) -> Result<u64, ServiceError> {
    let ConfigRequest {
        version,
        config,
        changes,
        restore,
    } = request;
    let wanted = match (config, changes, restore) {
        (Some(config), None, None) => config,
        (None, Some(changes), None) => {
            let current = configs.load().await.map_err(from_document)?;
            changed(current.map(|c| c.body.config).unwrap_or_default(), changes)?
        }
        (None, None, Some(restore)) => {
            let current = configs.load().await.map_err(from_document)?;
            let past = current.and_then(|c| {
                let mut past = c.body.history.into_iter();
                past.find(|past| past.version == restore)
            });
            let Some(past) = past else {
                return Err(ServiceError::NotFound(format!(
                    "restore: version {restore} is not in the history; GET /sync/config lists it"
                )));
            };
            past.config
        }
        _ => {
            return Err(ServiceError::BadRequest(
                "configuration: exactly one of 'config', 'changes' and 'restore' is needed beside 'version'"
                    .to_owned(),
            ));
        }
    };
    let published = configs.publish_if_version(version, &wanted).await;
    published.map_err(|e| match e {
        ConfigError::Document(e) => from_document(e),
        ConfigError::VersionConflict { .. } => ServiceError::Conflict(e.to_string()),
        other => ServiceError::BadRequest(other.to_string()),
    })
}

/// `current` with `changes`.
fn changed(
    current: SharedConfig,
    changes: Map<String, Value>,
) -> Result<SharedConfig, ServiceError> {
    let internal = |e: serde_json::Error| ServiceError::Internal(e.to_string());
    let Value::Object(mut fields) = serde_json::to_value(current).map_err(internal)? else {
        return Err(ServiceError::Internal(
            "a configuration is no object".to_owned(),
        ));
    };
    // A name that does not exist is refused also where it is to be taken back.
    fields.extend(changes);
    serde_json::from_value(Value::Object(fields))
        .map_err(|e| ServiceError::BadRequest(format!("changes: {e}")))
}

/// For each setting `local`, `shared` or `default`.
fn sources(state: &ConfigState, effective: &EffectiveConfig) -> Result<Value, ServiceError> {
    let fields = |value: Result<Value, serde_json::Error>| match value {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Ok(Map::new()),
        Err(e) => Err(ServiceError::Internal(e.to_string())),
    };
    let local = fields(serde_json::to_value(&state.local))?;
    let shared = fields(serde_json::to_value(&state.shared))?;
    let all = fields(serde_json::to_value(effective))?;
    let source = |name: &str| {
        if local.contains_key(name) {
            "local"
        } else if shared.contains_key(name) {
            "shared"
        } else {
            "default"
        }
    };
    let sources = all.keys().map(|name| (name.clone(), source(name).into()));
    Ok(Value::Object(sources.collect()))
}
