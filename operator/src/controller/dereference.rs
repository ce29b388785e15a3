//! Step 1: what the spec refers to. Secrets are read by name, one GET each, never listed or watched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use brainy_coordination::store::s3::{Connector, Credentials, S3Config};
use brainy_crds::BrainyCluster;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};

use super::error::StepError;
use crate::resources;

/// Secrets are read again this often, so that a new key reaches the pods.
const SECRETS_AGE: Duration = Duration::from_secs(300);
/// One that is missing is looked for this often.
const MISSING_AGE: Duration = Duration::from_secs(10);
/// A request of the operator to S3 that takes longer has failed: it asks again soon.
const S3_TIMEOUT: Duration = Duration::from_secs(10);

/// What the Secrets hold, as far as the operator needs it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct References {
    /// S3 keys, if the spec names a Secret with them.
    keys: Option<S3Keys>,
    /// The key that may do everything, if requests must carry one.
    pub(super) admin_key: Option<String>,
    /// The authority of the cluster's certificates, if it is a private one.
    pub(super) ca: Option<Vec<u8>>,
    /// Digest of everything that pods get from Secrets; `None` if that is nothing.
    pub(super) hash: Option<String>,
}

#[derive(Clone, PartialEq, Eq)]
struct S3Keys {
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
}

/// What is not there, each as a sentence with the command that helps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Of the credentials for the bucket.
    pub(super) storage: Vec<String>,
    /// Of API keys and certificates.
    pub(super) other: Vec<String>,
}

impl Missing {
    fn is_empty(&self) -> bool {
        self.storage.is_empty() && self.other.is_empty()
    }
}

/// The Secrets of one cluster as they were read last.
#[derive(Default)]
pub(super) struct Secrets {
    read: Option<Read>,
    /// The last that were complete.
    good: Option<References>,
}

struct Read {
    at: Instant,
    generation: Option<i64>,
    missing: Missing,
}

impl Secrets {
    /// Reads what the spec refers to, if that was too long ago, and tells what is missing. With something missing the last complete
    /// answer stays: a Secret that is deleted by mistake stops nothing that runs.
    ///
    /// # Errors
    /// What the API server said.
    pub(super) async fn refresh(
        &mut self,
        client: &Client,
        cluster: &BrainyCluster,
        now: Instant,
    ) -> Result<Missing, StepError> {
        if let Some(read) = &self.read {
            let age = if read.missing.is_empty() {
                SECRETS_AGE
            } else {
                MISSING_AGE
            };
            if read.generation == cluster.metadata.generation && now < read.at + age {
                return Ok(read.missing.clone());
            }
        }
        let (references, missing) = read(client, cluster).await?;
        self.read = Some(Read {
            at: now,
            generation: cluster.metadata.generation,
            missing: missing.clone(),
        });
        if let Some(references) = references {
            self.good = Some(references);
        }
        Ok(missing)
    }

    /// The last complete answer.
    pub(super) fn good(&self) -> Option<&References> {
        self.good.as_ref()
    }
}

/// The entries of a Secret, as text or bytes.
struct Entries<'a> {
    name: &'a str,
    namespace: &'a str,
    data: Option<BTreeMap<String, ByteString>>,
}

