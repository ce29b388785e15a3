//! The way of a request through the cluster: split by partition, sent to who owns or reads them, repeated where that
//! changed, merged.
//!
//! Any node takes any request. Repeating a write is safe because it carries its request id (design rule 6), so the
//! router repeats until the deadline whatever does not have a final answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::assignment::MemberState;
use brainy_coordination::manifest::Collection;
use brainy_coordination::types::{InstanceId, LogPosition, Nonce, PartitionId};
use futures::stream::{FuturesUnordered, StreamExt};
use rand::seq::IndexedRandom;
use tokio::time::{Instant, sleep};

use super::Node;
use super::parts::{Part, Parts};
use super::rpc::{ReadAnswer, ReadQuery, Request, Response};
use super::view::View;
use crate::error::ServiceError;
use crate::model::{PointId, ReadOptions, Selector, Token, WriteOp, WriteReceipt};

/// First pause before a request is tried at another node.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
/// Longest pause between tries: short, because a handoff is, and what is asked in between is cheap.
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// Splits a write by partition. An operation on a filter goes to every partition.
#[must_use]
pub(super) fn split(collection: &Collection, op: WriteOp) -> BTreeMap<PartitionId, WriteOp> {
    fn by_partition<T>(
        collection: &Collection,
        items: Vec<T>,
        id: impl Fn(&T) -> PointId,
    ) -> BTreeMap<PartitionId, Vec<T>> {
        let mut parts: BTreeMap<PartitionId, Vec<T>> = BTreeMap::new();
        for item in items {
            let partition = collection.partition_of(&id(&item).canonical_bytes());
            parts.entry(partition).or_default().push(item);
        }
        parts
    }
    fn with_selector(
        collection: &Collection,
        selector: Selector,
        make: impl Fn(Selector) -> WriteOp,
    ) -> BTreeMap<PartitionId, WriteOp> {
        match selector {
            Selector::Ids(ids) => by_partition(collection, ids, |id| *id)
                .into_iter()
                .map(|(p, ids)| (p, make(Selector::Ids(ids))))
                .collect(),
            Selector::Filter(filter) => collection
                .partitions()
                .map(|p| (p, make(Selector::Filter(filter.clone()))))
                .collect(),
        }
    }
    match op {
        WriteOp::Upsert(points) => by_partition(collection, points, |p| p.id)
            .into_iter()
            .map(|(p, points)| (p, WriteOp::Upsert(points)))
            .collect(),
        WriteOp::UpdateVectors(updates) => by_partition(collection, updates, |u| u.id)
            .into_iter()
            .map(|(p, updates)| (p, WriteOp::UpdateVectors(updates)))
            .collect(),
        WriteOp::UpsertIf {
            points,
            mode,
            filter,
        } => by_partition(collection, points, |p| p.id)
            .into_iter()
            .map(|(p, points)| {
                let filter = filter.clone();
                let op = WriteOp::UpsertIf {
                    points,
                    mode,
                    filter,
                };
                (p, op)
            })
            .collect(),
        WriteOp::UpdateVectorsIf { updates, filter } => by_partition(collection, updates, |u| u.id)
            .into_iter()
            .map(|(p, updates)| {
                let filter = filter.clone();
                (p, WriteOp::UpdateVectorsIf { updates, filter })
            })
            .collect(),
        WriteOp::Delete(selector) => with_selector(collection, selector, WriteOp::Delete),
        WriteOp::ClearPayload(selector) => {
            with_selector(collection, selector, WriteOp::ClearPayload)
        }
        WriteOp::SetPayload {
            selector,
            payload,
            key,
        } => with_selector(collection, selector, |selector| WriteOp::SetPayload {
            selector,
            payload: payload.clone(),
            key: key.clone(),
        }),
        WriteOp::OverwritePayload { selector, payload } => {
            with_selector(collection, selector, |selector| WriteOp::OverwritePayload {
                selector,
                payload: payload.clone(),
            })
        }
        WriteOp::DeleteVectors { selector, names } => {
            with_selector(collection, selector, |selector| WriteOp::DeleteVectors {
                selector,
                names: names.clone(),
            })
        }
        WriteOp::Adjust { selector, ops } => {
            with_selector(collection, selector, |selector| WriteOp::Adjust {
                selector,
                ops: ops.clone(),
            })
        }
        WriteOp::Seeing { context, op } => split(collection, *op)
            .into_iter()
            .map(|(p, op)| {
                let (context, op) = (context.clone(), Box::new(op));
                (p, WriteOp::Seeing { context, op })
            })
            .collect(),
        WriteOp::DeletePayload { selector, keys } => {
            with_selector(collection, selector, |selector| WriteOp::DeletePayload {
                selector,
                keys: keys.clone(),
            })
        }
    }
}

