//! What instances show a NATS server.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::SECRET_NAME;
use crate::rules::{Constraint, Findings};

pub(super) const NATS_SECRET_ONLY_FOR_PUBSUB: Constraint = Constraint::cel(
    "self.method == 'pubsub' || !has(self.natsSecretRef)",
    "coordination.natsSecretRef has no effect unless coordination.method is pubsub",
    "remove natsSecretRef or set method to pubsub",
)
.at(".natsSecretRef");

/// A Secret with what a NATS server asks for: a user and a password, or a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NatsSecretRef {
    /// Name of the Secret, in the same namespace as the BrainyCluster. A change of the Secret rolls the pods.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = SECRET_NAME)]
    pub name: String,

    /// Which entries of the Secret hold what. Those that it does not have are not shown to the server; `user` and `password`, or
    /// `token`, must exist.
    #[serde(default)]
    pub keys: NatsSecretKeys,
}

/// The entries of the Secret for a NATS server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NatsSecretKeys {
    /// Entry with the user's name. Default: user.
    #[serde(default = "default_user")]
    #[schemars(length(min = 1, max = 253))]
    pub user: String,

    /// Entry with the user's password. Default: password.
    #[serde(default = "default_password")]
    #[schemars(length(min = 1, max = 253))]
    pub password: String,

    /// Entry with a token. Default: token.
    #[serde(default = "default_token")]
    #[schemars(length(min = 1, max = 253))]
    pub token: String,
}

fn default_user() -> String {
    "user".to_owned()
}

fn default_password() -> String {
    "password".to_owned()
}

fn default_token() -> String {
    "token".to_owned()
}

impl Default for NatsSecretKeys {
    fn default() -> Self {
        Self {
            user: default_user(),
            password: default_password(),
            token: default_token(),
        }
    }
}

impl NatsSecretRef {
    pub(super) fn check(&self, path: &str, findings: &mut Findings) {
        findings.text(&SECRET_NAME, &format!("{path}.name"), &self.name);
    }
}
