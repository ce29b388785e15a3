//! Listings and counts of one, of several, of flushed and of unflushed partitions against a plain evaluation.

use std::collections::BTreeMap;
use std::sync::Arc;

use brainy_coordination::manifest::{DenseParams, Distance, VectorSchema};
use brainy_coordination::types::{LogPosition, SegmentId};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::engine::filter::datetime;
use crate::engine::payload_index::{FieldKind, PayloadSchema};
use crate::engine::{BuildOptions, Change, OpenOptions, PartitionState, Segment};
use crate::model::{
    Condition, FacetRequest, FacetValues, FieldCondition, FieldOrder, Filter, ListOrder,
    MatchValue, OrderValue, OrderedValues, Payload, PayloadSelector, Point, PointId, Scalar,
    VectorSelector, Vectors,
};

/// Points by id, in partitions by the remainder of the id.
struct Cluster {
    partitions: Vec<PartitionState>,
    _dirs: Vec<TempDir>,
}

const PATHS: [&str; 2] = ["v", "o[].v"];

fn indexes(kind: Option<FieldKind>) -> PayloadSchema {
    let kinds = PATHS
        .into_iter()
        .map(str::to_owned)
        .zip(kind.into_iter().cycle());
    PayloadSchema::from_iter(kinds.chain([("c".to_owned(), FieldKind::Bool)]))
}

impl Cluster {
    /// Writes `batches` in turn and flushes after those for which `flush` says so.
    fn new(
        partitions: usize,
        kind: Option<FieldKind>,
        batches: &[BTreeMap<u64, Option<Payload>>],
        flush: &[bool],
    ) -> Self {
        let schema = VectorSchema::unnamed(DenseParams::new(1, Distance::Dot));
        let mut own = Self {
            partitions: Vec::new(),
            _dirs: Vec::new(),
        };
        for part in 0..partitions {
            let state = PartitionState::with_payload_schema(schema.clone(), indexes(kind));
            for (i, batch) in batches.iter().enumerate() {
                let of_part = batch
                    .iter()
                    .filter(|(id, _)| **id as usize % partitions == part);
                let changes: Vec<Change> = of_part
                    .map(|(id, payload)| match payload {
                        None => Change::Delete(PointId::Num(*id)),
                        Some(payload) => Change::Put(Point {
                            id: PointId::Num(*id),
                            vectors: Vectors::unnamed(vec![1.0]),
                            payload: payload.clone(),
                        }),
                    })
                    .collect();
                let position = LogPosition::new(1, i as u64 + 1);
                state.apply(position, &changes).unwrap();
                if flush.get(i) == Some(&true) {
                    own.flush(&state);
                }
            }
            own.partitions.push(state);
        }
        own
    }

    fn flush(&mut self, state: &PartitionState) {
        let Some(frozen) = state.freeze() else { return };
        let dir = tempfile::tempdir().unwrap();
        let options = BuildOptions {
            threads: 1,
            ..BuildOptions::default()
        };
        let id = SegmentId::generate(1);
        let meta = frozen.build(id, dir.path(), options).unwrap();
        let options = OpenOptions { resident: true };
        let segment = Arc::new(Segment::open(dir.path(), &meta, options).unwrap());
        let mut segments = state.segments();
        segments.push(segment);
        state.install(segments, frozen.position()).unwrap();
        self._dirs.push(dir);
    }

    fn list(&self, request: &ListRequest) -> Vec<(u64, Option<OrderValue>)> {
        let answers = self
            .partitions
            .iter()
            .map(|state| vec![state.list(request).unwrap()]);
        let lists = merge_lists(std::slice::from_ref(request), answers);
        let points = lists.into_iter().flatten().map(|point| point.record);
        points
            .map(|record| match record.id {
                PointId::Num(id) => (id, record.order_value),
                PointId::Uuid(_) => panic!("no such id was written"),
            })
            .collect()
    }

    fn facet(&self, request: &FacetRequest) -> BTreeMap<FacetValue, u64> {
        let answers = self.partitions.iter().map(|s| s.facet(request).unwrap());
        let counts = add_counts(answers).into_iter();
        counts.map(|c| (c.value, c.count)).collect()
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-4i64..4).prop_map(Value::from),
        2 => (-4i64..4).prop_map(|n| json!(n as f64 / 2.0)),
        2 => "[xy]{1,2}".prop_map(Value::from),
        2 => (1u32..4).prop_map(|d| json!(format!("2024-01-0{d}T00:00:00Z"))),
        1 => (0u32..3).prop_map(|n| json!(format!("0000000{n}-0000-0000-0000-000000000000"))),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!(u64::MAX)),
    ]
}

