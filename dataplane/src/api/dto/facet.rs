//! Counts of values.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::filter::FilterDto;
use super::order::index_of;
use super::{Given, check_paths, in_range, refuse};
use crate::engine::payload_index::FieldKind;
use crate::error::ServiceError;
use crate::model::{FacetCount, FacetRequest, FacetValue, FacetValues};
use crate::service::Limits;

objects!(FacetDto);

/// Values when the request does not say how many.
const DEFAULT_LIMIT: usize = 10;

/// Which values are counted, and how many of them are returned.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct FacetDto {
    pub(crate) key: String,
    pub(crate) limit: Option<usize>,
    pub(crate) filter: Option<FilterDto>,
    // Counts are always exact, which is also a good approximation.
    #[serde(rename = "exact")]
    pub(crate) _exact: Option<bool>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
}

impl FacetDto {
    /// The request, which needs an index of the field, as in Qdrant, and how many of the most frequent values to return.
    pub(crate) fn into_model(
        self,
        indexes: &BTreeMap<String, Value>,
        limits: &Limits,
    ) -> Result<(FacetRequest, usize), ServiceError> {
        refuse(&[("shard_key", self.shard_key.is_some())])?;
        check_paths("key", [&self.key])?;
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        in_range("limit", limit, 1, limits.max_search_limit)?;
        let counted = |schema: &Value| match FieldKind::of(schema)? {
            FieldKind::Keyword => Some(FacetValues::Texts),
            FieldKind::Uuid => Some(FacetValues::Uuids),
            FieldKind::Integer if schema.get("lookup") != Some(&Value::Bool(false)) => {
                Some(FacetValues::Integers)
            }
            FieldKind::Bool => Some(FacetValues::Bools),
            _ => None,
        };
        let values = index_of(indexes, &self.key)
            .and_then(counted)
            .ok_or_else(|| {
                ServiceError::BadRequest(format!(
                    "Index required but not found for \"{}\" of one of the following types: [keyword, integer (with 'lookup'), \
                     uuid, bool]. Create a payload index of this type for the key to count its values",
                    self.key.chars().take(64).collect::<String>()
                ))
            })?;
        let filter = self.filter.map(|f| f.into_model(limits.max_batch_points));
        let request = FacetRequest {
            key: self.key,
            values,
            filter: filter.transpose()?,
        };
        Ok((request, limit))
    }
}

/// A value and how many points have it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct FacetHitDto {
    pub(crate) value: FacetValueDto,
    pub(crate) count: u64,
}

/// A bare value.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum FacetValueDto {
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A text.
    Text(String),
}

impl From<FacetCount> for FacetHitDto {
    fn from(FacetCount { value, count }: FacetCount) -> Self {
        let value = match value {
            FacetValue::Bool(b) => FacetValueDto::Bool(b),
            FacetValue::Int(n) => FacetValueDto::Int(n),
            FacetValue::Text(text) => FacetValueDto::Text(text),
        };
        Self { value, count }
    }
}

/// Answer to a [`FacetDto`].
#[derive(Serialize, JsonSchema)]
pub(crate) struct FacetHitsDto {
    pub(crate) hits: Vec<FacetHitDto>,
}
