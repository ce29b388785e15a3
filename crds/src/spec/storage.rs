//! Where the cluster's only durable state lives.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::common::SECRET_NAME;
use crate::rules::{Constraint, Findings};

const BUCKET_NAME: Constraint = Constraint::matches(
    "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
    "storage.bucket must be 3 to 63 lower case letters, digits, dashes and dots, and begin and end with a letter or digit",
    "use the bucket's name alone, without s3:// and without a path",
);
const BUCKET_DOTS_ARE_SINGLE: Constraint = Constraint::cel(
    "!self.contains('..')",
    "storage.bucket must not contain two dots in a row",
    "use the bucket's name as the S3 server lists it",
);
const BUCKET_IS_NO_ADDRESS: Constraint = Constraint::cel(
    "!self.matches('^[0-9]+[.][0-9]+[.][0-9]+[.][0-9]+$')",
    "storage.bucket must not look like an IP address",
    "name the bucket here and put the server's address into storage.endpoint",
);
const PREFIX: Constraint = Constraint::matches(
    "^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$",
    "storage.prefix must be segments of letters, digits, dots, dashes and underscores joined by single slashes, without a slash at its ends",
    "write it like team-a/search",
);
const ENDPOINT: Constraint = Constraint::matches(
    "^https?://[A-Za-z0-9._:-]+(/[A-Za-z0-9._/-]*)?$",
    "storage.endpoint must be an http:// or https:// URL without user name, query and fragment",
    "write it like https://s3.eu-central-1.amazonaws.com or http://seaweedfs.storage.svc:8333",
);
const NEEDS_BUCKET: Constraint = Constraint::cel(
    "has(self.bucket) || !(has(self.endpoint) || has(self.credentials))",
    "storage.endpoint and storage.credentials need storage.bucket",
    "name the bucket, or remove both to use the embedded server of `brainy-operator local`",
)
.at(".bucket");
const BUCKET_IMMUTABLE: Constraint = Constraint::cel(
    "!has(oldSelf.bucket) || (has(self.bucket) && self.bucket == oldSelf.bucket)",
    "storage.bucket cannot change once it is set, the data would be left behind",
    "create a new BrainyCluster on the other bucket and restore a snapshot into it",
)
.at(".bucket");
const PREFIX_IMMUTABLE: Constraint = Constraint::cel(
    "!has(oldSelf.bucket) || (has(self.prefix) == has(oldSelf.prefix) && (!has(self.prefix) || self.prefix == oldSelf.prefix))",
    "storage.prefix cannot change once the bucket is set, the data would be left behind",
    "create a new BrainyCluster under the other prefix and restore a snapshot into it",
)
.at(".prefix");
const ONE_CREDENTIAL: Constraint = Constraint::cel(
    "has(self.secretRef) != has(self.workloadIdentity)",
    "storage.credentials needs exactly one of secretRef and workloadIdentity",
    "keep one of them, or remove storage.credentials to use what the pod's environment offers",
);
const SECRET_KEYS_DIFFER: Constraint = Constraint::cel(
    "self.accessKeyId != self.secretAccessKey",
    "the access key id and the secret access key cannot be the same entry of the Secret",
    "name two different keys",
);
const ROLE_ARN: Constraint = Constraint::matches(
    "^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$",
    "roleArn must be the ARN of an IAM role",
    "write it like arn:aws:iam::123456789012:role/brainy",
);
const OWN_SERVICE_ACCOUNT: Constraint = Constraint::cel(
    "!has(self.serviceAccountName) || (!has(self.roleArn) && size(self.serviceAccountAnnotations) == 0)",
    "an existing ServiceAccount is not edited by the operator",
    "put the annotations onto that ServiceAccount yourself, or remove serviceAccountName to let the operator create one",
)
.at(".serviceAccountName");
const SERVICE_ACCOUNT_NAME: Constraint = Constraint::matches(
    "^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
    "serviceAccountName must be the name of a ServiceAccount: lower case letters, digits, dashes and dots",
    "name a ServiceAccount in the same namespace as the BrainyCluster",
);

/// The S3 bucket that holds the cluster's only durable state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = NEEDS_BUCKET, validation = BUCKET_IMMUTABLE, validation = PREFIX_IMMUTABLE)]
pub struct StorageSpec {
    /// Name of an existing bucket whose server honours conditional writes (If-None-Match and If-Match). May be absent only for
    /// `brainy-operator local`, which then starts an embedded S3 server; in Kubernetes the operator reports
    /// StorageReady=False with reason BucketNotConfigured and starts no pods until it is set. Once set it cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(
        validation = BUCKET_NAME,
        validation = BUCKET_DOTS_ARE_SINGLE,
        validation = BUCKET_IS_NO_ADDRESS
    )]
    pub bucket: Option<String>,

    /// Key prefix of everything that the cluster writes, without slashes at its ends, at most 256 characters. Absent:
    /// `<namespace>/<name>` of the BrainyCluster. Two clusters must never share a prefix. Once the bucket is set it cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = PREFIX)]
    pub prefix: Option<String>,

    /// Region that requests are signed for, such as `eu-central-1`. Absent: the AWS SDK's own lookup (AWS_REGION, profile,
    /// instance metadata). Most servers other than AWS accept any, such as `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,

    /// URL of an S3 server other than AWS, http:// or https://. Absent: AWS, in `region`. It may change, but only to another
    /// address of the same store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = ENDPOINT)]
    pub endpoint: Option<String>,

    /// Put the bucket into the path instead of the host name, as SeaweedFS, MinIO and Ceph usually need. Default: false.
    #[serde(default)]
    pub path_style: bool,

    /// How pods and operator authenticate: exactly one of `secretRef` and `workloadIdentity`. Absent: what the AWS SDK finds in
    /// the pod's environment, such as an instance profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<StorageCredentials>,
}