impl Entries<'_> {
    fn bytes(&self, key: &str) -> Option<&Vec<u8>> {
        let bytes = &self.data.as_ref()?.get(key)?.0;
        (!bytes.is_empty()).then_some(bytes)
    }

    fn text(&self, key: &str) -> Option<String> {
        let text = String::from_utf8(self.bytes(key)?.clone()).ok()?;
        Some(text)
    }

    /// Says what is missing among `required`, and how to bring it.
    fn lacking(&self, field: &str, required: &[&str]) -> Option<String> {
        let Self {
            name, namespace, ..
        } = self;
        let absent: Vec<&&str> = required
            .iter()
            .filter(|key| self.text(key).is_none())
            .collect();
        if absent.is_empty() {
            return None;
        }
        if self.data.is_some() {
            let pairs: Vec<String> = absent
                .iter()
                .map(|key| format!("\"{key}\":\"...\""))
                .collect();
            return Some(format!(
                "{field}: Secret {name} has no usable entry {}; add it: kubectl -n {namespace} patch secret {name} -p '{{\"stringData\":{{{}}}}}'",
                listed(&absent),
                pairs.join(",")
            ));
        }
        let literals: Vec<String> = required
            .iter()
            .map(|key| format!("--from-literal={key}=..."))
            .collect();
        Some(format!(
            "{field}: there is no Secret {name}; create it: kubectl -n {namespace} create secret generic {name} {}",
            literals.join(" ")
        ))
    }
}

fn listed(keys: &[&&str]) -> String {
    let keys: Vec<&str> = keys.iter().map(|key| **key).collect();
    keys.join(", ")
}

async fn read(
    client: &Client,
    cluster: &BrainyCluster,
) -> Result<(Option<References>, Missing), StepError> {
    let namespace = cluster.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let spec = &cluster.spec;
    let names = [
        spec.storage
            .credentials
            .as_ref()
            .and_then(|c| c.secret_ref.as_ref())
            .map(|r| r.name.as_str()),
        spec.api_keys.as_ref().map(|k| k.secret_ref.name.as_str()),
        spec.tls.as_ref().map(|t| t.secret_ref.name.as_str()),
        spec.coordination
            .nats_secret_ref
            .as_ref()
            .map(|n| n.name.as_str()),
    ];
    let mut data: BTreeMap<&str, Option<BTreeMap<String, ByteString>>> = BTreeMap::new();
    for name in names.into_iter().flatten() {
        if !data.contains_key(name) {
            let secret = api.get_opt(name).await;
            let secret = secret.map_err(|error| StepError::request("read Secret", name, error))?;
            data.insert(name, secret.map(|secret| secret.data.unwrap_or_default()));
        }
    }
    Ok(understood(cluster, &namespace, &data))
}

/// What the Secrets say; pure.
fn understood(
    cluster: &BrainyCluster,
    namespace: &str,
    data: &BTreeMap<&str, Option<BTreeMap<String, ByteString>>>,
) -> (Option<References>, Missing) {
    let mut missing = Missing::default();
    let mut used: Vec<(String, Vec<u8>)> = Vec::new();
    let mut references = References {
        keys: None,
        admin_key: None,
        ca: None,
        hash: None,
    };
    let spec = &cluster.spec;
    let secret = spec.storage.credentials.as_ref();
    if let Some(secret) = secret.and_then(|c| c.secret_ref.as_ref()) {
        let entries = entries(&secret.name, namespace, data);
        let keys = &secret.keys;
        let mut required = vec![keys.access_key_id.as_str(), &keys.secret_access_key];
        required.extend(keys.session_token.as_deref());
        missing
            .storage
            .extend(entries.lacking("spec.storage.credentials.secretRef", &required));
        take(&mut used, &entries, &required);
        let text = |key: &str| entries.text(key).map(|text| text.trim().to_owned());
        references.keys = text(&keys.access_key_id)
            .zip(text(&keys.secret_access_key))
            .map(|(access_key, secret_key)| S3Keys {
                access_key,
                secret_key,
                session_token: keys.session_token.as_deref().and_then(text),
            });
    }
    if let Some(keys) = &spec.api_keys {
        let entries = entries(&keys.secret_ref.name, namespace, data);
        let names = &keys.secret_ref.keys;
        missing
            .other
            .extend(entries.lacking("spec.apiKeys.secretRef", &[&names.admin]));
        take(
            &mut used,
            &entries,
            &[&names.admin, &names.read_write, &names.read_only],
        );
        references.admin_key = entries.text(&names.admin);
    }
    if let Some(tls) = &spec.tls {
        let entries = entries(&tls.secret_ref.name, namespace, data);
        let required = ["tls.crt", "tls.key"];
        missing
            .other
            .extend(entries.lacking("spec.tls.secretRef", &required));
        take(&mut used, &entries, &["tls.crt", "tls.key", "ca.crt"]);
        references.ca = entries.bytes("ca.crt").cloned();
    }
    if let Some(nats) = &spec.coordination.nats_secret_ref {
        let entries = entries(&nats.name, namespace, data);
        let keys = &nats.keys;
        // One of two ways is enough; the commoner is the one to bring.
        if entries.text(&keys.token).is_none() {
            let required = [keys.user.as_str(), &keys.password];
            missing
                .other
                .extend(entries.lacking("spec.coordination.natsSecretRef", &required));
        }
        take(
            &mut used,
            &entries,
            &[&keys.user, &keys.password, &keys.token],
        );
    }
    references.hash = digest(&used);
    (missing.is_empty().then_some(references), missing)
}

