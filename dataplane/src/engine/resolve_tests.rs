use serde_json::{Value, json};

use super::*;
use crate::model::{Condition, FieldCondition, MatchValue, Scalar, VectorUpdate};

#[derive(Default)]
struct Map(BTreeMap<PointId, Point>);

impl PointView for Map {
    fn get(&self, id: PointId) -> Result<Option<Point>, EngineError> {
        Ok(self.0.get(&id).cloned())
    }
    fn matching(&self, filter: &Filter) -> Result<Vec<PointId>, EngineError> {
        let compiled = CompiledFilter::new(filter)?;
        Ok(self
            .0
            .values()
            .filter(|p| compiled.matches_point(p))
            .map(|p| p.id)
            .collect())
    }
}

impl Map {
    fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(p) => {
                    self.0.insert(p.id, p.clone());
                }
                Change::Delete(id) => {
                    self.0.remove(id);
                }
                Change::Merge(id, _) => panic!("{id} is not merged here"),
            }
        }
    }
}

fn point(id: u64, payload: Value) -> Point {
    Point {
        id: PointId::Num(id),
        vectors: Vectors::unnamed(vec![id as f32]),
        payload: payload.as_object().unwrap().clone(),
    }
}

fn state() -> Map {
    let mut map = Map::default();
    map.apply(&[
        Change::Put(point(1, json!({"a": 1, "b": {"c": 2}}))),
        Change::Put(point(2, json!({"a": 2}))),
    ]);
    map
}

fn ids(list: &[u64]) -> Selector {
    Selector::Ids(list.iter().map(|n| PointId::Num(*n)).collect())
}

fn where_a(n: i64) -> Filter {
    Filter {
        must: vec![Condition::Field(FieldCondition {
            key: "a".into(),
            test: MatchValue::Value(Scalar::Int(n)),
        })],
        ..Filter::default()
    }
}

fn object(value: Value) -> Payload {
    value.as_object().unwrap().clone()
}

fn payload_after(op: &WriteOp, id: u64) -> Value {
    let mut map = state();
    let changes = resolve(op, &map).unwrap();
    map.apply(&changes);
    Value::Object(map.0[&PointId::Num(id)].payload.clone())
}

#[test]
fn payload_operations() {
    let set = |payload: Value, key: Option<&str>| WriteOp::SetPayload {
        selector: ids(&[1, 99]),
        payload: object(payload),
        key: key.map(Into::into),
    };
    let table = [
        (
            set(json!({"x": 1}), None),
            json!({"a": 1, "b": {"c": 2}, "x": 1}),
        ),
        (
            set(json!({"a": {"n": 1}}), None),
            json!({"a": {"n": 1}, "b": {"c": 2}}),
        ),
        (set(json!({"a": null}), None), json!({"b": {"c": 2}})),
        (
            set(json!({"d": 3}), Some("b")),
            json!({"a": 1, "b": {"c": 2, "d": 3}}),
        ),
        (
            set(json!({"d": 3}), Some("b.e")),
            json!({"a": 1, "b": {"c": 2, "e": {"d": 3}}}),
        ),
        (
            WriteOp::OverwritePayload {
                selector: ids(&[1]),
                payload: object(json!({"n": 1})),
            },
            json!({"n": 1}),
        ),
        (
            WriteOp::DeletePayload {
                selector: ids(&[1]),
                keys: vec!["a".into(), "b.c".into(), "zz".into()],
            },
            json!({"b": {}}),
        ),
        (WriteOp::ClearPayload(ids(&[1])), json!({})),
        (
            WriteOp::ClearPayload(Selector::Filter(where_a(1))),
            json!({}),
        ),
        (
            WriteOp::ClearPayload(Selector::Filter(where_a(2))),
            json!({"a": 1, "b": {"c": 2}}),
        ),
    ];
    for (op, expected) in table {
        assert_eq!(payload_after(&op, 1), expected, "{op:?}");
    }
}

#[test]
fn unknown_ids_and_edits_without_effect_log_nothing() {
    let map = state();
    let update = |id, v| VectorUpdate {
        id: PointId::Num(id),
        vectors: Vectors::unnamed(vec![v]),
    };
    for op in [
        WriteOp::Delete(ids(&[98, 99])),
        WriteOp::ClearPayload(ids(&[99])),
        WriteOp::UpdateVectors(vec![update(99, 1.0), update(1, 1.0)]),
        WriteOp::SetPayload {
            selector: ids(&[1]),
            payload: object(json!({"a": 1})),
            key: None,
        },
    ] {
        assert_eq!(resolve(&op, &map).unwrap(), vec![], "{op:?}");
    }
}

#[test]
fn upserts_keep_the_last_version_and_vectors_change_alone() {
    let map = state();
    let op = WriteOp::Upsert(vec![point(5, json!({"v": 1})), point(5, json!({"v": 2}))]);
    assert_eq!(
        resolve(&op, &map).unwrap(),
        vec![Change::Put(point(5, json!({"v": 2})))]
    );
    let op = WriteOp::UpdateVectors(vec![VectorUpdate {
        id: PointId::Num(2),
        vectors: Vectors::unnamed(vec![9.0]),
    }]);
    let expected = Point {
        vectors: Vectors::unnamed(vec![9.0]),
        ..point(2, json!({"a": 2}))
    };
    assert_eq!(resolve(&op, &map).unwrap(), vec![Change::Put(expected)]);
}

