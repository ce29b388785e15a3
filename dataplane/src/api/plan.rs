//! A query as a tree of searches and fusions, and how its results come together. No I/O: whoever runs it asks for what the steps
//! that can run need, carries all of it out at once, and comes back.
//!
//! Every search asks the whole collection, and fusion works on these results, so that it does not depend on partitions.

use std::cmp::Ordering;
use std::collections::HashMap;

use brainy_coordination::types::LogPosition;
use brainy_index::fusion::{Scored, distribution_based, reciprocal_rank};

use super::asked::{Asked, Location};
use super::listing::PlannedList;
use super::mmr::Mmr;
use crate::engine::is_similarity;
use crate::error::ServiceError;
use crate::model::{
    Condition, Filter, ListRequest, PayloadSelector, PointId, Record, ScoredPoint, SearchQuery,
    SearchRequest, Vector, VectorSchema, VectorSelector,
};

/// A search, checked; its vectors are perhaps still to be looked up.
#[derive(Clone, Debug)]
pub(super) struct PlannedSearch {
    /// The request; what it looks for is empty while `asked` is set.
    pub(super) request: SearchRequest,
    /// What it looks for.
    pub(super) asked: Option<Asked>,
    /// Where the vectors of the points are that it names.
    pub(super) lookup: Location,
    /// How to choose among the results, which have their vectors.
    pub(super) mmr: Option<Mmr>,
    pub(super) finish: Finish,
}

impl PlannedSearch {
    /// Looks for what it asked for, and leaves the points that it names out of the results if their vectors are of the same
    /// collection.
    pub(super) fn resolve(
        &mut self,
        schema: &VectorSchema,
        vector_of: &dyn Fn(PointId) -> Result<Vector, ServiceError>,
    ) -> Result<(), ServiceError> {
        let Some(asked) = self.asked.take() else {
            return Ok(());
        };
        let named = asked.points();
        self.request.query = asked.resolve(schema, &self.request.using, vector_of)?;
        if !named.is_empty() && self.lookup.collection.is_none() {
            let filter = self.request.filter.get_or_insert_default();
            filter.must_not.push(Condition::HasId(named));
        }
        Ok(())
    }
}

/// How several ranked lists become one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fusion {
    /// Reciprocal ranks; lists without weight have 1.
    Rrf { k: u32, weights: Vec<f32> },
    /// Scores, each list's on a scale of its own.
    Dbsf,
}

/// A fusion, checked.
#[derive(Clone, Debug)]
pub(super) struct PlannedFusion {
    pub(super) fusion: Fusion,
    /// How many of the best to keep (offset already added).
    pub(super) limit: usize,
    /// Worse scores are left out.
    pub(super) score_threshold: Option<f32>,
    pub(super) finish: Finish,
}

/// What comes of a step: hits, best first.
#[derive(Clone, Debug)]
pub(super) struct Ranked {
    hits: Vec<ScoredPoint>,
    /// Whether a higher score is better.
    similarity: bool,
}

/// A step of a query, with the steps whose results it takes.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A search: of the points that its sources found, if it has any, else of all.
    Search(Box<PlannedSearch>, Vec<Step>),
    /// A fusion of its sources.
    Fuse(Box<PlannedFusion>, Vec<Step>),
    /// Points in another order: of those that its sources found, if it has any, else of all.
    List(Box<PlannedList>, Vec<Step>),
    /// The results.
    Done(Ranked),
}

/// What is left to do for the results of a query: which to leave out, and what to fetch of the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Finish {
    /// The best results to leave out.
    pub(super) offset: usize,
    /// Absent where the step fetches it.
    pub(super) fetch: Option<(PayloadSelector, VectorSelector)>,
}

/// What a step that can run needs.
#[derive(Debug)]
pub(super) enum Work {
    /// A search, whose hits [`Step::found`] takes.
    Search(Box<SearchRequest>),
    /// A listing, whose points [`Step::listed`] takes.
    List(Box<ListRequest>),
}

/// A choice among hits, to be made before [`Step::found`] takes them.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) mmr: Mmr,
    pub(super) using: String,
    pub(super) query: Vector,
}

impl Step {
    /// Whether this step asks all points, not those that others found.
    pub(super) fn is_leaf(&self) -> bool {
        match self {
            // What was chosen for variety is not found again by asking for less of it.
            Self::Search(search, sources) => sources.is_empty() && search.mmr.is_none(),
            Self::List(_, sources) => sources.is_empty(),
            Self::Fuse(..) | Self::Done(_) => false,
        }
    }

