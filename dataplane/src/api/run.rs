//! Carrying plans out.

use std::collections::{BTreeMap, HashMap};

use futures::future::try_join_all;
use tokio::task::spawn_blocking;

use super::asked::Location;
use super::dto::records::HitDto;
use super::dto::select::check_names;
use super::extract::Call;
use super::plan::{Choice, Finish, PlannedSearch, Step, Work};
use crate::error::ServiceError;
use crate::model::{
    ListRequest, PayloadSelector, PointId, Record, RetrieveRequest, ScoredPoint, SearchRequest,
    Vector, VectorSchema, VectorSelector,
};

/// The hits of queries as they are answered.
pub(super) async fn run(
    call: &Call,
    name: &str,
    schema: &VectorSchema,
    plans: Vec<Step>,
) -> Result<Vec<Vec<HitDto>>, ServiceError> {
    let lists = found(call, name, schema, plans).await?.into_iter();
    let hits = |list: Vec<ScoredPoint>| list.into_iter().map(HitDto::from).collect();
    Ok(lists.map(hits).collect())
}

/// Carries out queries: what all of them need that can run now is asked for at once, what waits for that next.
pub(super) async fn found(
    call: &Call,
    name: &str,
    schema: &VectorSchema,
    mut plans: Vec<Step>,
) -> Result<Vec<Vec<ScoredPoint>>, ServiceError> {
    look_up(call, name, schema, &mut plans).await?;
    let finishes: Vec<Finish> = plans.iter().map(Step::finish).collect();
    loop {
        plans.iter_mut().for_each(Step::reduce);
        let mut ready = Vec::new();
        plans.iter_mut().for_each(|plan| plan.ready(&mut ready));
        if ready.is_empty() {
            break;
        }
        step(call, name, schema, ready).await?;
    }
    let answers = plans.into_iter().zip(finishes).map(|(plan, finish)| {
        let hits = plan.into_hits().unwrap_or_default();
        complete(call, name, hits, finish)
    });
    try_join_all(answers).await
}

/// Runs steps that can run: all searches are one request, all listings another.
async fn step(
    call: &Call,
    name: &str,
    schema: &VectorSchema,
    ready: Vec<&mut Step>,
) -> Result<(), ServiceError> {
    let (mut searches, mut requests) = (Vec::new(), Vec::new());
    let (mut lists, mut listings) = (Vec::new(), Vec::new());
    for step in ready {
        match step.work() {
            Some(Work::Search(request)) => {
                searches.push(step);
                requests.push(*request);
            }
            Some(Work::List(request)) => {
                lists.push(step);
                listings.push(*request);
            }
            None => {}
        }
    }
    let (answers, listed) =
        tokio::try_join!(search(call, name, requests), list(call, name, listings))?;
    for (step, mut hits) in searches.into_iter().zip(answers) {
        if let Some(choice) = step.choice() {
            hits = choose(schema, choice, hits).await?;
        }
        step.found(schema, hits);
    }
    for (step, points) in lists.into_iter().zip(listed) {
        step.listed(points);
    }
    Ok(())
}

async fn search(
    call: &Call,
    name: &str,
    requests: Vec<SearchRequest>,
) -> Result<Vec<Vec<ScoredPoint>>, ServiceError> {
    let asked = requests.len();
    if asked == 0 {
        return Ok(Vec::new());
    }
    let options = call.params.read.clone();
    let answers = call.service.search(name, requests, options).await?;
    all_answered(asked, answers)
}

async fn list(
    call: &Call,
    name: &str,
    requests: Vec<ListRequest>,
) -> Result<Vec<Vec<ScoredPoint>>, ServiceError> {
    let asked = requests.len();
    if asked == 0 {
        return Ok(Vec::new());
    }
    let options = call.params.read.clone();
    let answers = call.service.list(name, requests, options).await?;
    all_answered(asked, answers)
}

fn all_answered(
    asked: usize,
    answers: Vec<Vec<ScoredPoint>>,
) -> Result<Vec<Vec<ScoredPoint>>, ServiceError> {
    if answers.len() == asked {
        return Ok(answers);
    }
    Err(ServiceError::Internal(format!(
        "{asked} requests were answered with {} lists",
        answers.len()
    )))
}

/// Compares all candidates with each other, which is no work for a thread of the runtime.
async fn choose(
    schema: &VectorSchema,
    choice: Choice,
    hits: Vec<ScoredPoint>,
) -> Result<Vec<ScoredPoint>, ServiceError> {
    let schema = schema.clone();
    let Choice { mmr, using, query } = choice;
    spawn_blocking(move || mmr.choose(&schema, &using, query, hits))
        .await
        .map_err(|_| ServiceError::Unavailable("this instance is shutting down".to_owned()))?
        .map_err(|e| ServiceError::BadRequest(format!("query.mmr: {e}")))
}

