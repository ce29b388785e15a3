//! Reading partitions of this node, and merging answers of several.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::types::PartitionId;
use futures::future::try_join_all;
use tokio::time::Instant;

use super::Node;
use super::host::Pace;
use super::merge::{add_counts, merge_lists};
use super::rpc::{PartitionFigures, ReadAnswer, ReadQuery};
use crate::admission::{self, Threads};
use crate::engine::{EngineError, is_similarity};
use crate::error::ServiceError;
use crate::model::{Consistency, ReadOptions, ScoredPoint, ScrollPage, VectorSchema};

/// Searches that are expected to be over by then are not worth a thread of their own: waking one takes a tenth of it.
const BRIEF: Duration = Duration::from_micros(500);

impl Node {
    /// Reads `partitions`, all of one collection and all hosted here, after making each as fresh as asked.
    ///
    /// # Errors
    /// `WrongNode` when one is not loaded here.
    pub(super) async fn read_here(
        &self,
        partitions: Vec<PartitionId>,
        options: ReadOptions,
        query: ReadQuery,
    ) -> Result<ReadAnswer, ServiceError> {
        let consistency = options
            .consistency
            .unwrap_or_else(|| self.default_consistency());
        let settings = self.settings();
        // Figures cost no search, and are asked for most when a node has too much to do.
        let visit = match query {
            ReadQuery::Stats => None,
            _ => Some(
                self.context()
                    .gate
                    .enter(settings.max_queued_reads as usize)?,
            ),
        };
        let mut hosts = Vec::with_capacity(partitions.len());
        for partition in &partitions {
            let host = self
                .host(partition)
                .ok_or_else(|| ServiceError::WrongNode {
                    partition: partition.clone(),
                    reason: "it is not loaded on this instance".to_owned(),
                    ask: None,
                })?;
            hosts.push(host);
        }
        let token = options.token.as_ref();
        let noted = options.seen.clone().map(|seen| (seen, hosts.clone()));
        try_join_all(hosts.iter().zip(&partitions).map(|(host, partition)| {
            let at_least = token.and_then(|t| t.0.get(partition)).copied();
            async move {
                let began = Instant::now();
                host.freshen(consistency, at_least).await?;
                host.freshen_lanes(consistency, began, token).await
            }
        }))
        .await?;
        // Searching is CPU work: it must not hold up the runtime's threads.
        let schema = hosts.first().map(|host| host.machine().clone());
        let parts = query.parts();
        let steps = hosts.len() * parts;
        let query = Arc::new(query);
        let asked = query.clone();
        let in_memory = || {
            let mut states = hosts.iter().map(|host| host.machine().state());
            states.all(|state| state.is_in_memory())
        };
        let threads = place(
            &query,
            hosts.iter().map(|host| host.pace()),
            parts,
            in_memory,
        );
        let read = move |step: usize| {
            let host = &hosts[step / parts];
            let state = host.machine().state();
            let _timed = matches!(&*asked, ReadQuery::Search(_)).then(|| host.pace().time());
            match &*asked {
                ReadQuery::Search(requests) if !requests.is_empty() => {
                    let hits = state.search(&requests[step % parts]).map_err(refused)?;
                    Ok(ReadAnswer::Search(vec![hits]))
                }
                query => read_partition(state, query),
            }
        };
        let results = match &visit {
            Some(visit) => admission::run(visit, steps, threads, read).await?,
            None => (0..steps).map(read).collect::<Result<_, _>>()?,
        };
        // After reading: what was seen is at most what is there now, and all of that is durable.
        if let Some((seen, hosts)) = noted {
            for (host, partition) in hosts.iter().zip(&partitions) {
                seen.note(partition, host.machine().state().position());
            }
        }
        let answers = join_parts(results, parts);
        // All are of one collection.
        Ok(match &schema {
            Some(machine) => merge(&query, &machine.state().schema(), answers),
            None => merge(&query, &VectorSchema::default(), answers),
        })
    }

    fn default_consistency(&self) -> Consistency {
        use brainy_coordination::config::Consistency as Level;
        let settings = self.settings();
        match settings.default_consistency {
            Level::Eventual => Consistency::Eventual,
            Level::Bounded => Consistency::Bounded(settings.bounded_staleness_ms),
            Level::Strong => Consistency::Strong,
        }
    }
}

fn refused(error: EngineError) -> ServiceError {
    match error {
        EngineError::Invalid { .. } => ServiceError::BadRequest(error.to_string()),
        // Of what cannot be read here another node may have a copy.
        EngineError::Interrupted | EngineError::Io { .. } => {
            ServiceError::Unavailable(error.to_string())
        }
        other => ServiceError::Internal(other.to_string()),
    }
}

/// Where the steps of `query` are taken: here if all of them together are expected to take less than [`BRIEF`] and read no file, which
/// takes as long as the disk or the bucket likes.
fn place<'h>(
    query: &ReadQuery,
    paces: impl Iterator<Item = &'h Pace>,
    parts: usize,
    in_memory: impl FnOnce() -> bool,
) -> Threads {
    let expected: Option<Duration> = match query {
        ReadQuery::Search(_) => paces.map(Pace::expected).sum(),
        _ => None,
    };
    let parts = u32::try_from(parts).unwrap_or(u32::MAX);
    match expected.map(|each| each.saturating_mul(parts)) {
        Some(all) if all <= BRIEF && in_memory() => Threads::Here,
        _ => Threads::Own,
    }
}

impl ReadQuery {
    /// Into how many parts it is divided at each partition.
    fn parts(&self) -> usize {
        match self {
            ReadQuery::Search(requests) => requests.len().max(1),
            _ => 1,
        }
    }
}

