//! Variables of the container: who the pod is, its keys, and what the spec adds.

use brainy_crds::{BrainyCluster, Role};
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, SecretKeySelector};

use super::pod_template::PORT;
use super::{BuildError, labels};

/// The pod's name, which is the instance's.
pub(super) const POD_NAME: &str = "BRAINY_POD_NAME";
/// The pod's address.
pub(super) const POD_IP: &str = "BRAINY_POD_IP";

/// Where other nodes reach the pod, for the container and for the hook that runs before it ends.
pub(super) const ADVERTISE: &str = "BRAINY_ADVERTISE";

/// The operator's variables, then those of the spec, which may refer to them. A variable of the spec that has the name of one of the
/// operator's is left out: a name twice would be refused.
pub(super) fn env(cluster: &BrainyCluster, role: Role) -> Result<Vec<EnvVar>, BuildError> {
    let mut all = vec![
        of_pod(POD_NAME, "metadata.name"),
        of_pod(POD_IP, "status.podIP"),
        EnvVar {
            name: ADVERTISE.to_owned(),
            value: Some(format!("{}:{PORT}", host(cluster, role)?)),
            value_from: None,
        },
    ];
    all.extend(storage_keys(cluster));
    all.extend(api_keys(cluster));
    all.extend(nats_credentials(cluster));
    let ours = all.len();
    for entry in &cluster.spec.role(role).pod_template.env {
        if !all[..ours].iter().any(|own| own.name == entry.name) {
            all.push(entry.clone());
        }
    }
    Ok(all)
}

/// The pod's host, of the variables before it.
fn host(cluster: &BrainyCluster, role: Role) -> Result<String, BuildError> {
    if cluster.spec.tls.is_none() {
        return Ok(format!("$({POD_IP})"));
    }
    // Certificates name hosts and not the addresses of pods.
    let (service, namespace) = (
        labels::headless_name(cluster, role),
        labels::namespace(cluster)?,
    );
    Ok(format!("$({POD_NAME}).{service}.{namespace}.svc"))
}

fn storage_keys(cluster: &BrainyCluster) -> Vec<EnvVar> {
    let credentials = cluster.spec.storage.credentials.as_ref();
    let Some(secret) = credentials.and_then(|c| c.secret_ref.as_ref()) else {
        return Vec::new();
    };
    let keys = &secret.keys;
    let mut all = vec![
        of_secret(
            "AWS_ACCESS_KEY_ID",
            &secret.name,
            &keys.access_key_id,
            false,
        ),
        of_secret(
            "AWS_SECRET_ACCESS_KEY",
            &secret.name,
            &keys.secret_access_key,
            false,
        ),
    ];
    if let Some(token) = &keys.session_token {
        all.push(of_secret("AWS_SESSION_TOKEN", &secret.name, token, false));
    }
    all
}

fn api_keys(cluster: &BrainyCluster) -> Vec<EnvVar> {
    let Some(keys) = &cluster.spec.api_keys else {
        return Vec::new();
    };
    let (name, keys) = (&keys.secret_ref.name, &keys.secret_ref.keys);
    vec![
        of_secret("BRAINY_API_KEY", name, &keys.admin, false),
        of_secret("BRAINY_READ_WRITE_API_KEY", name, &keys.read_write, true),
        of_secret("BRAINY_READ_ONLY_API_KEY", name, &keys.read_only, true),
    ]
}

/// Only the entries that the Secret has: they are alternatives.
fn nats_credentials(cluster: &BrainyCluster) -> Vec<EnvVar> {
    let Some(secret) = &cluster.spec.coordination.nats_secret_ref else {
        return Vec::new();
    };
    let keys = &secret.keys;
    [
        ("BRAINY_NATS_USER", &keys.user),
        ("BRAINY_NATS_PASSWORD", &keys.password),
        ("BRAINY_NATS_TOKEN", &keys.token),
    ]
    .into_iter()
    .map(|(variable, key)| of_secret(variable, &secret.name, key, true))
    .collect()
}

fn of_pod(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: field.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn of_secret(name: &str, secret: &str, key: &str, optional: bool) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.to_owned(),
                key: key.to_owned(),
                optional: optional.then_some(true),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}