    /// The same step of points that match `filter` too, the best `limit` of them; for a step that asks all points.
    pub(super) fn narrowed(&self, filter: Filter, limit: usize) -> Self {
        let mut step = self.clone();
        let parts = match &mut step {
            Self::Search(search, _) => {
                Some((&mut search.request.filter, &mut search.request.limit))
            }
            Self::List(list, _) => Some((&mut list.request.filter, &mut list.request.limit)),
            Self::Fuse(..) | Self::Done(_) => None,
        };
        if let Some((own, most)) = parts {
            *own = both(own.as_ref(), Some(filter));
            *most = limit;
        }
        step
    }

    /// Which of two results of a step that asks all points comes first.
    pub(super) fn compare(
        &self,
        schema: &VectorSchema,
        a: &ScoredPoint,
        b: &ScoredPoint,
    ) -> Ordering {
        if let Self::List(list, _) = self {
            let order = &list.request.order;
            return order.compare(&order.place(a), &order.place(b));
        }
        let similarity = match self {
            Self::Search(search, _) => is_similarity(schema, &search.request),
            _ => true,
        };
        let by_score = a.score.total_cmp(&b.score);
        let best_first = if similarity {
            by_score.reverse()
        } else {
            by_score
        };
        best_first.then_with(|| a.record.id.cmp(&b.record.id))
    }

    /// What is to be done with the results of this step, the last of a query.
    pub(super) fn finish(&self) -> Finish {
        match self {
            Self::Search(search, _) => search.finish.clone(),
            Self::Fuse(fuse, _) => fuse.finish.clone(),
            Self::List(list, _) => Finish {
                offset: list.offset,
                fetch: None,
            },
            Self::Done(_) => Finish::default(),
        }
    }

    /// The steps whose results it takes.
    fn sources(&self) -> &[Self] {
        match self {
            Self::Search(_, sources) | Self::Fuse(_, sources) | Self::List(_, sources) => sources,
            Self::Done(_) => &[],
        }
    }

    fn sources_mut(&mut self) -> &mut [Self] {
        match self {
            Self::Search(_, sources) | Self::Fuse(_, sources) | Self::List(_, sources) => sources,
            Self::Done(_) => &mut [],
        }
    }

    /// How many results this and all steps below may have together.
    pub(super) fn results(&self) -> usize {
        let own = match self {
            Self::Search(search, _) => search.request.limit,
            Self::Fuse(fuse, _) => fuse.limit,
            Self::List(list, _) => list.request.limit,
            Self::Done(_) => 0,
        };
        self.sources()
            .iter()
            .map(Self::results)
            .fold(own, usize::saturating_add)
    }

    /// All searches of the tree.
    pub(super) fn searches<'s>(&'s mut self, out: &mut Vec<&'s mut PlannedSearch>) {
        match self {
            Self::Search(search, sources) => {
                out.push(search);
                sources.iter_mut().for_each(|s| s.searches(out));
            }
            Self::Fuse(_, sources) | Self::List(_, sources) => {
                sources.iter_mut().for_each(|s| s.searches(out));
            }
            Self::Done(_) => {}
        }
    }

    /// Does what needs no service.
    pub(super) fn reduce(&mut self) {
        self.sources_mut().iter_mut().for_each(Self::reduce);
        if let Self::Fuse(plan, sources) = self
            && all_done(sources)
        {
            let lists = std::mem::take(sources)
                .into_iter()
                .filter_map(Self::into_ranked);
            let hits = fuse(plan, lists.collect());
            *self = Self::Done(Ranked {
                hits,
                similarity: true,
            });
        }
    }

    /// The steps that can run now: those that [`Self::work`] has something for.
    pub(super) fn ready<'s>(&'s mut self, out: &mut Vec<&'s mut Self>) {
        let runs = match self {
            Self::Search(_, sources) | Self::List(_, sources) => all_done(sources),
            Self::Fuse(..) | Self::Done(_) => false,
        };
        if runs {
            out.push(self);
        } else {
            self.sources_mut().iter_mut().for_each(|s| s.ready(out));
        }
    }

    /// What a step that can run needs.
    pub(super) fn work(&self) -> Option<Work> {
        match self {
            Self::Search(search, sources) => Some(Work::Search(Box::new(request(search, sources)))),
            Self::List(list, sources) => {
                Some(Work::List(Box::new(list.request(found_by(sources)))))
            }
            Self::Fuse(..) | Self::Done(_) => None,
        }
    }

    /// What is to be chosen among the hits of a search before it takes them.
    pub(super) fn choice(&self) -> Option<Choice> {
        let Self::Search(search, _) = self else {
            return None;
        };
        let PlannedSearch { request, mmr, .. } = search.as_ref();
        match (mmr, &request.query) {
            (Some(mmr), SearchQuery::Nearest(vector)) => Some(Choice {
                mmr: *mmr,
                using: request.using.clone(),
                query: vector.clone(),
            }),
            _ => None,
        }
    }

    /// Takes the results of a listing.
    pub(super) fn listed(&mut self, hits: Vec<ScoredPoint>) {
        *self = Self::Done(Ranked {
            hits,
            similarity: true,
        });
    }

    /// Takes the results of a search.
    pub(super) fn found(&mut self, schema: &VectorSchema, hits: Vec<ScoredPoint>) {
        if let Self::Search(search, _) = self {
            let similarity = is_similarity(schema, &search.request);
            *self = Self::Done(Ranked { hits, similarity });
        }
    }

    fn ranked(&self) -> Option<&Ranked> {
        match self {
            Self::Done(ranked) => Some(ranked),
            _ => None,
        }
    }

    fn into_ranked(self) -> Option<Ranked> {
        match self {
            Self::Done(ranked) => Some(ranked),
            _ => None,
        }
    }

    /// The results, if all steps are done.
    pub(super) fn into_hits(self) -> Option<Vec<ScoredPoint>> {
        Some(self.into_ranked()?.hits)
    }
}