fn payload() -> impl Strategy<Value = Payload> {
    let value = prop_oneof![
        3 => scalar(),
        1 => proptest::collection::vec(scalar(), 0..4).prop_map(Value::from),
    ]
    .boxed();
    let inner = proptest::collection::vec(value.clone(), 0..3);
    (proptest::option::of(value), inner, any::<bool>()).prop_map(|(v, inner, c)| {
        let mut payload = Payload::new();
        if let Some(v) = v {
            payload.insert("v".into(), v);
        }
        let objects: Vec<Value> = inner.into_iter().map(|v| json!({"v": v})).collect();
        payload.insert("o".into(), objects.into());
        payload.insert("c".into(), c.into());
        payload
    })
}

fn batches() -> impl Strategy<Value = Vec<BTreeMap<u64, Option<Payload>>>> {
    let change = proptest::option::weighted(0.85, payload());
    let batch = proptest::collection::btree_map(0u64..24, change, 0..16);
    proptest::collection::vec(batch, 0..4)
}

/// All values at the path, arrays as their elements.
fn values(payload: &Payload, path: &str) -> Vec<Value> {
    let flat = |value: &Value| match value {
        Value::Array(items) => items.clone(),
        single => vec![single.clone()],
    };
    let of = |object: &Payload| object.get("v").map(flat).unwrap_or_default();
    if path == "v" {
        return of(payload);
    }
    let objects = payload["o"].as_array().unwrap();
    let all = objects.iter().map(|o| of(o.as_object().unwrap()));
    all.flatten().collect()
}

fn matches(id: u64, payload: &Payload, filter: u8) -> bool {
    match filter {
        0 => true,
        1 => payload["c"] == true,
        _ => id < 5,
    }
}

fn filter(which: u8) -> Option<Filter> {
    let condition = match which {
        0 => return None,
        1 => Condition::Field(FieldCondition {
            key: "c".into(),
            test: MatchValue::Value(Scalar::Bool(true)),
        }),
        _ => Condition::HasId((0..5).map(PointId::Num).collect()),
    };
    Some(Filter {
        must: vec![condition],
        ..Filter::default()
    })
}

fn kinds() -> impl Strategy<Value = Option<FieldKind>> {
    proptest::sample::select(vec![
        None,
        Some(FieldKind::Integer),
        Some(FieldKind::Float),
        Some(FieldKind::Datetime),
        Some(FieldKind::Keyword),
        Some(FieldKind::Uuid),
    ])
}

fn ordered(value: &Value, wanted: OrderedValues) -> Option<f64> {
    match wanted {
        OrderedValues::Integers => value.as_i64().map(|n| n as f64),
        OrderedValues::Numbers => value.as_f64(),
        OrderedValues::Dates => datetime::parse(value.as_str()?).map(|t| t as f64),
    }
}

fn counted(value: &Value, wanted: FacetValues) -> Option<FacetValue> {
    match wanted {
        FacetValues::Texts => value.as_str().map(|t| FacetValue::Text(t.into())),
        FacetValues::Uuids => {
            let text = value.as_str().filter(|t| t.len() == 36)?;
            Some(FacetValue::Text(text.into()))
        }
        FacetValues::Integers => value.as_i64().map(FacetValue::Int),
        FacetValues::Bools => value.as_bool().map(FacetValue::Bool),
    }
}