/// Pauses between tries until a deadline.
pub(super) struct Tries {
    deadline: Instant,
    pause: Duration,
}

impl Tries {
    pub(super) fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            pause: FIRST_PAUSE,
        }
    }

    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Waits before the next try; gives `error` back when there is no time for one.
    pub(super) async fn next(&mut self, error: ServiceError) -> Result<(), ServiceError> {
        if self.left() <= self.pause {
            return Err(match error {
                ServiceError::WrongNode {
                    partition, reason, ..
                } => ServiceError::Unavailable(format!(
                    "partition {partition} was not served in time: {reason}"
                )),
                other => other,
            });
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// Whether somebody besides `refused` serves reads of a partition.
fn has_another_reader(
    view: &View,
    partition: &PartitionId,
    refused: &BTreeSet<InstanceId>,
) -> bool {
    view.assignment(partition).is_some_and(|assignment| {
        let mut slots = assignment.readers.iter();
        slots.any(|slot| {
            slot.state.serves()
                && !view.is_gone(&slot.instance)
                && !refused.contains(&slot.instance)
        })
    })
}

/// Whether another try may succeed.
pub(super) fn retryable(error: &ServiceError) -> bool {
    matches!(
        error,
        ServiceError::WrongNode { .. } | ServiceError::Unavailable(_) | ServiceError::Unknown(_)
    )
}

impl Node {
    /// Writes to every partition that `op` concerns and waits until it is durable in all of them.
    ///
    /// # Errors
    /// The first failure; other partitions may have taken their part, and repeating the request under its id completes it.
    pub(super) async fn route_write(
        &self,
        collection: &Collection,
        op: WriteOp,
        request: Nonce,
    ) -> Result<WriteReceipt, ServiceError> {
        let deadline = Instant::now() + self.deadline();
        let split = split(collection, op);
        let parts = Parts::new(split.len());
        let mut writes: FuturesUnordered<_> = split
            .into_iter()
            .map(|(partition, op)| {
                self.write_partition(partition, request, op, deadline, parts.part())
            })
            .collect();
        let mut token = Token::default();
        let mut failure = None;
        while let Some(done) = writes.next().await {
            match done {
                Ok((partition, position)) => {
                    token.0.insert(partition, position);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            None => Ok(WriteReceipt { token }),
            // These promise that nothing was written, which holds for the partition and not for the request.
            Some(ServiceError::Unavailable(text)) if !token.0.is_empty() => Err(
                ServiceError::Unknown(format!("a part is stored, a part is not: {text}")),
            ),
            Some(error) => Err(error),
        }
    }

    async fn write_partition(
        &self,
        partition: PartitionId,
        request: Nonce,
        op: WriteOp,
        deadline: Instant,
        mut part: Part<'_>,
    ) -> Result<(PartitionId, LogPosition), ServiceError> {
        let mut tries = Tries::until(deadline);
        // Once a try may have happened, only a definite answer under the same id makes it certain again.
        let mut uncertain = None;
        loop {
            let error = match self
                .write_once(&partition, request, &op, tries.left())
                .await
            {
                Ok(written) => {
                    part.written();
                    return Ok(written);
                }
                Err(error) => error,
            };
            if let ServiceError::Unknown(_) = error {
                uncertain = Some(error.clone());
            }
            // After an uncertain try even "overloaded" is worth waiting for: only an answer under this id settles it.
            let settle = uncertain.is_some() && matches!(error, ServiceError::Overloaded { .. });
            if !retryable(&error) && !settle {
                let others = part.refused();
                if matches!(error, ServiceError::Overloaded { .. }) && others {
                    tries.next(error).await?;
                    continue;
                }
                return Err(uncertain.unwrap_or(error));
            }
            self.metrics().routing_retries.inc();
            if let Err(error) = tries.next(error).await {
                return Err(uncertain.unwrap_or(error));
            }
            self.look_again().await;
        }
    }

    async fn write_once(
        &self,
        partition: &PartitionId,
        request: Nonce,
        op: &WriteOp,
        timeout: Duration,
    ) -> Result<(PartitionId, LogPosition), ServiceError> {
        let view = self.view().get();
        if self.config().multi_writer {
            return self
                .write_to_a_lane(&view, partition, request, op, timeout)
                .await;
        }
        let Some(assignment) = view.assignment(partition) else {
            return Err(self.not_assigned(&view, partition, "it is not assigned yet"));
        };
        // During a handoff the owner serves until it is sealed, then the successor; ask the one the table names first.
        let candidates = [
            assignment.owner.as_ref(),
            assignment.handoff.as_ref().map(|h| &h.to),
        ];
        let mut last = self.not_assigned(&view, partition, "it has no owner");
        for instance in candidates.into_iter().flatten() {
            let answer = if *instance == self.me().instance {
                match self.host(partition) {
                    Some(host) => host.write(request, op.clone()).await,
                    None => Err(self.not_assigned(&view, partition, "it is not loaded here yet")),
                }
            } else {
                self.remote_write(&view, instance, partition, request, op, timeout)
                    .await
            };
            match answer {
                Ok(position) => return Ok((partition.clone(), position)),
                // Unknown must be settled with this owner or its successor, and that takes a new look.
                Err(error @ ServiceError::Unknown(_)) => return Err(error),
                Err(error) if retryable(&error) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    pub(super) async fn remote_write(
        &self,
        view: &View,
        instance: &InstanceId,
        partition: &PartitionId,
        request: Nonce,
        op: &WriteOp,
        timeout: Duration,
    ) -> Result<LogPosition, ServiceError> {
        let Some(member) = view
            .member(instance)
            .filter(|m| m.state != MemberState::Gone)
        else {
            return Err(ServiceError::Unavailable(format!(
                "{instance}, the owner of {partition}, is gone"
            )));
        };
        let call = Request::Write {
            partition: partition.clone(),
            request,
            op: op.clone(),
        };
        match self.rpc().call(&member.address, &call, timeout).await? {
            Response::Written(position) => Ok(position),
            _ => Err(ServiceError::Internal(format!(
                "{instance} gave another answer to a write"
            ))),
        }
    }

    pub(super) fn not_assigned(
        &self,
        view: &View,
        partition: &PartitionId,
        reason: &str,
    ) -> ServiceError {
        // A collection that was dropped has no partitions left; saying so beats waiting.
        if view.manifest.is_some() && view.by_uid(&partition.collection).is_none() {
            return ServiceError::NoSuchCollection(partition.collection.to_string());
        }
        ServiceError::WrongNode {
            partition: partition.clone(),
            reason: reason.to_owned(),
            ask: None,
        }
    }

    /// Refreshes the view between two tries. A failure to do so is not the request's failure.
    pub(super) async fn look_again(&self) {
        self.context().quiet.stir();
        if let Err(error) = self.view().refresh().await {
            tracing::debug!(%error, "cannot refresh the view between tries");
        }
    }

    /// Asks one serving reader for each of `partitions` and returns the answers, one a node. Partitions whose reader
    /// fails are asked of another.
    ///
    /// # Errors
    /// The last failure when a partition could not be read before the deadline.
    pub(super) async fn route_read(
        &self,
        partitions: Vec<PartitionId>,
        options: ReadOptions,
        query: ReadQuery,
    ) -> Result<Vec<ReadAnswer>, ServiceError> {
        let mut tries = Tries::until(Instant::now() + self.deadline());
        let mut answers = Vec::new();
        let mut open: BTreeSet<PartitionId> = partitions.into_iter().collect();
        let mut avoid: HashMap<PartitionId, BTreeSet<InstanceId>> = HashMap::new();
        while !open.is_empty() {
            let view = self.view().get();
            let mut failure = None;
            let mut groups: BTreeMap<InstanceId, Vec<PartitionId>> = BTreeMap::new();
            for partition in &open {
                match self.choose_reader(&view, partition, avoid.get(partition)) {
                    Ok(instance) => groups.entry(instance).or_default().push(partition.clone()),
                    Err(error) => failure = Some(error),
                }
            }
            let mut asked: FuturesUnordered<_> = groups
                .into_iter()
                .map(|(instance, group)| {
                    let view = view.clone();
                    let (options, query) = (options.clone(), query.clone());
                    let timeout = tries.left();
                    async move {
                        let answer = self
                            .read_at(&view, &instance, group.clone(), options, query, timeout)
                            .await;
                        (instance, group, answer)
                    }
                })
                .collect();
            while let Some((instance, group, answer)) = asked.next().await {
                match answer {
                    Ok(answer) => {
                        for partition in group {
                            open.remove(&partition);
                        }
                        answers.push(answer);
                    }
                    // Another may have room; if none has, more of the same helps nobody.
                    Err(error @ ServiceError::Overloaded { .. }) => {
                        for partition in &group {
                            let refused = avoid.entry(partition.clone()).or_default();
                            refused.insert(instance.clone());
                            if !has_another_reader(&view, partition, refused) {
                                return Err(error);
                            }
                        }
                    }
                    Err(error) if retryable(&error) => {
                        for partition in group {
                            avoid.entry(partition).or_default().insert(instance.clone());
                        }
                        failure = Some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            drop(asked);
            if let Some(error) = failure.filter(|_| !open.is_empty()) {
                self.metrics().routing_retries.inc();
                tries.next(error).await?;
                self.look_again().await;
            }
        }
        Ok(answers)
    }

    /// Who is asked to read `partition`: this node if it can, else a serving reader at random; those that just failed
    /// only when nobody else is left.
    fn choose_reader(
        &self,
        view: &View,
        partition: &PartitionId,
        avoid: Option<&BTreeSet<InstanceId>>,
    ) -> Result<InstanceId, ServiceError> {
        if let Some(me) = self.reads_everything_here(partition, avoid) {
            return Ok(me);
        }
        let Some(assignment) = view.assignment(partition) else {
            return Err(self.not_assigned(view, partition, "it is not assigned yet"));
        };
        let alive = |i: &InstanceId| !view.is_gone(i);
        let serving: Vec<&InstanceId> = assignment
            .readers
            .iter()
            .filter(|slot| slot.state.serves() && alive(&slot.instance))
            .map(|slot| &slot.instance)
            .collect();
        let fresh: Vec<&InstanceId> = serving
            .iter()
            .copied()
            .filter(|i| avoid.is_none_or(|a| !a.contains(*i)))
            .collect();
        let me = &self.me().instance;
        if fresh.contains(&me) {
            return Ok(me.clone());
        }
        let mut rng = rand::rng();
        let warming = || {
            let slots = assignment.readers.iter().map(|slot| &slot.instance);
            slots.filter(|i| alive(i)).collect::<Vec<_>>()
        };
        fresh
            .choose(&mut rng)
            .copied()
            .or_else(|| serving.choose(&mut rng).copied())
            .cloned()
            .or_else(|| warming().choose(&mut rng).map(|i| (*i).clone()))
            // A cluster without readers still answers, from the owner.
            .or_else(|| assignment.owner.clone().filter(|i| alive(i)))
            .ok_or_else(|| ServiceError::WrongNode {
                partition: partition.clone(),
                reason: "no reader is assigned to it: give the cluster a reader or a hybrid"
                    .to_owned(),
                ask: None,
            })
    }

    async fn read_at(
        &self,
        view: &Arc<View>,
        instance: &InstanceId,
        partitions: Vec<PartitionId>,
        options: ReadOptions,
        query: ReadQuery,
        timeout: Duration,
    ) -> Result<ReadAnswer, ServiceError> {
        if *instance == self.me().instance {
            return self.read_here(partitions, options, query).await;
        }
        let Some(member) = view.member(instance) else {
            return Err(ServiceError::Unavailable(format!(
                "{instance} has no address"
            )));
        };
        let wanted = options.seen.clone();
        let call = Request::Read {
            partitions,
            options,
            query,
        };
        let response = self.rpc().call(&member.address, &call, timeout).await?;
        match (response, wanted) {
            (Response::Read(answer), None) => Ok(answer),
            (Response::Seen { answer, seen }, Some(wanted)) => {
                wanted.merge(&seen);
                Ok(answer)
            }
            // A session that went on without it could go back in time.
            (Response::Read(_), Some(_)) => Err(ServiceError::Unavailable(format!(
                "{instance} is of a version that does not say what a read saw"
            ))),
            _ => Err(ServiceError::Internal(format!(
                "{instance} gave another answer to a read"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brainy_coordination::manifest::Distance;

    #[test]
    fn a_split_loses_nothing_and_sends_each_id_to_its_partition() {
        let collection = crate::node::tests_support::collection(7, 4, Distance::Dot);
        let ids: Vec<PointId> = (0..1000).map(PointId::Num).collect();
        let parts = split(&collection, WriteOp::Delete(Selector::Ids(ids.clone())));
        assert!(parts.len() > 1);
        let mut seen = BTreeSet::new();
        for (partition, op) in parts {
            let WriteOp::Delete(Selector::Ids(part)) = op else {
                panic!("another operation came out");
            };
            for id in part {
                assert_eq!(collection.partition_of(&id.canonical_bytes()), partition);
                assert!(seen.insert(id));
            }
        }
        assert_eq!(seen.len(), ids.len());
        let everywhere = split(
            &collection,
            WriteOp::ClearPayload(Selector::Filter(crate::model::Filter::default())),
        );
        assert_eq!(everywhere.len(), 7);
    }
}
