//! Secrets and ConfigMaps that a pod names.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

/// What a Secret or ConfigMap holds.
pub(super) type Data = BTreeMap<String, Vec<u8>>;

/// Names of objects in the pod's namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) secrets: BTreeSet<String>,
    pub(super) config_maps: BTreeSet<String>,
}

/// The objects as they are now; those that do not exist are not among them.
#[derive(Debug, Default)]
pub(super) struct References {
    pub(super) namespace: String,
    pub(super) secrets: BTreeMap<String, Data>,
    pub(super) config_maps: BTreeMap<String, Data>,
}

impl References {
    /// Reads them by name.
    ///
    /// # Errors
    /// Any answer but "not found".
    pub(super) async fn fetch(
        client: &Client,
        namespace: &str,
        names: &Names,
    ) -> Result<Self, kube::Error> {
        let mut found = Self {
            namespace: namespace.to_owned(),
            ..Self::default()
        };
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        for name in &names.secrets {
            if let Some(secret) = secrets.get_opt(name).await? {
                let data = secret.data.unwrap_or_default();
                let data = data.into_iter().map(|(key, value)| (key, value.0));
                found.secrets.insert(name.clone(), data.collect());
            }
        }
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        for name in &names.config_maps {
            if let Some(map) = maps.get_opt(name).await? {
                let text = map.data.unwrap_or_default();
                let text = text.into_iter().map(|(k, v)| (k, v.into_bytes()));
                let binary = map.binary_data.unwrap_or_default();
                let binary = binary.into_iter().map(|(k, v)| (k, v.0));
                found
                    .config_maps
                    .insert(name.clone(), text.chain(binary).collect());
            }
        }
        Ok(found)
    }

    /// A whole Secret; `None` if it is not there but need not be.
    pub(super) fn secret(&self, name: &str, optional: bool) -> Result<Option<&Data>, String> {
        found(self.secrets.get(name), "secret", name, optional)
    }

    /// A whole ConfigMap; `None` if it is not there but need not be.
    pub(super) fn config_map(&self, name: &str, optional: bool) -> Result<Option<&Data>, String> {
        found(self.config_maps.get(name), "configmap", name, optional)
    }
}

fn found<'a>(
    data: Option<&'a Data>,
    kind: &str,
    name: &str,
    optional: bool,
) -> Result<Option<&'a Data>, String> {
    match data {
        None if !optional => Err(format!("{kind} \"{name}\" not found")),
        data => Ok(data),
    }
}
