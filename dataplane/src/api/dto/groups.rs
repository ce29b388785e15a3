//! Grouped queries.

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::examples::{LookupDto, StrategyDto};
use super::filter::FilterDto;
use super::points::Checks;
use super::prefetch::Prefetches;
use super::query::{DEFAULT_LIMIT, IntoPlan, QueryDto, SearchDto, SearchParamsDto};
use super::query_input::QueryInput;
use super::recommend::RecommendRequestDto;
use super::records::{HitDto, RecordDto};
use super::select::{WithPayload, WithVector};
use super::vector::{SearchVector, VectorInput};
use super::{Given, in_range};
use crate::api::grouping::{GroupId, Grouping};
use crate::api::plan::Step;
use crate::engine::path::Path;
use crate::error::ServiceError;
use crate::model::{PayloadSelector, VectorSelector};

objects!(QueryGroupsDto, SearchGroupsDto, RecommendGroupsDto);

/// Points of a group when the request does not say how many.
const DEFAULT_SIZE: usize = 3;

/// A query whose hits come in groups.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct QueryGroupsDto {
    pub(crate) query: Option<QueryInput>,
    pub(crate) filter: Option<FilterDto>,
    pub(crate) params: Option<SearchParamsDto>,
    pub(crate) score_threshold: Option<f64>,
    #[serde(alias = "with_vectors")]
    pub(crate) with_vector: Option<WithVector>,
    pub(crate) with_payload: Option<WithPayload>,
    pub(crate) using: Option<String>,
    #[serde(default)]
    pub(crate) prefetch: Prefetches,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) lookup_from: Option<LookupDto>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
    /// Payload field whose values, texts or integers, make the groups.
    pub(crate) group_by: String,
    /// Most points of a group.
    pub(crate) group_size: Option<usize>,
    /// Most groups.
    pub(crate) limit: Option<usize>,
    pub(crate) with_lookup: Option<WithLookupDto>,
}

/// A query of the older search API whose hits come in groups.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct SearchGroupsDto {
    pub(crate) vector: SearchVector,
    pub(crate) filter: Option<FilterDto>,
    pub(crate) params: Option<SearchParamsDto>,
    pub(crate) score_threshold: Option<f64>,
    #[serde(alias = "with_vectors")]
    pub(crate) with_vector: Option<WithVector>,
    pub(crate) with_payload: Option<WithPayload>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
    /// Payload field whose values, texts or integers, make the groups.
    pub(crate) group_by: String,
    /// Most points of a group.
    pub(crate) group_size: Option<usize>,
    /// Most groups.
    pub(crate) limit: Option<usize>,
    pub(crate) with_lookup: Option<WithLookupDto>,
}

/// A recommendation of the older API whose hits come in groups.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct RecommendGroupsDto {
    pub(crate) positive: Option<Vec<VectorInput>>,
    pub(crate) negative: Option<Vec<VectorInput>>,
    pub(crate) strategy: Option<StrategyDto>,
    pub(crate) filter: Option<FilterDto>,
    pub(crate) params: Option<SearchParamsDto>,
    pub(crate) score_threshold: Option<f64>,
    #[serde(alias = "with_vectors")]
    pub(crate) with_vector: Option<WithVector>,
    pub(crate) with_payload: Option<WithPayload>,
    pub(crate) using: Option<String>,
    pub(crate) lookup_from: Option<LookupDto>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
    /// Payload field whose values, texts or integers, make the groups.
    pub(crate) group_by: String,
    /// Most points of a group.
    pub(crate) group_size: Option<usize>,
    /// Most groups.
    pub(crate) limit: Option<usize>,
    pub(crate) with_lookup: Option<WithLookupDto>,
}

/// Points of another collection whose ids are those of groups: its name, or an object with it.
#[derive(Debug)]
pub(crate) struct WithLookupDto {
    pub(crate) collection: String,
    pub(crate) with_payload: Option<WithPayload>,
    pub(crate) with_vectors: Option<WithVector>,
}

