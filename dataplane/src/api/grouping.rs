//! Groups of hits by the values of a payload field. No I/O: [`Rounds`] says what to ask and takes the answers.
//!
//! The groups wanted are those with the best hits, each with its own best hits. One list of the best points need not show
//! them: one group may fill it alone. So the best points that do not belong to full groups only are asked for, again and again,
//! until there are enough groups: then no point that was not seen has a better place than the last one seen, so no group that
//! was not seen is better. Each round leaves out what the ones before filled and looks twice as far. At the end each of the
//! best groups that is not full is asked for on its own, farther if what came can be in no group.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use serde_json::Value;
use uuid::Uuid;

use crate::engine::path::Path;
use crate::model::{
    Condition, FieldCondition, Filter, MatchValue, Payload, PointId, Scalar, ScoredPoint,
};

/// Rounds until what was found has to do.
const MAX_ROUNDS: usize = 12;

/// What a group has in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum GroupId {
    /// An integer.
    Int(i64),
    /// An integer of more than 63 bits.
    Large(u64),
    /// A text.
    Text(String),
}

impl GroupId {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Number(n) => n
                .as_i64()
                .map(Self::Int)
                .or_else(|| n.as_u64().map(Self::Large)),
            _ => None,
        }
    }

    fn scalar(&self) -> Option<Scalar> {
        match self {
            Self::Int(n) => Some(Scalar::Int(*n)),
            Self::Text(text) => Some(Scalar::Text(text.clone())),
            // No condition compares with these.
            Self::Large(_) => None,
        }
    }

    /// The point of this id, if it can be one.
    pub(super) fn point_id(&self) -> Option<PointId> {
        match self {
            Self::Int(n) => u64::try_from(*n).ok().map(PointId::Num),
            Self::Large(n) => Some(PointId::Num(*n)),
            Self::Text(text) => Uuid::try_parse(text).ok().map(PointId::Uuid),
        }
    }
}

/// How to group.
#[derive(Clone, Debug)]
pub(super) struct Grouping {
    /// Dotted path of the field.
    pub(super) key: String,
    /// The same, parsed.
    pub(super) path: Path,
    /// Most hits of a group.
    pub(super) size: usize,
    /// Most groups.
    pub(super) limit: usize,
}

/// A group: places of its hits in a list of them, best first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) hits: Vec<usize>,
}

impl Grouping {
    /// The groups of a point: one for each different value. None if a value can be no group, as in Qdrant.
    fn ids(&self, payload: Option<&Payload>) -> Vec<GroupId> {
        let mut ids = Vec::new();
        let mut refused = false;
        let mut take = |value: &Value| match GroupId::of(value) {
            Some(id) if ids.contains(&id) => {}
            Some(id) => ids.push(id),
            None => refused = true,
        };
        if let Some(payload) = payload {
            self.path.any(payload, &mut |value| {
                match value {
                    Value::Array(items) => items.iter().for_each(&mut take),
                    single => take(single),
                }
                false
            });
        }
        if refused {
            ids.clear();
        }
        ids
    }

    /// All groups of `hits`, which are sorted, best group first.
    pub(super) fn assemble(&self, hits: &[ScoredPoint]) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut places: HashMap<GroupId, usize> = HashMap::new();
        for (i, hit) in hits.iter().enumerate() {
            for id in self.ids(hit.record.payload.as_ref()) {
                let place = *places.entry(id.clone()).or_insert(groups.len());
                if place == groups.len() {
                    groups.push(Group {
                        id,
                        hits: Vec::new(),
                    });
                }
                if groups[place].hits.len() < self.size {
                    groups[place].hits.push(i);
                }
            }
        }
        groups
    }

    fn is(&self, test: MatchValue) -> Condition {
        Condition::Field(FieldCondition {
            key: self.key.clone(),
            test,
        })
    }

    /// Points that may be in a group, other than points of the `full` groups only and those of `without`.
    fn outside(&self, full: Vec<Scalar>, without: Vec<PointId>) -> Filter {
        let mut filter = Filter {
            must_not: vec![Condition::IsEmpty(self.key.clone())],
            ..Filter::default()
        };
        if !full.is_empty() {
            filter.must.push(self.is(MatchValue::Except(full)));
        }
        if !without.is_empty() {
            filter.must_not.push(Condition::HasId(without));
        }
        filter
    }
}

/// A list to ask for: the best `limit` points that match.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) filter: Filter,
    pub(super) limit: usize,
}

#[derive(Debug)]
enum Phase {
    Exploring,
    /// These are asked for, each on its own: their best hits are not known yet.
    Filling(Vec<Scalar>),
    Done,
}

