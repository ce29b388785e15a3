use std::collections::BTreeMap;
use std::sync::Arc;

use brainy_coordination::types::{LogPosition, SegmentId};
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::engine::distance::normalise;
use crate::engine::{BuildOptions, Change, OpenOptions, PartitionState, Segment};
use crate::model::{
    Condition, DenseParams, Distance, Expression, FieldCondition, Filter, Formula, MatchValue,
    MultiVector, Objective, Pair, Point, PointId, Scalar, SearchQuery, SearchRequest, SparseParams,
    SparseVector, Vector, Vectors,
};

const SIZE: usize = 3;
const LIST_SIZE: usize = 2;
const LIMIT: usize = 6;

fn schema(distance: Distance) -> VectorSchema {
    let lists = DenseParams {
        multivector: true,
        ..DenseParams::new(LIST_SIZE as u32, distance)
    };
    VectorSchema {
        vectors: BTreeMap::from([
            (String::new(), DenseParams::new(SIZE as u32, distance)),
            ("list".to_owned(), lists),
        ]),
        sparse_vectors: BTreeMap::from([("terms".to_owned(), SparseParams::default())]),
        ..VectorSchema::default()
    }
}

/// Whole numbers, so that sums are exact but where the distance is cosine.
fn dense(size: usize) -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec((-4i8..5).prop_map(f32::from), size)
}

fn list() -> impl Strategy<Value = MultiVector> {
    let data = (1usize..4).prop_flat_map(|rows| dense(rows * LIST_SIZE));
    data.prop_map(|data| MultiVector::from_flat(LIST_SIZE, data).unwrap())
}

fn sparse() -> impl Strategy<Value = SparseVector> {
    let terms = proptest::collection::btree_map(0u32..6, (-3i8..4).prop_map(f32::from), 0..4);
    terms.prop_map(|pairs| {
        let (indices, values) = pairs.into_iter().unzip();
        SparseVector::new(indices, values).unwrap()
    })
}

fn vectors() -> impl Strategy<Value = Vectors> {
    let often = proptest::option::weighted(0.9, dense(SIZE));
    (
        often,
        proptest::option::of(list()),
        proptest::option::of(sparse()),
    )
        .prop_map(|(dense, list, terms)| {
            let dense = dense.map(|v| (String::new(), Vector::Dense(v)));
            let list = list.map(|v| ("list".to_owned(), Vector::Multi(v)));
            let terms = terms.map(|v| ("terms".to_owned(), Vector::Sparse(v)));
            dense.into_iter().chain(list).chain(terms).collect()
        })
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let put = (0u64..30, vectors(), 0i64..3).prop_map(|(n, vectors, tag)| {
        Change::Put(Point {
            id: PointId::Num(n),
            vectors,
            payload: json!({"tag": tag}).as_object().unwrap().clone(),
        })
    });
    let delete = (0u64..30).prop_map(|n| Change::Delete(PointId::Num(n)));
    proptest::collection::vec(prop_oneof![5 => put, 1 => delete], 0..25)
}

fn objectives(vector: BoxedStrategy<Vector>) -> impl Strategy<Value = Vec<Objective>> {
    let some = proptest::collection::vec(vector.clone(), 1..4);
    let perhaps = proptest::collection::vec(vector.clone(), 0..3);
    let pair = (vector.clone(), vector.clone())
        .prop_map(|(positive, negative)| Pair { positive, negative });
    let pairs = proptest::collection::vec(pair, 1..4);
    (some, perhaps, vector, pairs).prop_map(|(positive, negative, target, context)| {
        let weights = positive.iter().cloned().zip([1.0, -1.0, 0.5]).collect();
        vec![
            Objective::BestScore {
                positive: positive.clone(),
                negative: negative.clone(),
            },
            Objective::BestScore {
                positive: negative,
                negative: positive,
            },
            Objective::Weighted(weights),
            Objective::Discover {
                target: target.clone(),
                context: context.clone(),
            },
            Objective::Discover {
                target,
                context: Vec::new(),
            },
            Objective::Context(context),
        ]
    })
}