/// Leaves out the offset and fetches what was asked for of the other points; one that was deleted meanwhile is left out.
async fn complete(
    call: &Call,
    name: &str,
    hits: Vec<ScoredPoint>,
    finish: Finish,
) -> Result<Vec<ScoredPoint>, ServiceError> {
    let wanted = finish
        .fetch
        .filter(|(payload, vector)| *payload != PayloadSelector::None || vector.wants_any());
    let mut hits: Vec<ScoredPoint> = hits.into_iter().skip(finish.offset).collect();
    if let Some((with_payload, with_vector)) = wanted.filter(|_| !hits.is_empty()) {
        let request = RetrieveRequest {
            ids: hits.iter().map(|hit| hit.record.id).collect(),
            with_payload,
            with_vector,
        };
        let records = call
            .service
            .retrieve(name, request, call.params.read.clone())
            .await?;
        let mut records: HashMap<PointId, Record> =
            records.into_iter().map(|r| (r.id, r)).collect();
        hits.retain_mut(|hit| match records.remove(&hit.record.id) {
            Some(record) => {
                hit.record = record;
                true
            }
            None => false,
        });
    }
    Ok(hits)
}

/// Fetches the vectors of the points that queries name, and completes the queries with them.
pub(super) async fn look_up(
    call: &Call,
    name: &str,
    schema: &VectorSchema,
    plans: &mut [Step],
) -> Result<(), ServiceError> {
    let mut searches = Vec::new();
    plans
        .iter_mut()
        .for_each(|plan| plan.searches(&mut searches));
    for search in &mut searches {
        if let Some(other) = &search.lookup.collection
            && is_same(call, name, other).await?
        {
            search.lookup.collection = None;
        }
    }
    let mut wanted: BTreeMap<Option<String>, Wanted> = BTreeMap::new();
    for search in &searches {
        let Location { collection, vector } = &search.lookup;
        let named = search.asked.as_ref().map(|asked| asked.points());
        let named = named.unwrap_or_default();
        if !named.is_empty() {
            let wanted = wanted.entry(collection.clone()).or_default();
            wanted.ids.extend(named);
            wanted.names.push(vector.clone());
        }
    }
    let found = wanted.into_iter().map(|(collection, wanted)| async move {
        let place = collection.as_deref().unwrap_or(name);
        if collection.is_some() {
            let other = call.service.schema(place).await?;
            check_names("lookup_from.vector", &wanted.names, &other.spec.schema)?;
        }
        let records = wanted.fetch(call, place).await?;
        Ok::<_, ServiceError>((collection, records))
    });
    let found: BTreeMap<_, _> = try_join_all(found).await?.into_iter().collect();
    for search in searches {
        resolve(search, schema, &found)?;
    }
    Ok(())
}

/// Whether both names lead to one collection.
async fn is_same(call: &Call, name: &str, other: &str) -> Result<bool, ServiceError> {
    if name == other {
        return Ok(true);
    }
    let (this, other) = tokio::try_join!(call.service.schema(name), call.service.schema(other))?;
    Ok(this.uid == other.uid)
}

/// Records by id.
type Records = HashMap<PointId, Record>;

fn resolve(
    search: &mut PlannedSearch,
    schema: &VectorSchema,
    found: &BTreeMap<Option<String>, Records>,
) -> Result<(), ServiceError> {
    let Location { collection, vector } = search.lookup.clone();
    let records = found.get(&collection);
    search.resolve(schema, &|id| {
        let record = records.and_then(|records| records.get(&id));
        let record = record.ok_or_else(|| match &collection {
            None => no_such_point(id),
            Some(other) => no_such_point(id).within(&format!("collection '{other}'")),
        })?;
        let found: Option<&Vector> = record.vectors.as_ref().and_then(|v| v.get(&vector));
        found.cloned().ok_or_else(|| {
            ServiceError::BadRequest(format!(
                "query: the point with id {id} has no vector '{vector}'"
            ))
        })
    })
}

/// What to fetch from a collection.
#[derive(Default)]
struct Wanted {
    ids: Vec<PointId>,
    names: Vec<String>,
}

impl Wanted {
    async fn fetch(mut self, call: &Call, name: &str) -> Result<Records, ServiceError> {
        self.ids.sort_unstable();
        self.ids.dedup();
        self.names.sort_unstable();
        self.names.dedup();
        let request = RetrieveRequest {
            ids: self.ids,
            with_payload: PayloadSelector::None,
            with_vector: VectorSelector::Names(self.names),
        };
        let records = call
            .service
            .retrieve(name, request, call.params.read.clone())
            .await?;
        Ok(records.into_iter().map(|r| (r.id, r)).collect())
    }
}

pub(super) fn no_such_point(id: PointId) -> ServiceError {
    ServiceError::NotFound(format!("there is no point with id {id}"))
}