fn number(value: OrderValue) -> f64 {
    match value {
        OrderValue::Int(n) => n as f64,
        OrderValue::Float(x) => x,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 1500 }))]

    /// Whatever is indexed, flushed and partitioned: each value once a point, in order, ties by id.
    #[test]
    fn orders_are_those_of_all_points(
        batches in batches(),
        flush in proptest::collection::vec(any::<bool>(), 4),
        kind in kinds(),
        path in proptest::sample::select(PATHS.to_vec()),
        wanted in proptest::sample::select(vec![OrderedValues::Integers, OrderedValues::Numbers, OrderedValues::Dates]),
        descending in any::<bool>(),
        start in proptest::option::of(-3i64..3),
        which in 0u8..3,
        limit in 1usize..12,
    ) {
        let mut points: BTreeMap<u64, Payload> = BTreeMap::new();
        for (id, payload) in batches.iter().flatten() {
            match payload {
                Some(payload) => points.insert(*id, payload.clone()),
                None => points.remove(id),
            };
        }
        let mut expected: Vec<(f64, u64)> = Vec::new();
        for (id, payload) in points.iter().filter(|(id, p)| matches(**id, p, which)) {
            let mut own: Vec<f64> =
                values(payload, path).iter().filter_map(|v| ordered(v, wanted)).map(|v| v + 0.0).collect();
            own.sort_by(f64::total_cmp);
            own.dedup();
            expected.extend(own.into_iter().map(|v| (v, *id)));
        }
        expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        if let Some(start) = start {
            let start = start as f64;
            expected.retain(|(v, _)| if descending { *v <= start } else { *v >= start });
        }
        if descending {
            expected.reverse();
        }
        expected.truncate(limit);
        let request = ListRequest {
            order: ListOrder::Field(FieldOrder {
                key: path.into(),
                values: wanted,
                descending,
                start_from: start.map(OrderValue::Int),
            }),
            filter: filter(which),
            limit,
            with_payload: PayloadSelector::None,
            with_vector: VectorSelector::None,
        };
        for partitions in [1, 7] {
            let cluster = Cluster::new(partitions, kind, &batches, &flush);
            let found = cluster.list(&request).into_iter();
            let found: Vec<(f64, u64)> = found.map(|(id, v)| (v.map_or(f64::NAN, number), id)).collect();
            prop_assert_eq!(&found, &expected, "{} partitions", partitions);
        }
    }

    /// Each point counts once for each of its different values.
    #[test]
    fn counts_are_those_of_all_points(
        batches in batches(),
        flush in proptest::collection::vec(any::<bool>(), 4),
        kind in kinds(),
        path in proptest::sample::select(vec!["v", "o[].v", "c"]),
        wanted in proptest::sample::select(vec![
            FacetValues::Texts, FacetValues::Uuids, FacetValues::Integers, FacetValues::Bools,
        ]),
        which in 0u8..3,
    ) {
        let mut points: BTreeMap<u64, Payload> = BTreeMap::new();
        for (id, payload) in batches.iter().flatten() {
            match payload {
                Some(payload) => points.insert(*id, payload.clone()),
                None => points.remove(id),
            };
        }
        let mut expected: BTreeMap<FacetValue, u64> = BTreeMap::new();
        for (_, payload) in points.iter().filter(|(id, p)| matches(**id, p, which)) {
            let all = match path {
                "c" => vec![payload["c"].clone()],
                path => values(payload, path),
            };
            let mut own: Vec<FacetValue> = all.iter().filter_map(|v| counted(v, wanted)).collect();
            own.sort();
            own.dedup();
            for value in own {
                *expected.entry(value).or_default() += 1;
            }
        }
        let request = FacetRequest { key: path.into(), values: wanted, filter: filter(which) };
        for partitions in [1, 7] {
            let cluster = Cluster::new(partitions, kind, &batches, &flush);
            prop_assert_eq!(&cluster.facet(&request), &expected, "{} partitions", partitions);
        }
    }

    /// Samples depend on the seed alone, and hold what matches.
    #[test]
    fn samples_are_the_same_however_points_are_stored(
        batches in batches(),
        flush in proptest::collection::vec(any::<bool>(), 4),
        seed in any::<u64>(),
        which in 0u8..3,
        limit in 1usize..12,
        by_id in any::<bool>(),
    ) {
        let order = if by_id { ListOrder::Id } else { ListOrder::Random(seed) };
        let request = ListRequest {
            order,
            filter: filter(which),
            limit,
            with_payload: PayloadSelector::All,
            with_vector: VectorSelector::None,
        };
        let one = Cluster::new(1, None, &batches, &[]).list(&request);
        let all = ListRequest { order: ListOrder::Id, limit: 100, ..request.clone() };
        let matching = Cluster::new(1, None, &batches, &[]).list(&all);
        prop_assert_eq!(one.len(), matching.len().min(limit));
        prop_assert!(one.iter().all(|point| matching.contains(point)));
        for partitions in [1, 7] {
            let cluster = Cluster::new(partitions, Some(FieldKind::Keyword), &batches, &flush);
            prop_assert_eq!(&cluster.list(&request), &one, "{} partitions", partitions);
        }
    }
}

/// With every seed another sample, and every point is as likely as the others.
#[test]
fn samples_are_spread_evenly() {
    let batch: BTreeMap<u64, Option<Payload>> = (0..20)
        .map(|id| (id, Some(json!({"c": true}).as_object().unwrap().clone())))
        .collect();
    let cluster = Cluster::new(3, None, &[batch], &[true]);
    let mut drawn = [0u32; 20];
    for seed in 0..1000 {
        let request = ListRequest {
            order: ListOrder::Random(seed),
            filter: None,
            limit: 5,
            with_payload: PayloadSelector::None,
            with_vector: VectorSelector::None,
        };
        for (id, _) in cluster.list(&request) {
            drawn[id as usize] += 1;
        }
    }
    // Of 1,000 draws of 5 in 20, each is in 250; the standard deviation is 14.
    assert!(drawn.iter().all(|n| (180..320).contains(n)), "{drawn:?}");
}