/// Objectives for each kind of vector.
fn queries() -> impl Strategy<Value = Vec<(&'static str, Vec<Objective>)>> {
    (
        objectives(dense(SIZE).prop_map(Vector::Dense).boxed()),
        objectives(list().prop_map(Vector::Multi).boxed()),
        objectives(sparse().prop_map(Vector::Sparse).boxed()),
    )
        .prop_map(|(dense, list, terms)| vec![("", dense), ("list", list), ("terms", terms)])
}

/// A partition and the files of its segments.
struct Part {
    state: PartitionState,
    dir: TempDir,
}

impl Part {
    fn new(distance: Distance) -> Self {
        Self {
            state: PartitionState::new(schema(distance)),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn write(&self, seq: u64, changes: &[Change]) {
        self.state.apply(LogPosition::new(1, seq), changes).unwrap();
    }

    /// What was written becomes a segment.
    fn flush(&self) {
        let Some(frozen) = self.state.freeze() else {
            return;
        };
        let id = SegmentId::generate(1);
        let dir = self.dir.path().join(id.as_str());
        let meta = frozen.build(id, &dir, BuildOptions::default()).unwrap();
        let options = OpenOptions { resident: true };
        let mut segments = self.state.segments();
        segments.push(Arc::new(Segment::open(&dir, &meta, options).unwrap()));
        self.state.install(segments, frozen.position()).unwrap();
    }
}

/// So many partitions that hold the same points: some in segments, the newest not.
fn parts(count: u64, distance: Distance, writes: &[Vec<Change>; 3]) -> Vec<Part> {
    let parts: Vec<Part> = (0..count).map(|_| Part::new(distance)).collect();
    for (i, part) in (0..count).zip(&parts) {
        for (seq, changes) in (1..).zip(writes) {
            let mine = changes
                .iter()
                .filter(|change| matches!(change.id(), PointId::Num(n) if n % count == i));
            let mine: Vec<Change> = mine.cloned().map(|c| prepared(c, distance)).collect();
            part.write(seq, &mine);
            if seq < 3 {
                part.flush();
            }
        }
    }
    parts
}

/// As it is logged: of unit length where the distance is cosine.
fn prepared(change: Change, distance: Distance) -> Change {
    match change {
        Change::Put(mut point) => {
            for (_, vector) in point.vectors.iter_mut() {
                unit(vector, distance);
            }
            Change::Put(point)
        }
        other => other,
    }
}

fn unit(vector: &mut Vector, distance: Distance) {
    match vector {
        _ if distance != Distance::Cosine => {}
        Vector::Dense(row) => normalise(row),
        Vector::Multi(list) => list.rows_mut().for_each(normalise),
        Vector::Sparse(_) => {}
    }
}

fn found(parts: &[Part], distance: Distance, request: &SearchRequest) -> Vec<ScoredPoint> {
    let query = ReadQuery::Search(vec![request.clone()]);
    let answers = parts
        .iter()
        .map(|part| read_partition(&part.state, &query).unwrap());
    match merge(&query, &schema(distance), answers.collect()) {
        ReadAnswer::Search(mut lists) => lists.remove(0),
        other => panic!("{other:?}"),
    }
}

fn ids_and_scores(hits: &[ScoredPoint]) -> Vec<(PointId, f32)> {
    hits.iter().map(|hit| (hit.record.id, hit.score)).collect()
}

/// The points that the writes leave.
fn model(writes: &[Vec<Change>; 3], distance: Distance) -> BTreeMap<PointId, Point> {
    let mut points = BTreeMap::new();
    for change in writes.iter().flatten() {
        match prepared(change.clone(), distance) {
            Change::Put(point) => points.insert(point.id, point),
            Change::Delete(id) => points.remove(&id),
            Change::Merge(id, _) => panic!("{id} is not merged here"),
        };
    }
    points
}

fn row_similarity(distance: Distance, a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y)));
    match distance {
        Distance::Cosine | Distance::Dot => pairs.map(|(x, y)| x * y).sum(),
        Distance::Euclid => -pairs.map(|(x, y)| (x - y).powi(2)).sum::<f64>(),
        Distance::Manhattan => -pairs.map(|(x, y)| (x - y).abs()).sum::<f64>(),
    }
}