fn entries<'a>(
    name: &'a str,
    namespace: &'a str,
    data: &BTreeMap<&str, Option<BTreeMap<String, ByteString>>>,
) -> Entries<'a> {
    Entries {
        name,
        namespace,
        data: data.get(name).cloned().flatten(),
    }
}

/// Notes the entries that pods get: an entry that they do not get restarts none of them.
fn take(used: &mut Vec<(String, Vec<u8>)>, entries: &Entries<'_>, keys: &[&str]) {
    for key in keys {
        if let Some(bytes) = entries.bytes(key) {
            used.push((format!("{}/{key}", entries.name), bytes.clone()));
        }
    }
}

fn digest(used: &[(String, Vec<u8>)]) -> Option<String> {
    if used.is_empty() {
        return None;
    }
    let mut all = Vec::new();
    for (name, bytes) in used {
        for part in [name.as_bytes(), bytes] {
            all.extend((part.len() as u64).to_le_bytes());
            all.extend(part);
        }
    }
    Some(resources::digest(&all))
}

/// How the operator reaches the bucket; `None` if the spec names none.
pub(super) fn s3_config(
    cluster: &BrainyCluster,
    references: &References,
    connector: &Connector,
) -> Option<S3Config> {
    let storage = &cluster.spec.storage;
    let credentials = match &references.keys {
        Some(keys) => Credentials::Static {
            access_key: keys.access_key.clone(),
            secret_key: keys.secret_key.clone(),
            session_token: keys.session_token.clone(),
        },
        None => Credentials::DefaultChain,
    };
    Some(S3Config {
        prefix: cluster.storage_prefix(),
        region: storage.region.clone(),
        endpoint: storage.endpoint.clone(),
        path_style: storage.path_style,
        credentials,
        connector: Some(connector.clone()),
        attempt_timeout: S3_TIMEOUT,
        ..S3Config::new(storage.bucket.clone()?)
    })
}

#[cfg(test)]
mod tests {
    use brainy_crds::BrainyClusterSpec;
    use serde_json::json;

    use super::*;

    fn cluster() -> BrainyCluster {
        let spec: BrainyClusterSpec = serde_json::from_value(json!({
            "storage": {"bucket": "vectors", "credentials": {"secretRef": {"name": "s3"}}},
            "apiKeys": {"secretRef": {"name": "keys"}},
            "tls": {"secretRef": {"name": "cert"}},
        }))
        .unwrap();
        BrainyCluster::new("search", spec)
    }

    type Data<'a> = BTreeMap<&'a str, Option<BTreeMap<String, ByteString>>>;

    fn secret(pairs: &[(&str, &str)]) -> Option<BTreeMap<String, ByteString>> {
        let entry =
            |(key, value): &(&str, &str)| (key.to_string(), ByteString(value.as_bytes().to_vec()));
        Some(pairs.iter().map(entry).collect())
    }

