//! Versions of points, and changes of counters and sets.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::filter::FilterDto;
use super::points::Checks;
use super::records::VectorsDto;
use super::select::selector;
use super::{Given, at_most, check_paths};
use crate::error::ServiceError;
use crate::model::{
    FieldChange, Payload, PointId, PointVersions, SiblingVersion, VersionContents, WriteOp,
};

objects!(AdjustDto);

/// A point's versions.
#[derive(Serialize, JsonSchema)]
pub(crate) struct VersionsDto {
    pub(crate) id: PointId,
    /// Whether readers are shown a version.
    pub(crate) exists: bool,
    pub(crate) payload: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vector: Option<VectorsDto>,
    /// For the header `brainy-context` of a write that takes the place of all that is returned here.
    pub(crate) context: String,
    /// Concurrent versions, latest first.
    pub(crate) siblings: Vec<SiblingDto>,
}

/// A version that is not shown.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SiblingDto {
    /// Time and writer of its write.
    pub(crate) stamp: String,
    /// Whether it is a deletion.
    pub(crate) deleted: bool,
    pub(crate) payload: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vector: Option<VectorsDto>,
}

fn split(contents: Option<VersionContents>) -> (Option<Payload>, Option<VectorsDto>) {
    match contents {
        Some(VersionContents { payload, vectors }) => (Some(payload), Some(VectorsDto(vectors))),
        None => (None, None),
    }
}

impl VersionsDto {
    pub(crate) fn new(versions: PointVersions, context: String) -> Self {
        let PointVersions {
            id,
            shown,
            siblings,
            context: _,
        } = versions;
        let exists = shown.is_some();
        let (payload, vector) = split(shown);
        let siblings = siblings.into_iter().map(|sibling| {
            let SiblingVersion { stamp, contents } = sibling;
            let deleted = contents.is_none();
            let (payload, vector) = split(contents);
            SiblingDto {
                stamp,
                deleted,
                payload,
                vector,
            }
        });
        Self {
            id,
            exists,
            payload,
            vector,
            context,
            siblings: siblings.collect(),
        }
    }
}

/// Changes of counters and sets in some points' payloads: first additions to numbers, then removals, then additions to sets.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(transform = super::points_or_filter)]
pub(crate) struct AdjustDto {
    pub(crate) points: Option<Vec<PointId>>,
    pub(crate) filter: Option<FilterDto>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
    /// Whole numbers to add, by path.
    #[serde(default)]
    pub(crate) increment: BTreeMap<String, i64>,
    /// Texts, whole numbers and booleans to add to lists, by path.
    #[serde(default)]
    pub(crate) add: BTreeMap<String, Vec<serde_json::Value>>,
    /// The same to take out of lists.
    #[serde(default)]
    pub(crate) remove: BTreeMap<String, Vec<serde_json::Value>>,
}

impl AdjustDto {
    pub(crate) fn into_op(self, checks: Checks<'_>) -> Result<WriteOp, ServiceError> {
        let lists = self.add.iter().chain(&self.remove);
        let count = self.increment.len() + lists.map(|(_, list)| list.len().max(1)).sum::<usize>();
        if count == 0 {
            return Err(ServiceError::BadRequest(
                "'increment', 'add' and 'remove' are empty: give at least one field".to_owned(),
            ));
        }
        at_most(
            "'increment', 'add' and 'remove' together",
            count,
            checks.limits.max_batch_points,
        )?;
        check_paths("'increment'", self.increment.keys())?;
        check_paths("'add'", self.add.keys())?;
        check_paths("'remove'", self.remove.keys())?;
        let increments = self.increment.into_iter();
        let increments = increments.map(|(path, by)| FieldChange::Increment { path, by });
        let removals = self.remove.into_iter();
        let removals = removals.map(|(path, elements)| FieldChange::Remove { path, elements });
        let additions = self.add.into_iter();
        let additions = additions.map(|(path, elements)| FieldChange::Add { path, elements });
        Ok(WriteOp::Adjust {
            selector: selector(self.points, self.filter, &self.shard_key, checks.limits)?,
            ops: increments.chain(removals).chain(additions).collect(),
        })
    }
}