/// By definition.
fn similarity(distance: Distance, example: &Vector, vector: &Vector) -> f64 {
    let mut example = example.clone();
    unit(&mut example, distance);
    match (&example, vector) {
        (Vector::Dense(a), Vector::Dense(b)) => row_similarity(distance, a, b),
        (Vector::Multi(a), Vector::Multi(b)) => {
            let best = a.rows().map(|a| {
                let all = b.rows().map(|b| row_similarity(distance, a, b));
                all.fold(f64::NEG_INFINITY, f64::max)
            });
            best.sum()
        }
        (Vector::Sparse(a), Vector::Sparse(b)) => a
            .iter()
            .flat_map(|(i, x)| {
                b.iter()
                    .filter(move |(j, _)| i == *j)
                    .map(move |(_, y)| x * y)
            })
            .map(f64::from)
            .sum(),
        other => panic!("{other:?}"),
    }
}

fn squashed(x: f64) -> f64 {
    x / (1.0 + x.abs())
}

/// By definition; none where rounding decides.
fn expected(
    distance: Distance,
    objective: &Objective,
    similarity: &dyn Fn(&Vector) -> f64,
) -> Option<f64> {
    let near = |a: f64, b: f64| (a != b || distance == Distance::Cosine) && (a - b).abs() < 1e-5;
    Some(match objective {
        Objective::BestScore { positive, negative } => {
            let best = |examples: &[Vector]| {
                let all = examples.iter().map(similarity);
                all.fold(f64::NEG_INFINITY, f64::max)
            };
            let (positive, negative) = (best(positive), best(negative));
            if near(positive, negative) {
                return None;
            }
            if positive > negative {
                (squashed(positive) + 1.0) / 2.0
            } else {
                -(squashed(negative) + 1.0) / 2.0
            }
        }
        Objective::Weighted(examples) => examples.iter().map(|(v, w)| similarity(v) * w).sum(),
        Objective::Discover { target, context } => {
            let mut value = (squashed(similarity(target)) + 1.0) / 2.0;
            for pair in context {
                let (positive, negative) = (similarity(&pair.positive), similarity(&pair.negative));
                if near(positive, negative) {
                    return None;
                }
                // Zeros are equal whatever their sign: the sum of nothing has one.
                value += match positive.partial_cmp(&negative) {
                    Some(Ordering::Greater) => 1.0,
                    Some(Ordering::Less) => -1.0,
                    _ => 0.0,
                };
            }
            value
        }
        Objective::Context(context) => context
            .iter()
            .map(|pair| {
                let lead = similarity(&pair.positive) - similarity(&pair.negative);
                squashed((lead - f64::from(f32::EPSILON)).min(0.0))
            })
            .sum(),
    })
}

fn tagged(tag: i64) -> Filter {
    let condition = FieldCondition {
        key: "tag".to_owned(),
        test: MatchValue::Value(Scalar::Int(tag)),
    };
    Filter {
        must: vec![Condition::Field(condition)],
        ..Filter::default()
    }
}

fn check(
    hits: &[ScoredPoint],
    mut values: BTreeMap<PointId, Option<f64>>,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(hits.len(), values.len().min(LIMIT));
    let order = |a: &ScoredPoint, b: &ScoredPoint| {
        a.score > b.score || (a.score == b.score && a.record.id < b.record.id)
    };
    prop_assert!(hits.is_sorted_by(order), "{:?}", hits);
    let Some(worst) = hits.last().map(|hit| f64::from(hit.score)) else {
        return Ok(());
    };
    for hit in hits {
        // In the map of those that match, and found once.
        let value = values.remove(&hit.record.id);
        prop_assert!(value.is_some(), "{:?}", hit);
        if let Some(Some(value)) = value {
            let score = f64::from(hit.score);
            prop_assert!(
                (score - value).abs() < 1e-4 * (1.0 + value.abs()),
                "{score}, {value}"
            );
        }
    }
    for (id, value) in values {
        let better = value.is_some_and(|value| value > worst + 1e-4 * (1.0 + value.abs()));
        prop_assert!(!better, "{} with {:?} is not found", id, value);
    }
    Ok(())
}