/// See the module.
pub(super) struct Rounds<'g> {
    grouping: &'g Grouping,
    /// All that were seen, best first.
    hits: Vec<ScoredPoint>,
    seen: HashSet<PointId>,
    phase: Phase,
    rounds: usize,
    /// How many points the next round asks for, of all or of each group that is filled, and at most.
    limit: usize,
    max_limit: usize,
}

impl<'g> Rounds<'g> {
    /// No list may be longer than `max_limit`.
    pub(super) fn new(grouping: &'g Grouping, max_limit: usize) -> Self {
        let all = grouping.limit.saturating_mul(grouping.size);
        Self {
            grouping,
            hits: Vec::new(),
            seen: HashSet::new(),
            phase: Phase::Exploring,
            rounds: 0,
            limit: all.min(max_limit),
            max_limit,
        }
    }

    /// What to ask for next; nothing when done.
    pub(super) fn next(&self) -> Vec<Ask> {
        match &self.phase {
            Phase::Exploring => {
                let groups = self.grouping.assemble(&self.hits);
                let full = groups.iter().filter(|group| self.is_full(group));
                let full = full.filter_map(|group| group.id.scalar()).collect();
                vec![Ask {
                    filter: self.grouping.outside(full, self.groupless()),
                    limit: self.limit,
                }]
            }
            Phase::Filling(pending) => pending
                .iter()
                .map(|value| Ask {
                    filter: Filter {
                        must: vec![self.grouping.is(MatchValue::Value(value.clone()))],
                        ..self.grouping.outside(Vec::new(), self.groupless())
                    },
                    limit: self.limit,
                })
                .collect(),
            Phase::Done => Vec::new(),
        }
    }

    /// Takes the answers to [`Self::next`]; `order` is that of the lists.
    pub(super) fn answer(
        &mut self,
        lists: Vec<Vec<ScoredPoint>>,
        order: &dyn Fn(&ScoredPoint, &ScoredPoint) -> Ordering,
    ) {
        self.rounds += 1;
        let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
        let unsettled: Vec<bool> = lists.iter().map(|list| !self.settles(list)).collect();
        for hit in lists.into_iter().flatten() {
            if self.seen.insert(hit.record.id) {
                self.hits.push(hit);
            }
        }
        self.hits.sort_by(order);
        match &mut self.phase {
            Phase::Exploring => self.explored(longest),
            Phase::Filling(pending) => {
                let mut unsettled = unsettled.into_iter();
                pending.retain(|_| unsettled.next().unwrap_or(false));
                if pending.is_empty() || self.rounds >= MAX_ROUNDS {
                    self.phase = Phase::Done;
                }
                self.limit = self.limit.saturating_mul(4).min(self.max_limit);
            }
            Phase::Done => {}
        }
    }

    /// What comes after a round of exploration whose list was so long.
    fn explored(&mut self, length: usize) {
        let groups = self.grouping.assemble(&self.hits);
        if length < self.limit {
            self.phase = Phase::Done;
        } else if groups.len() >= self.grouping.limit || self.rounds == MAX_ROUNDS {
            let best = groups.iter().take(self.grouping.limit);
            let open = best.filter(|group| !self.is_full(group));
            self.phase = Phase::Filling(open.filter_map(|group| group.id.scalar()).collect());
            self.limit = self.grouping.size.min(self.max_limit);
        } else {
            self.limit = self.limit.saturating_mul(2).min(self.max_limit);
        }
    }

    /// Whether a list of a group's best points shows its best hits: some of them may be in no group.
    fn settles(&self, list: &[ScoredPoint]) -> bool {
        let hits = list.iter().filter(|hit| !self.is_groupless(hit)).count();
        list.len() < self.limit || hits >= self.grouping.size
    }

    /// The best groups, and all hits that were seen.
    pub(super) fn finish(self) -> (Vec<Group>, Vec<ScoredPoint>) {
        let mut groups = self.grouping.assemble(&self.hits);
        groups.truncate(self.grouping.limit);
        (groups, self.hits)
    }

    fn is_full(&self, group: &Group) -> bool {
        group.hits.len() >= self.grouping.size
    }

    fn is_groupless(&self, hit: &ScoredPoint) -> bool {
        self.grouping.ids(hit.record.payload.as_ref()).is_empty()
    }

