//! Which container image the pods run.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{SECRET_NAME, SecretName};
use crate::rules::{Constraint, Findings};

const REPOSITORY: Constraint = Constraint::matches(
    "^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*$",
    "image.repository must be a repository name in lower case without tag and digest",
    "write it like registry.example.com/team/brainyd and put the version into image.tag or image.digest",
);
const TAG: Constraint = Constraint::matches(
    "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$",
    "image.tag must be letters, digits, dots, dashes and underscores, at most 128",
    "write it like 0.1.0, without a colon",
);
const DIGEST: Constraint = Constraint::matches(
    "^sha256:[a-f0-9]{64}$",
    "image.digest must be sha256: and 64 hexadecimal digits",
    "copy it from `docker buildx imagetools inspect`",
);

/// The container image of the data plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSpec {
    /// Repository without tag, such as `registry.example.com/team/brainyd`. Absent: the operator's default image, which
    /// `status.image` then holds on to when the operator is upgraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = REPOSITORY)]
    pub repository: Option<String>,

    /// Tag. Absent: the operator's default version, which `status.image` then holds on to when the operator is upgraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = TAG)]
    pub tag: Option<String>,

    /// Digest, `sha256:` and 64 hexadecimal digits. Wins over the tag, and is the reproducible choice for production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    #[x_kube(validation = DIGEST)]
    pub digest: Option<String>,

    /// When the node pulls the image. Default: IfNotPresent.
    #[serde(default)]
    pub pull_policy: PullPolicy,

    /// Secrets of type kubernetes.io/dockerconfigjson in the cluster's namespace. Default: none.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub pull_secrets: Vec<SecretName>,
}

/// When the node pulls the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Pull at every start.
    Always,
    /// Pull only when the node does not have the image.
    #[default]
    IfNotPresent,
    /// Never pull; the image was loaded onto the node.
    Never,
}

impl ImageSpec {
    pub(crate) fn check(&self, path: &str, findings: &mut Findings) {
        let Self {
            repository,
            tag,
            digest,
            pull_policy: _,
            pull_secrets,
        } = self;
        if let Some(repository) = repository {
            findings.text(&REPOSITORY, &format!("{path}.repository"), repository);
        }
        if let Some(tag) = tag {
            findings.text(&TAG, &format!("{path}.tag"), tag);
        }
        if let Some(digest) = digest {
            findings.text(&DIGEST, &format!("{path}.digest"), digest);
        }
        for (i, secret) in pull_secrets.iter().enumerate() {
            findings.text(
                &SECRET_NAME,
                &format!("{path}.pullSecrets[{i}].name"),
                &secret.name,
            );
        }
    }
}