    fn complete() -> Data<'static> {
        [
            (
                "s3",
                secret(&[
                    ("AWS_ACCESS_KEY_ID", "id\n"),
                    ("AWS_SECRET_ACCESS_KEY", "secret"),
                ]),
            ),
            ("keys", secret(&[("admin", "root")])),
            (
                "cert",
                secret(&[("tls.crt", "c"), ("tls.key", "k"), ("ca.crt", "a")]),
            ),
        ]
        .into()
    }

    #[test]
    fn complete_secrets_are_understood() {
        let (references, missing) = understood(&cluster(), "team", &complete());
        let references = references.unwrap();
        assert!(missing.is_empty());
        assert_eq!(references.admin_key.as_deref(), Some("root"));
        assert_eq!(references.ca.as_deref(), Some(b"a".as_slice()));
        let config = s3_config(&cluster(), &references, &Connector::new()).unwrap();
        let Credentials::Static { access_key, .. } = config.credentials else {
            panic!("static keys");
        };
        assert_eq!(access_key, "id", "a line end from an editor does not count");
    }

    #[test]
    fn what_is_missing_is_named_with_the_command_that_helps() {
        let mut data = complete();
        data.insert("s3", None);
        data.insert("keys", secret(&[("readOnly", "x")]));
        let (references, missing) = understood(&cluster(), "team", &data);
        assert!(references.is_none());
        assert_eq!(
            missing.storage,
            [
                "spec.storage.credentials.secretRef: there is no Secret s3; create it: kubectl -n team create secret generic s3 --from-literal=AWS_ACCESS_KEY_ID=... --from-literal=AWS_SECRET_ACCESS_KEY=..."
            ]
        );
        assert_eq!(
            missing.other,
            [
                r#"spec.apiKeys.secretRef: Secret keys has no usable entry admin; add it: kubectl -n team patch secret keys -p '{"stringData":{"admin":"..."}}'"#
            ]
        );
    }

    #[test]
    fn a_nats_server_is_shown_a_user_or_a_token() {
        let mut cluster = cluster();
        cluster.spec.coordination = serde_json::from_value(json!({
            "method": "pubsub", "natsUrl": "nats://n", "natsSecretRef": {"name": "nats"},
        }))
        .unwrap();
        let with = |pairs: &[(&str, &str)]| {
            let mut data = complete();
            data.insert("nats", secret(pairs));
            let (references, missing) = understood(&cluster, "team", &data);
            references
                .map(|references| references.hash)
                .ok_or(missing.other)
        };
        let hashes: Vec<Option<String>> =
            [&[("user", "u"), ("password", "p")][..], &[("token", "t")]]
                .into_iter()
                .map(|pairs| with(pairs).unwrap())
                .collect();
        assert_ne!(hashes[0], hashes[1], "another secret is another revision");
        let missing = with(&[("user", "u")]).unwrap_err();
        assert_eq!(
            missing,
            [
                r#"spec.coordination.natsSecretRef: Secret nats has no usable entry password; add it: kubectl -n team patch secret nats -p '{"stringData":{"password":"..."}}'"#
            ]
        );
    }

    #[test]
    fn the_digest_follows_what_pods_get_and_nothing_else() {
        let hash = |data: &Data<'_>| understood(&cluster(), "team", data).0.unwrap().hash;
        let before = hash(&complete());
        let mut data = complete();
        let mut change = |name: &'static str, key: &str, value: &str| {
            let entries = data.get_mut(name).unwrap().as_mut().unwrap();
            entries.insert(key.to_owned(), ByteString(value.as_bytes().to_vec()));
            hash(&data)
        };
        assert_eq!(change("s3", "note", "unrelated"), before);
        let other = change("keys", "readOnly", "r");
        assert_ne!(other, before);
        assert_ne!(change("cert", "tls.crt", "new"), other);
        let plain = BrainyCluster::new("search", BrainyClusterSpec::default());
        let (references, _) = understood(&plain, "team", &Data::new());
        assert_eq!(references.unwrap().hash, None);
    }
}