    /// Points that can be in no group.
    fn groupless(&self) -> Vec<PointId> {
        let hits = self.hits.iter().filter(|hit| self.is_groupless(hit));
        hits.map(|hit| hit.record.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::filter::{CompiledFilter, Subject};
    use crate::model::Record;
    use proptest::prelude::*;
    use serde_json::json;

    fn grouping(limit: usize, size: usize) -> Grouping {
        Grouping {
            key: "g".into(),
            path: Path::parse("g").unwrap(),
            size,
            limit,
        }
    }

    fn hit(id: u64, group: &Value) -> ScoredPoint {
        let payload = json!({"g": group}).as_object().unwrap().clone();
        ScoredPoint {
            record: Record {
                id: PointId::Num(id),
                payload: Some(payload),
                vectors: None,
                order_value: None,
            },
            score: -(id as f32),
            version: Default::default(),
        }
    }

    fn named(groups: &[Group], hits: &[ScoredPoint]) -> Vec<(GroupId, Vec<PointId>)> {
        let ids = |group: &Group| group.hits.iter().map(|i| hits[*i].record.id).collect();
        groups.iter().map(|g| (g.id.clone(), ids(g))).collect()
    }

    /// Asks until done; how often was asked.
    fn explore(
        points: &[ScoredPoint],
        grouping: &Grouping,
        max_limit: usize,
    ) -> (Vec<(GroupId, Vec<PointId>)>, usize) {
        let mut rounds = Rounds::new(grouping, max_limit);
        let mut asked = 0;
        loop {
            let asks = rounds.next();
            if asks.is_empty() {
                break;
            }
            asked += 1;
            let answer = |ask: &Ask| -> Vec<ScoredPoint> {
                let filter = CompiledFilter::new(&ask.filter).unwrap();
                let matching = points.iter().filter(|p| {
                    let point = Subject {
                        id: p.record.id,
                        has_vector: &|_| true,
                    };
                    filter.matches(point, p.record.payload.as_ref().unwrap())
                });
                matching.take(ask.limit).cloned().collect()
            };
            let lists = asks.iter().map(answer).collect();
            rounds.answer(lists, &|a, b| b.score.total_cmp(&a.score));
        }
        let (groups, hits) = rounds.finish();
        (named(&groups, &hits), asked)
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            8 => (0i64..6).prop_map(Value::from),
            4 => "[ab]".prop_map(Value::from),
            1 => Just(Value::Null),
            1 => any::<bool>().prop_map(Value::from),
            1 => Just(json!(1.5)),
        ]
    }

    proptest! {
        /// The groups are those of all points at once.
        #[test]
        fn rounds_find_the_best_groups(
            values in proptest::collection::vec(
                prop_oneof![3 => value(), 1 => proptest::collection::vec(value(), 0..4).prop_map(Value::from)],
                0..80,
            ),
            skew in 0usize..70,
            limit in 1usize..5,
            size in 1usize..4,
        ) {
            // A long run of one group before all others.
            let run = std::iter::repeat_n(json!("big"), skew);
            let points: Vec<ScoredPoint> =
                (0..).zip(run.chain(values)).map(|(id, group)| hit(id, &group)).collect();
            let grouping = grouping(limit, size);
            let mut all = grouping.assemble(&points);
            all.truncate(limit);
            let (found, asked) = explore(&points, &grouping, 1000);
            prop_assert_eq!(found, named(&all, &points));
            prop_assert!(asked <= MAX_ROUNDS + 1);
        }
    }

    #[test]
    fn a_group_that_fills_the_list_costs_one_more_round() {
        let points: Vec<ScoredPoint> = (0..1000)
            .map(|id| hit(id, &json!(if id < 900 { 1 } else { id })))
            .collect();
        let (found, asked) = explore(&points, &grouping(3, 1), 1000);
        let ids: Vec<&GroupId> = found.iter().map(|(id, _)| id).collect();
        assert_eq!(
            ids,
            [&GroupId::Int(1), &GroupId::Int(900), &GroupId::Int(901)]
        );
        assert_eq!(asked, 2);
    }

    #[test]
    fn groups_are_texts_and_integers() {
        let grouping = grouping(9, 9);
        let large = json!(u64::MAX);
        let id = "00000000-0000-0000-0000-000000000007";
        for (value, ids) in [
            (json!("a"), vec![GroupId::Text("a".into())]),
            (
                json!([1, "a", 1]),
                vec![GroupId::Int(1), GroupId::Text("a".into())],
            ),
            (large, vec![GroupId::Large(u64::MAX)]),
            (json!([1, true]), vec![]),
            (json!(0.5), vec![]),
            (json!(null), vec![]),
            (json!([]), vec![]),
        ] {
            let payload = json!({"g": value}).as_object().unwrap().clone();
            assert_eq!(grouping.ids(Some(&payload)), ids, "{payload:?}");
        }
        assert!(grouping.ids(None).is_empty());
        assert_eq!(GroupId::Int(7).point_id(), Some(PointId::Num(7)));
        assert_eq!(GroupId::Int(-7).point_id(), None);
        assert_eq!(GroupId::Text("x".into()).point_id(), None);
        assert!(matches!(
            GroupId::Text(id.into()).point_id(),
            Some(PointId::Uuid(_))
        ));
    }
}