impl<'de> Deserialize<'de> for WithLookupDto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Parts {
            collection: String,
            with_payload: Option<WithPayload>,
            #[serde(alias = "with_vector")]
            with_vectors: Option<WithVector>,
        }
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = WithLookupDto;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a collection or {\"collection\": ...}")
            }
            fn visit_str<E: Error>(self, collection: &str) -> Result<WithLookupDto, E> {
                Ok(WithLookupDto {
                    collection: collection.to_owned(),
                    with_payload: None,
                    with_vectors: None,
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WithLookupDto, A::Error> {
                let Parts {
                    collection,
                    with_payload,
                    with_vectors,
                } = Parts::deserialize(MapAccessDeserializer::new(map))?;
                Ok(WithLookupDto {
                    collection,
                    with_payload,
                    with_vectors,
                })
            }
        }
        deserializer.deserialize_any(V)
    }
}

schema!(WithLookupDto, "WithLookup", generator => {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "required": ["collection"],
            "properties": {
                "collection": {"type": "string"},
                "with_payload": generator.subschema_for::<Option<WithPayload>>(),
                "with_vectors": generator.subschema_for::<Option<WithVector>>(),
                "with_vector": generator.subschema_for::<Option<WithVector>>(),
            },
            "additionalProperties": false,
        },
    ],
});

/// A grouped query, checked.
pub(crate) struct Grouped {
    pub(crate) grouping: Grouping,
    /// Hits with the top-level field of the payload that makes the groups. Without sources it is asked in rounds; with sources
    /// its limit lets everything through that they give.
    pub(crate) plan: Step,
    /// Payload to return.
    pub(crate) with_payload: PayloadSelector,
    /// Vectors to return.
    pub(crate) with_vector: VectorSelector,
    pub(crate) lookup: Option<WithLookupDto>,
}

/// Either API's grouped queries.
pub(crate) trait IntoGrouped {
    /// Checks against schema and limits.
    fn into_grouped(self, checks: Checks<'_>) -> Result<Grouped, ServiceError>;
}

/// What grouped queries have in common.
pub(crate) struct GroupParts {
    pub(crate) group_by: String,
    pub(crate) group_size: Option<usize>,
    pub(crate) limit: Option<usize>,
    pub(crate) with_vector: Option<WithVector>,
    pub(crate) with_payload: Option<WithPayload>,
    pub(crate) with_lookup: Option<WithLookupDto>,
}

impl GroupParts {
    /// The grouping, and how many hits are asked for first.
    fn grouping(&self, checks: Checks<'_>) -> Result<(Grouping, usize), ServiceError> {
        let path = Path::parse(&self.group_by)
            .map_err(|e| ServiceError::BadRequest(format!("group_by: {e}")))?;
        let size = self.group_size.unwrap_or(DEFAULT_SIZE);
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        let most = checks.limits.max_search_limit;
        in_range("group_size", size, 1, most)?;
        in_range("limit", limit, 1, most)?;
        let all = limit.saturating_mul(size);
        in_range("limit * group_size", all, 1, most)?;
        let grouping = Grouping {
            key: self.group_by.clone(),
            path,
            size,
            limit,
        };
        Ok((grouping, all))
    }