#[test]
fn short_searches_run_on_the_thread_that_asks_unless_they_read_files() {
    let brief = || {
        let pace = Pace::default();
        drop(pace.time());
        pace
    };
    let pace = std::iter::repeat_with(brief)
        .find(|pace| pace.expected() < Some(BRIEF / 4))
        .unwrap();
    let query = ReadQuery::Search(vec![SearchRequest::new(vec![1.0], 1)]);
    let at = |in_memory: bool| place(&query, [&pace].into_iter(), 1, || in_memory);
    assert_eq!(at(true), Threads::Here);
    assert_eq!(at(false), Threads::Own);
    let many = place(&query, [&pace].into_iter(), usize::MAX, || true);
    assert_eq!(many, Threads::Own);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn searches_by_examples_are_what_they_say_however_points_are_divided(
        distance in prop_oneof![
            Just(Distance::Cosine), Just(Distance::Dot), Just(Distance::Euclid), Just(Distance::Manhattan),
        ],
        writes in [changes(), changes(), changes()],
        queries in queries(),
        tag in proptest::option::of(0i64..3),
    ) {
        let (one, seven) = (parts(1, distance, &writes), parts(7, distance, &writes));
        let mut points = model(&writes, distance);
        points.retain(|_, point| tag.is_none_or(|tag| point.payload["tag"] == tag));
        for (using, objectives) in queries {
            for objective in objectives {
                let request = SearchRequest {
                    using: using.to_owned(),
                    filter: tag.map(tagged),
                    query: SearchQuery::Objective(objective.clone()),
                    ..SearchRequest::new(Vec::new(), LIMIT)
                };
                let hits = found(&one, distance, &request);
                let divided = found(&seven, distance, &request);
                prop_assert_eq!(ids_and_scores(&hits), ids_and_scores(&divided));
                let values = points.iter().filter_map(|(id, point)| {
                    let vector = point.vectors.get(using)?;
                    Some((*id, expected(distance, &objective, &|v| similarity(distance, v, vector))))
                });
                check(&hits, values.collect())?;
            }
        }
    }

    #[test]
    fn formulas_rank_what_was_found_however_points_are_divided(
        writes in [changes(), changes(), changes()],
        scores in proptest::collection::btree_map((0u64..30).prop_map(PointId::Num), (-9i8..9).prop_map(f32::from), 0..20),
        tag in proptest::option::of(0i64..3),
    ) {
        let distance = Distance::Dot;
        let (one, seven) = (parts(1, distance, &writes), parts(7, distance, &writes));
        let mut points = model(&writes, distance);
        points.retain(|id, point| {
            scores.contains_key(id) && tag.is_none_or(|tag| point.payload["tag"] == tag)
        });
        let formula = Formula {
            expression: Expression::Sum(vec![
                Expression::Multiply(vec![Expression::Constant(2.0), Expression::Score(0)]),
                Expression::Payload("tag".to_owned()),
            ]),
            defaults: BTreeMap::new(),
            default_scores: BTreeMap::new(),
            scores: vec![scores.iter().map(|(id, score)| (*id, *score)).collect()],
        };
        let request = SearchRequest {
            filter: tag.map(tagged),
            query: SearchQuery::Formula(Box::new(formula)),
            among: Some(scores.keys().copied().collect()),
            ..SearchRequest::new(Vec::new(), LIMIT)
        };
        let hits = found(&one, distance, &request);
        let divided = found(&seven, distance, &request);
        prop_assert_eq!(ids_and_scores(&hits), ids_and_scores(&divided));
        let value = |id: &PointId, point: &Point| {
            Some(f64::from(scores[id]) * 2.0 + point.payload["tag"].as_f64().unwrap())
        };
        let values = points.iter().map(|(id, point)| (*id, value(id, point)));
        check(&hits, values.collect())?;
    }
}
