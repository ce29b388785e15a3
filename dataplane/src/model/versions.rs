//! Versions of points that several instances write.

use brainy_conflict::VectorClock;
use serde::{Deserialize, Serialize};

use super::{Payload, PointId, Vectors};

/// What is known of a point's versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointVersions {
    /// Which point.
    pub id: PointId,
    /// The version that readers are shown; none if the point is deleted.
    pub shown: Option<VersionContents>,
    /// Concurrent ones, latest first.
    pub siblings: Vec<SiblingVersion>,
    /// What a client that reads this has seen.
    pub context: VectorClock,
}

/// Contents of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionContents {
    /// The payload.
    pub payload: Payload,
    /// The vectors.
    pub vectors: Vectors,
}

/// A version that is not shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiblingVersion {
    /// Time and writer of its write.
    pub stamp: String,
    /// Its contents; none if it is a deletion.
    pub contents: Option<VersionContents>,
}
