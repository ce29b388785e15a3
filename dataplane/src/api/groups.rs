//! Grouped queries.

use std::collections::HashMap;

use super::body::Body;
use super::dto::groups::{
    GroupIdDto, Grouped, GroupsDto, IntoGrouped, PointGroupDto, QueryGroupsDto, RecommendGroupsDto,
    SearchGroupsDto, WithLookupDto,
};
use super::dto::records::{HitDto, RecordDto};
use super::dto::select::{WithPayload, WithVector};
use super::errors::Answer;
use super::extract::{Call, Path};
use super::grouping::{Group, Rounds};
use super::guard::Class;
use super::plan::Step;
use super::query::checks;
use super::routes::Routes;
use super::run::{found, look_up};
use super::strict::Strict;
use crate::error::ServiceError;
use crate::model::{PayloadSelector, PointId, Record, RetrieveRequest, ScoredPoint, VectorSchema};

pub(super) fn routes() -> Routes {
    Routes::new("Search", Class::Read)
        .post(
            "query_points_groups",
            "/collections/{name}/points/query/groups",
            query_groups,
            "Searches, and returns the best points of each of the best groups.",
        )
        .post(
            "search_point_groups",
            "/collections/{name}/points/search/groups",
            search_groups,
            "Searches the nearest points by groups (the older form of a grouped query).",
        )
        .post(
            "recommend_point_groups",
            "/collections/{name}/points/recommend/groups",
            recommend_groups,
            "Recommends points by groups (the older form of a grouped query).",
        )
}

async fn query_groups(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<QueryGroupsDto>,
) -> Answer<GroupsDto> {
    call.ok(groups(&call, &name, dto).await?)
}

async fn search_groups(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<SearchGroupsDto>,
) -> Answer<GroupsDto> {
    call.ok(groups(&call, &name, dto).await?)
}

async fn recommend_groups(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<RecommendGroupsDto>,
) -> Answer<GroupsDto> {
    call.ok(groups(&call, &name, dto).await?)
}

/// The best groups of a query.
pub(super) async fn groups<T: IntoGrouped>(
    call: &Call,
    name: &str,
    dto: T,
) -> Result<GroupsDto, ServiceError> {
    let (name, collection) = call.collection(name).await?;
    let name = name.as_str();
    let schema = &collection.spec.schema;
    let Grouped {
        grouping,
        plan,
        with_payload,
        with_vector,
        lookup,
    } = dto.into_grouped(checks(call, &collection))?;
    if let Some(strict) = Strict::of(call, &collection)? {
        strict.grouped(&plan, grouping.limit, &grouping.key)?;
    }
    let mut plans = [plan];
    look_up(call, name, schema, &mut plans).await?;
    let [plan] = plans;
    let (groups, mut hits) = if plan.is_leaf() {
        let mut rounds = Rounds::new(&grouping, call.limits.max_search_limit);
        explore(call, name, schema, &plan, &mut rounds).await?;
        rounds.finish()
    } else {
        let lists = found(call, name, schema, vec![plan]).await?;
        let hits: Vec<ScoredPoint> = lists.into_iter().flatten().collect();
        let mut groups = grouping.assemble(&hits);
        groups.truncate(grouping.limit);
        (groups, hits)
    };
    let shown = RetrieveRequest {
        ids: shown(&groups, &hits),
        with_payload,
        with_vector,
    };
    let gone = fetch(call, name, shown, &mut hits).await?;
    let looked_up = match lookup {
        Some(lookup) => found_by_id(call, &groups, lookup).await?,
        None => HashMap::new(),
    };
    let groups = groups.into_iter().map(|group| {
        let lookup = group.id.point_id().and_then(|id| looked_up.get(&id));
        let kept = group.hits.iter().filter(|i| !gone.contains(i));
        PointGroupDto {
            hits: kept.map(|i| HitDto::from(hits[*i].clone())).collect(),
            lookup: lookup.cloned().map(RecordDto::from),
            id: GroupIdDto(group.id),
        }
    });
    Ok(GroupsDto {
        groups: groups.filter(|group| !group.hits.is_empty()).collect(),
    })
}

async fn explore(
    call: &Call,
    name: &str,
    schema: &VectorSchema,
    plan: &Step,
    rounds: &mut Rounds<'_>,
) -> Result<(), ServiceError> {
    loop {
        let asks = rounds.next();
        if asks.is_empty() {
            return Ok(());
        }
        let plans = asks
            .into_iter()
            .map(|ask| plan.narrowed(ask.filter, ask.limit));
        let lists = found(call, name, schema, plans.collect()).await?;
        rounds.answer(lists, &|a, b| plan.compare(schema, a, b));
    }
}

/// Ids of the points that are in groups, each once.
fn shown(groups: &[Group], hits: &[ScoredPoint]) -> Vec<PointId> {
    let places = groups.iter().flat_map(|group| &group.hits);
    let mut ids: Vec<PointId> = places.map(|i| hits[*i].record.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Puts into `hits` what is wanted of them instead of what made the groups; returns the places of those that were deleted
/// meanwhile.
async fn fetch(
    call: &Call,
    name: &str,
    request: RetrieveRequest,
    hits: &mut [ScoredPoint],
) -> Result<Vec<usize>, ServiceError> {
    let nothing = request.with_payload == PayloadSelector::None && !request.with_vector.wants_any();
    if nothing || request.ids.is_empty() {
        hits.iter_mut().for_each(|hit| hit.record.payload = None);
        return Ok(Vec::new());
    }
    let read = call.params.read.clone();
    let records = call.service.retrieve(name, request, read).await?;
    let mut records: HashMap<PointId, Record> = records.into_iter().map(|r| (r.id, r)).collect();
    let mut gone = Vec::new();
    for (i, hit) in hits.iter_mut().enumerate() {
        match records.remove(&hit.record.id) {
            Some(record) => {
                hit.record = Record {
                    order_value: hit.record.order_value,
                    ..record
                }
            }
            None => gone.push(i),
        }
    }
    Ok(gone)
}

/// The points of another collection whose ids groups have.
async fn found_by_id(
    call: &Call,
    groups: &[Group],
    lookup: WithLookupDto,
) -> Result<HashMap<PointId, Record>, ServiceError> {
    let WithLookupDto {
        collection: name,
        with_payload,
        with_vectors,
    } = lookup;
    let collection = call.service.schema(&name).await?;
    let place = |e: ServiceError| e.within("with_lookup");
    let mut ids: Vec<PointId> = groups.iter().filter_map(|g| g.id.point_id()).collect();
    ids.sort_unstable();
    ids.dedup();
    let request = RetrieveRequest {
        ids,
        with_payload: WithPayload::wanted(with_payload, PayloadSelector::All).map_err(place)?,
        with_vector: WithVector::wanted(with_vectors, &collection.spec.schema).map_err(place)?,
    };
    if request.ids.is_empty() {
        return Ok(HashMap::new());
    }
    let read = call.params.read.clone();
    let records = call.service.retrieve(&name, request, read).await?;
    Ok(records.into_iter().map(|r| (r.id, r)).collect())
}