#[test]
fn vectors_change_and_go_by_name() {
    let mut map = state();
    let named = |name: &str, v: f32| Vectors::from_iter([(name.to_owned(), vec![v].into())]);
    let update = |vectors| VectorUpdate {
        id: PointId::Num(2),
        vectors,
    };
    // Later updates of a request win name by name; names that are not given stay.
    let op = WriteOp::UpdateVectors(vec![
        update(named("b", 1.0)),
        update(named("a", 2.0)),
        update(named("b", 3.0)),
    ]);
    let changes = resolve(&op, &map).unwrap();
    let mut expected = point(2, json!({"a": 2}));
    expected.vectors.insert("a", vec![2.0].into());
    expected.vectors.insert("b", vec![3.0].into());
    assert_eq!(changes, vec![Change::Put(expected.clone())]);
    map.apply(&changes);
    let delete = |names: &[&str]| WriteOp::DeleteVectors {
        selector: ids(&[1, 2, 99]),
        names: names.iter().map(|n| (*n).to_owned()).collect(),
    };
    expected.vectors = named("b", 3.0);
    let changes = resolve(&delete(&["", "a"]), &map).unwrap();
    assert_eq!(changes.len(), 2, "point 1 loses its only vector and stays");
    assert_eq!(changes[1], Change::Put(expected));
    map.apply(&changes);
    assert_eq!(resolve(&delete(&["", "a"]), &map).unwrap(), vec![]);
}

#[test]
fn unreadable_paths_are_refused() {
    let map = state();
    for op in [
        WriteOp::DeletePayload {
            selector: ids(&[1]),
            keys: vec!["a[".into()],
        },
        WriteOp::SetPayload {
            selector: ids(&[1]),
            payload: Payload::new(),
            key: Some(String::new()),
        },
    ] {
        assert!(resolve(&op, &map).is_err());
    }
}

#[test]
fn pending_changes_hide_the_state_below_until_their_own_batch_is_applied() {
    let mut base = state();
    let mut overlay = Overlay::default();
    let first = vec![
        Change::Put(point(1, json!({"a": 7}))),
        Change::Delete(PointId::Num(2)),
    ];
    let second = vec![Change::Put(point(1, json!({"a": 8})))];
    overlay.add(1, &first);
    overlay.add(2, &second);
    let check = |overlay: &Overlay, base: &Map| {
        let view = overlay.over(base);
        assert_eq!(
            view.get(PointId::Num(1)).unwrap(),
            Some(point(1, json!({"a": 8})))
        );
        assert_eq!(view.get(PointId::Num(2)).unwrap(), None);
        assert_eq!(view.matching(&where_a(8)).unwrap(), vec![PointId::Num(1)]);
        for hidden in [1, 2, 7] {
            assert_eq!(view.matching(&where_a(hidden)).unwrap(), vec![]);
        }
    };
    check(&overlay, &base);
    base.apply(&first);
    overlay.applied(1, &first);
    assert_eq!(
        overlay.len(),
        1,
        "the newer version of point 1 is still pending"
    );
    check(&overlay, &base);
    base.apply(&second);
    overlay.applied(2, &second);
    assert!(overlay.is_empty());
    check(&overlay, &base);
}

#[test]
fn conditional_upserts_write_what_their_mode_and_filter_let_through() {
    let op = |mode, filter, points: &[(u64, i64)]| WriteOp::UpsertIf {
        points: points
            .iter()
            .map(|(id, a)| point(*id, json!({"a": a, "new": true})))
            .collect(),
        mode,
        filter,
    };
    let written = |op: &WriteOp| -> Vec<u64> {
        let changes = resolve(op, &state()).unwrap();
        let numbers = changes.iter().map(|change| match change.id() {
            PointId::Num(n) => n,
            PointId::Uuid(_) => 0,
        });
        numbers.collect()
    };
    use UpdateMode::{InsertOnly, UpdateOnly, Upsert};
    let all = [(1, 1), (2, 2), (3, 3)];
    let one = || Some(where_a(1));
    assert_eq!(written(&op(Upsert, None, &all)), [1, 2, 3]);
    assert_eq!(written(&op(InsertOnly, None, &all)), [3]);
    assert_eq!(written(&op(UpdateOnly, None, &all)), [1, 2]);
    assert_eq!(written(&op(Upsert, one(), &all)), [1, 3]);
    assert_eq!(written(&op(InsertOnly, one(), &all)), [3]);
    assert_eq!(written(&op(UpdateOnly, one(), &all)), [1]);
    // Each point sees what those before it left.
    let twice = resolve(&op(InsertOnly, None, &[(3, 1), (3, 2)]), &state()).unwrap();
    assert_eq!(twice, [Change::Put(point(3, json!({"a": 1, "new": true})))]);
    let twice = resolve(&op(Upsert, one(), &[(1, 5), (1, 6)]), &state()).unwrap();
    assert_eq!(twice, [Change::Put(point(1, json!({"a": 5, "new": true})))]);
}

#[test]
fn conditional_updates_of_vectors_change_points_that_match() {
    let update = |id, x: f32| VectorUpdate {
        id: PointId::Num(id),
        vectors: Vectors::unnamed(vec![x]),
    };
    let op = WriteOp::UpdateVectorsIf {
        updates: vec![update(1, 9.0), update(2, 9.0), update(3, 9.0)],
        filter: where_a(2),
    };
    let changes = resolve(&op, &state()).unwrap();
    let [Change::Put(changed)] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(changed.id, PointId::Num(2));
    assert_eq!(changed.vectors, Vectors::unnamed(vec![9.0]));
}