/// The points that steps found, each once; none if there are no steps.
fn found_by(sources: &[Step]) -> Option<Vec<PointId>> {
    let found = sources.iter().filter_map(Step::ranked);
    let mut ids: Vec<PointId> = found
        .flat_map(|list| &list.hits)
        .map(|hit| hit.record.id)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    (!sources.is_empty()).then_some(ids)
}

fn all_done(steps: &[Step]) -> bool {
    steps.iter().all(|step| matches!(step, Step::Done(_)))
}

/// The request of a search whose sources are done: among what they found, if it has sources. Formulas get their scores.
fn request(search: &PlannedSearch, sources: &[Step]) -> SearchRequest {
    let mut request = search.request.clone();
    request.among = found_by(sources);
    if let SearchQuery::Formula(formula) = &mut request.query {
        let scores = |list: &Ranked| {
            let hits = list.hits.iter();
            hits.map(|hit| (hit.record.id, hit.score)).collect()
        };
        formula.scores = sources
            .iter()
            .filter_map(Step::ranked)
            .map(scores)
            .collect();
    }
    request
}

fn fuse(plan: &PlannedFusion, lists: Vec<Ranked>) -> Vec<ScoredPoint> {
    let fused = match &plan.fusion {
        Fusion::Rrf { k, weights } => {
            let ids = |list: &Ranked| list.hits.iter().map(|hit| hit.record.id).collect();
            reciprocal_rank(&lists.iter().map(ids).collect::<Vec<_>>(), *k, weights)
        }
        Fusion::Dbsf => {
            // Of distances the lowest is best.
            let scored = |list: &Ranked| {
                let sign = if list.similarity { 1.0 } else { -1.0 };
                let hits = list.hits.iter();
                hits.map(|hit| Scored {
                    id: hit.record.id,
                    score: sign * hit.score,
                })
                .collect()
            };
            distribution_based(&lists.iter().map(scored).collect::<Vec<_>>())
        }
    };
    let hits = lists.iter().flat_map(|list| &list.hits);
    let versions: HashMap<PointId, LogPosition> =
        hits.map(|hit| (hit.record.id, hit.version)).collect();
    fused
        .into_iter()
        .filter(|scored| {
            plan.score_threshold
                .is_none_or(|least| scored.score >= least)
        })
        .take(plan.limit)
        .map(|scored| ScoredPoint {
            record: Record {
                id: scored.id,
                payload: None,
                vectors: None,
                order_value: None,
            },
            score: scored.score,
            version: versions.get(&scored.id).copied().unwrap_or_default(),
        })
        .collect()
}

/// What matches both.
pub(super) fn both(outer: Option<&Filter>, inner: Option<Filter>) -> Option<Filter> {
    match (outer, inner) {
        (Some(outer), Some(inner)) => Some(Filter {
            must: vec![
                Condition::Filter(Box::new(outer.clone())),
                Condition::Filter(Box::new(inner)),
            ],
            ..Filter::default()
        }),
        (outer, inner) => inner.or_else(|| outer.cloned()),
    }
}