/// How to authenticate at the S3 server: exactly one of the fields is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ONE_CREDENTIAL)]
pub struct StorageCredentials {
    /// Static keys in a Secret. A change of the Secret rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<StorageSecretRef>,

    /// Short-lived credentials through the pods' ServiceAccount, such as IRSA or EKS Pod Identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<WorkloadIdentity>,
}

/// A Secret with S3 keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageSecretRef {
    /// Name of the Secret, in the same namespace as the BrainyCluster.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = SECRET_NAME)]
    pub name: String,

    /// Which entries of the Secret hold what.
    #[serde(default)]
    pub keys: StorageSecretKeys,
}

/// The entries of the Secret that holds S3 keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = SECRET_KEYS_DIFFER)]
pub struct StorageSecretKeys {
    /// Entry with the access key id. Default: AWS_ACCESS_KEY_ID.
    #[serde(default = "default_access_key_id")]
    #[schemars(length(min = 1, max = 253))]
    pub access_key_id: String,

    /// Entry with the secret access key. Default: AWS_SECRET_ACCESS_KEY.
    #[serde(default = "default_secret_access_key")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_access_key: String,

    /// Entry with a session token, for temporary keys. Absent: none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub session_token: Option<String>,
}

fn default_access_key_id() -> String {
    "AWS_ACCESS_KEY_ID".to_owned()
}

fn default_secret_access_key() -> String {
    "AWS_SECRET_ACCESS_KEY".to_owned()
}

impl Default for StorageSecretKeys {
    fn default() -> Self {
        Self {
            access_key_id: default_access_key_id(),
            secret_access_key: default_secret_access_key(),
            session_token: None,
        }
    }
}

/// Credentials that the cloud hands to a ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = OWN_SERVICE_ACCOUNT)]
pub struct WorkloadIdentity {
    /// An existing ServiceAccount in the cluster's namespace, annotated by you. Absent: the operator creates one per cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = SERVICE_ACCOUNT_NAME)]
    pub service_account_name: Option<String>,

    /// IAM role that the ServiceAccount assumes on EKS; becomes the annotation `eks.amazonaws.com/role-arn`. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = ROLE_ARN)]
    pub role_arn: Option<String>,

    /// Annotations for the ServiceAccount that the operator creates, as other clouds need them. Default: none.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32))]
    pub service_account_annotations: BTreeMap<String, String>,
}

impl StorageSpec {
    pub(crate) fn check(&self, path: &str, findings: &mut Findings) {
        let Self {
            bucket,
            prefix,
            region: _,
            endpoint,
            path_style: _,
            credentials,
        } = self;
        findings.require(
            &NEEDS_BUCKET,
            path,
            bucket.is_some() || !(endpoint.is_some() || credentials.is_some()),
        );
        if let Some(bucket) = bucket {
            let at = format!("{path}.bucket");
            findings.text(&BUCKET_NAME, &at, bucket);
            findings.require(&BUCKET_DOTS_ARE_SINGLE, &at, !bucket.contains(".."));
            findings.require(&BUCKET_IS_NO_ADDRESS, &at, !looks_like_address(bucket));
        }
        if let Some(prefix) = prefix {
            findings.text(&PREFIX, &format!("{path}.prefix"), prefix);
        }
        if let Some(endpoint) = endpoint {
            findings.text(&ENDPOINT, &format!("{path}.endpoint"), endpoint);
        }
        if let Some(credentials) = credentials {
            credentials.check(&format!("{path}.credentials"), findings);
        }
    }

    pub(crate) fn check_update(&self, old: &Self, path: &str, findings: &mut Findings) {
        if old.bucket.is_some() {
            findings.require(&BUCKET_IMMUTABLE, path, self.bucket == old.bucket);
            findings.require(&PREFIX_IMMUTABLE, path, self.prefix == old.prefix);
        }
    }
}

impl StorageCredentials {
    fn check(&self, path: &str, findings: &mut Findings) {
        let Self {
            secret_ref,
            workload_identity,
        } = self;
        findings.require(
            &ONE_CREDENTIAL,
            path,
            secret_ref.is_some() != workload_identity.is_some(),
        );
        if let Some(StorageSecretRef { name, keys }) = secret_ref {
            findings.text(&SECRET_NAME, &format!("{path}.secretRef.name"), name);
            findings.require(
                &SECRET_KEYS_DIFFER,
                &format!("{path}.secretRef.keys"),
                keys.access_key_id != keys.secret_access_key,
            );
        }
        if let Some(identity) = workload_identity {
            let WorkloadIdentity {
                service_account_name,
                role_arn,
                service_account_annotations,
            } = identity;
            let at = format!("{path}.workloadIdentity");
            findings.require(
                &OWN_SERVICE_ACCOUNT,
                &at,
                service_account_name.is_none()
                    || (role_arn.is_none() && service_account_annotations.is_empty()),
            );
            if let Some(name) = service_account_name {
                findings.text(
                    &SERVICE_ACCOUNT_NAME,
                    &format!("{at}.serviceAccountName"),
                    name,
                );
            }
            if let Some(role_arn) = role_arn {
                findings.text(&ROLE_ARN, &format!("{at}.roleArn"), role_arn);
            }
        }
    }
}

/// Four groups of digits joined by dots.
fn looks_like_address(bucket: &str) -> bool {
    let groups: Vec<&str> = bucket.split('.').collect();
    groups.len() == 4
        && groups
            .iter()
            .all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit()))
}