    /// The whole query; `plan` makes the plan for so many hits with this payload.
    pub(crate) fn grouped(
        self,
        checks: Checks<'_>,
        plan: impl FnOnce(&Grouping, usize, WithPayload) -> Result<Step, ServiceError>,
    ) -> Result<Grouped, ServiceError> {
        let (grouping, all) = self.grouping(checks)?;
        // Quoted: a key may hold what separates keys.
        let field = format!("\"{}\"", grouping.path.first);
        let payload = WithPayload(PayloadSelector::Include(vec![field]));
        let plan = plan(&grouping, all, payload)?;
        Ok(Grouped {
            grouping,
            plan,
            with_payload: WithPayload::wanted(self.with_payload, PayloadSelector::None)?,
            with_vector: WithVector::wanted(self.with_vector, checks.schema)?,
            lookup: self.with_lookup,
        })
    }
}

impl IntoGrouped for QueryGroupsDto {
    fn into_grouped(self, checks: Checks<'_>) -> Result<Grouped, ServiceError> {
        let Self {
            query,
            filter,
            params,
            score_threshold,
            with_vector,
            with_payload,
            using,
            mut prefetch,
            lookup_from,
            shard_key,
            group_by,
            group_size,
            limit,
            with_lookup,
        } = self;
        let parts = GroupParts {
            group_by,
            group_size,
            limit,
            with_vector,
            with_payload,
            with_lookup,
        };
        parts.grouped(checks, |grouping, all, payload| {
            let most = checks.limits.max_search_limit;
            // As in Qdrant: a prefetch gives so many times more points.
            let prefetched = prefetch.widen(grouping.size, most);
            let limit = if prefetch.0.is_empty() {
                all
            } else {
                prefetched.clamp(1, most)
            };
            QueryDto {
                query,
                filter,
                params,
                score_threshold,
                limit: Some(limit),
                offset: None,
                with_vector: None,
                with_payload: Some(payload),
                using,
                prefetch,
                lookup_from,
                shard_key,
            }
            .into_plan(checks)
        })
    }
}

impl IntoGrouped for SearchGroupsDto {
    fn into_grouped(self, checks: Checks<'_>) -> Result<Grouped, ServiceError> {
        let Self {
            vector,
            filter,
            params,
            score_threshold,
            with_vector,
            with_payload,
            shard_key,
            group_by,
            group_size,
            limit,
            with_lookup,
        } = self;
        let parts = GroupParts {
            group_by,
            group_size,
            limit,
            with_vector,
            with_payload,
            with_lookup,
        };
        parts.grouped(checks, |_, limit, payload| {
            SearchDto {
                vector,
                filter,
                params,
                score_threshold,
                limit,
                offset: None,
                with_vector: None,
                with_payload: Some(payload),
                shard_key,
            }
            .into_plan(checks)
        })
    }
}

impl IntoGrouped for RecommendGroupsDto {
    fn into_grouped(self, checks: Checks<'_>) -> Result<Grouped, ServiceError> {
        let Self {
            positive,
            negative,
            strategy,
            filter,
            params,
            score_threshold,
            with_vector,
            with_payload,
            using,
            lookup_from,
            shard_key,
            group_by,
            group_size,
            limit,
            with_lookup,
        } = self;
        let parts = GroupParts {
            group_by,
            group_size,
            limit,
            with_vector,
            with_payload,
            with_lookup,
        };
        parts.grouped(checks, |_, limit, payload| {
            RecommendRequestDto {
                positive,
                negative,
                strategy,
                filter,
                params,
                limit,
                offset: None,
                with_payload: Some(payload),
                with_vector: None,
                score_threshold,
                using,
                lookup_from,
                shard_key,
            }
            .into_plan(checks)
        })
    }
}

impl Prefetches {
    /// Lets every prefetch give `times` as many points, each at most `most`; how many those of this level give together.
    fn widen(&mut self, times: usize, most: usize) -> usize {
        let limits = self.0.iter_mut().map(|prefetch| {
            prefetch.prefetch.widen(times, most);
            let limit = prefetch.limit.unwrap_or(DEFAULT_LIMIT);
            // Too much remains too much, to be refused.
            let wider = limit.saturating_mul(times).min(most.max(limit));
            prefetch.limit = Some(wider);
            wider
        });
        limits.fold(0, usize::saturating_add)
    }
}

/// What a group has in common.
pub(crate) struct GroupIdDto(pub(crate) GroupId);

impl Serialize for GroupIdDto {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            GroupId::Int(n) => serializer.serialize_i64(*n),
            GroupId::Large(n) => serializer.serialize_u64(*n),
            GroupId::Text(text) => serializer.serialize_str(text),
        }
    }
}

schema!(GroupIdDto, "GroupId", _generator => {"type": ["integer", "string"]});

/// A group of hits.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PointGroupDto {
    /// Best first.
    pub(crate) hits: Vec<HitDto>,
    pub(crate) id: GroupIdDto,
    /// The point of this id in the collection that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lookup: Option<RecordDto>,
}

/// Groups, that with the best hit first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct GroupsDto {
    pub(crate) groups: Vec<PointGroupDto>,
}
