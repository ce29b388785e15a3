//! What tells a pod that is out of date from one that is not.

use brainy_crds::{BrainyCluster, RESTARTED_AT, Role};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{BuildContext, BuildError, labels, pod_template};

/// Digits of a digest; 64 bits tell the few revisions of one cluster apart.
const DIGITS: usize = 16;

/// Digest of everything that must restart the pods of a role: the pod template, the data of the Secrets that it refers to, and the
/// wish for a restart. It depends on no order and no version of the operator.
///
/// # Errors
/// As of [`build`](super::build).
pub(crate) fn revision(
    cluster: &BrainyCluster,
    role: Role,
    context: &BuildContext<'_>,
) -> Result<String, BuildError> {
    of_template(
        cluster,
        &pod_template::unrevised(cluster, role, context)?,
        context,
    )
}

/// The pod template of a role, annotated with its revision.
pub(super) fn template(
    cluster: &BrainyCluster,
    role: Role,
    context: &BuildContext<'_>,
) -> Result<PodTemplateSpec, BuildError> {
    let mut template = pod_template::unrevised(cluster, role, context)?;
    let revision = of_template(cluster, &template, context)?;
    template
        .metadata
        .get_or_insert_default()
        .annotations
        .get_or_insert_default()
        .insert(labels::REVISION.to_owned(), revision);
    Ok(template)
}

fn of_template(
    cluster: &BrainyCluster,
    template: &PodTemplateSpec,
    context: &BuildContext<'_>,
) -> Result<String, BuildError> {
    let mut template = serde_json::to_value(template)?;
    // Structs are written in their fields' order, which another version of the types may change.
    template.sort_all_objects();
    let restarted_at = cluster.annotations().get(RESTARTED_AT);
    let parts = Value::from(vec![
        template,
        context.secrets_hash.into(),
        restarted_at.map(String::as_str).into(),
    ]);
    Ok(digest(parts.to_string().as_bytes()))
}

/// The first 64 bits of SHA-256, in 16 hexadecimal digits. A cryptographic hash, because parts of what goes in are secret and what
/// comes out can be read by everybody who sees pods.
pub(crate) fn digest(data: &[u8]) -> String {
    let mut text: String = Sha256::digest(data)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    text.truncate(DIGITS);
    text
}
