//! Snapshots in JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ServiceError;
use crate::snapshots::{Origin, SnapshotDescription};

objects!(RecoverDto);

/// A snapshot that can be used.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SnapshotDto {
    /// Its name.
    pub(crate) name: String,
    /// When it was made, in UTC.
    pub(crate) creation_time: String,
    /// Size of its file in bytes.
    pub(crate) size: u64,
    /// SHA-256 of its file.
    pub(crate) checksum: String,
}

impl From<SnapshotDescription> for SnapshotDto {
    fn from(described: SnapshotDescription) -> Self {
        let SnapshotDescription {
            name,
            created,
            bytes,
            sha256,
        } = described;
        let [y, mo, d, h, mi, s] = crate::node::civil(created);
        Self {
            name,
            creation_time: format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}"),
            size: bytes,
            checksum: sha256,
        }
    }
}

/// What to recover from.
#[derive(Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct RecoverDto {
    /// `file://{name}`, where only the part after the last '/' counts: a snapshot of this cluster; or a URL that begins with
    /// `http://` or `https://`.
    location: String,
    /// Which of several copies counts. There is one here, so all mean the same.
    #[serde(rename = "priority")]
    _priority: Option<PriorityDto>,
    /// SHA-256 that the file must have.
    checksum: Option<String>,
    /// Presented to the server of a URL in header `api-key`.
    api_key: Option<String>,
}

/// Which of several copies counts.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum PriorityDto {
    /// The snapshot, and nothing is told to others.
    NoSync,
    /// The snapshot.
    Snapshot,
    /// Others, where there are any.
    Replica,
}

impl RecoverDto {
    pub(crate) fn into_origin(self) -> Result<(Origin, Option<String>), ServiceError> {
        if let Some(sum) = &self.checksum {
            check_sha256("checksum", sum)?;
        }
        let location = self.location;
        let lower = location.to_ascii_lowercase();
        if lower.starts_with("http://") || lower.starts_with("https://") {
            let origin = Origin::Url {
                url: location,
                api_key: self.api_key,
            };
            return Ok((origin, self.checksum));
        }
        if !lower.starts_with("file://") {
            let shown: String = location.chars().take(64).collect();
            return Err(ServiceError::BadRequest(format!(
                "location is '{shown}', it must begin with file://, http:// or https://"
            )));
        }
        // Qdrant's clients give the path that a snapshot has on its server; here its name says everything.
        let name = location.rsplit('/').next().unwrap_or_default();
        brainy_coordination::snapshot::check_snapshot_name(name)
            .map_err(|e| ServiceError::BadRequest(format!("location: {e}")))?;
        Ok((Origin::Here(name.to_owned()), self.checksum))
    }
}

/// `BadRequest` unless `sum` can be a SHA-256.
pub(crate) fn check_sha256(field: &str, sum: &str) -> Result<(), ServiceError> {
    if sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    let shown: String = sum.chars().take(72).collect();
    Err(ServiceError::BadRequest(format!(
        "{field} is '{shown}', it must be a SHA-256: 64 hexadecimal digits"
    )))
}