/// Answers of partitions out of those of their parts, `parts` to each.
fn join_parts(results: Vec<ReadAnswer>, parts: usize) -> Vec<ReadAnswer> {
    let mut answers: Vec<ReadAnswer> = Vec::new();
    for (step, result) in results.into_iter().enumerate() {
        match (answers.last_mut(), result) {
            (Some(ReadAnswer::Search(lists)), ReadAnswer::Search(more)) if step % parts > 0 => {
                lists.extend(more);
            }
            (_, result) => answers.push(result),
        }
    }
    answers
}

fn read_partition(
    state: &crate::engine::PartitionState,
    query: &ReadQuery,
) -> Result<ReadAnswer, ServiceError> {
    Ok(match query {
        ReadQuery::Search(requests) => ReadAnswer::Search(
            requests
                .iter()
                .map(|r| state.search(r).map_err(refused))
                .collect::<Result<_, _>>()?,
        ),
        ReadQuery::Retrieve(r) => ReadAnswer::Retrieve(state.retrieve(r).map_err(refused)?),
        ReadQuery::Versions(ids) => ReadAnswer::Versions(state.versions(ids).map_err(refused)?),
        ReadQuery::Scroll(r) => ReadAnswer::Scroll(state.scroll(r).map_err(refused)?),
        ReadQuery::Count(r) => ReadAnswer::Count(state.count(r).map_err(refused)? as u64),
        ReadQuery::List(requests) => ReadAnswer::List(
            requests
                .iter()
                .map(|r| state.list(r).map_err(refused))
                .collect::<Result<_, _>>()?,
        ),
        ReadQuery::Facet(r) => ReadAnswer::Facet(state.facet(r).map_err(refused)?),
        ReadQuery::Stats => {
            let stats = state.stats();
            ReadAnswer::Stats(PartitionFigures {
                points: stats.points as u64,
                indexed: stats.indexed as u64,
                segments: stats.segments as u64,
                indexed_fields: state
                    .indexed_fields()
                    .into_iter()
                    .map(|(field, points)| (field, points as u64))
                    .collect(),
            })
        }
    })
}

/// Merges answers about disjoint sets of points to what one answer about all of them would have been.
#[must_use]
pub(super) fn merge(
    query: &ReadQuery,
    schema: &VectorSchema,
    answers: Vec<ReadAnswer>,
) -> ReadAnswer {
    match query {
        ReadQuery::Search(requests) => {
            let mut merged: Vec<Vec<ScoredPoint>> = vec![Vec::new(); requests.len()];
            for answer in answers {
                let ReadAnswer::Search(lists) = answer else {
                    continue;
                };
                for (all, list) in merged.iter_mut().zip(lists) {
                    all.extend(list);
                }
            }
            for (hits, request) in merged.iter_mut().zip(requests) {
                let similarity = is_similarity(schema, request);
                hits.sort_by(|a, b| better_first(similarity, a, b));
                hits.truncate(request.limit);
            }
            ReadAnswer::Search(merged)
        }
        ReadQuery::Retrieve(request) => {
            let mut records = Vec::new();
            for answer in answers {
                if let ReadAnswer::Retrieve(part) = answer {
                    records.extend(part);
                }
            }
            let mut order = std::collections::HashMap::new();
            for (i, id) in request.ids.iter().enumerate() {
                order.entry(*id).or_insert(i);
            }
            records.sort_by_key(|r| order.get(&r.id).copied().unwrap_or(usize::MAX));
            ReadAnswer::Retrieve(records)
        }
        ReadQuery::Versions(_) => {
            let mut found = Vec::new();
            for answer in answers {
                if let ReadAnswer::Versions(part) = answer {
                    found.extend(part);
                }
            }
            ReadAnswer::Versions(found)
        }
        ReadQuery::Scroll(request) => {
            let mut page = ScrollPage::default();
            let mut next = Vec::new();
            for answer in answers {
                if let ReadAnswer::Scroll(part) = answer {
                    page.records.extend(part.records);
                    next.extend(part.next);
                }
            }
            page.records.sort_by_key(|r| r.id);
            let cut = page.records.get(request.limit).map(|r| r.id);
            page.records.truncate(request.limit);
            page.next = next.into_iter().chain(cut).min();
            ReadAnswer::Scroll(page)
        }
        ReadQuery::Count(_) => ReadAnswer::Count(
            answers
                .iter()
                .map(|a| match a {
                    ReadAnswer::Count(n) => *n,
                    _ => 0,
                })
                .sum(),
        ),
        ReadQuery::List(requests) => {
            let lists = answers.into_iter().filter_map(|answer| match answer {
                ReadAnswer::List(lists) => Some(lists),
                _ => None,
            });
            ReadAnswer::List(merge_lists(requests, lists))
        }
        ReadQuery::Facet(_) => {
            let counts = answers.into_iter().filter_map(|answer| match answer {
                ReadAnswer::Facet(counts) => Some(counts),
                _ => None,
            });
            ReadAnswer::Facet(add_counts(counts))
        }
        ReadQuery::Stats => {
            let mut total = PartitionFigures::default();
            for answer in answers {
                if let ReadAnswer::Stats(part) = answer {
                    total.points += part.points;
                    total.indexed += part.indexed;
                    total.segments += part.segments;
                    for (field, points) in part.indexed_fields {
                        *total.indexed_fields.entry(field).or_default() += points;
                    }
                }
            }
            ReadAnswer::Stats(total)
        }
    }
}

fn better_first(similarity: bool, a: &ScoredPoint, b: &ScoredPoint) -> Ordering {
    let by_score = if similarity {
        b.score.total_cmp(&a.score)
    } else {
        a.score.total_cmp(&b.score)
    };
    by_score.then_with(|| a.record.id.cmp(&b.record.id))
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
