//! Filters against payloads where the answer is known.

use super::*;
use crate::model::{DateRange, MatchValue, Range, Scalar, Words, WordsNeed};
use proptest::prelude::*;
use serde_json::json;

fn field(key: &str, test: MatchValue) -> Condition {
    Condition::Field(FieldCondition {
        key: key.into(),
        test,
    })
}

fn text(t: &str) -> Scalar {
    Scalar::Text(t.into())
}

fn holds(condition: Condition, payload: &Value) -> bool {
    let filter = Filter {
        must: vec![condition],
        ..Filter::default()
    };
    CompiledFilter::new(&filter)
        .unwrap()
        .matches(point(7), payload.as_object().unwrap())
}

/// A point whose vectors are `a` and `b`.
fn point(id: u64) -> Subject<'static> {
    Subject {
        id: PointId::Num(id),
        has_vector: &|name| matches!(name, "a" | "b"),
    }
}

#[test]
fn vectors_and_slices_are_of_points_alone() {
    let has = |name: &str| Condition::HasVector(name.into());
    let payload = json!({"parts": [{}]});
    assert!(holds(has("a"), &payload));
    assert!(!holds(has(""), &payload));
    let slices = (0..5).map(|index| Condition::Slice(Slice { total: 5, index }));
    assert_eq!(slices.filter(|s| holds(s.clone(), &payload)).count(), 1);
    for condition in [has("a"), Condition::Slice(Slice { total: 1, index: 0 })] {
        let inside = Condition::Nested(Box::new(Nested {
            key: "parts".into(),
            filter: Filter {
                must: vec![condition],
                ..Filter::default()
            },
        }));
        assert!(!holds(inside, &payload));
    }
}

fn dates(gte: &str, lt: &str) -> MatchValue {
    MatchValue::DateRange(DateRange {
        gte: datetime::parse(gte),
        lt: datetime::parse(lt),
        ..DateRange::default()
    })
}

fn find(text: &str, need: WordsNeed) -> MatchValue {
    MatchValue::Words(Words {
        text: text.into(),
        need,
    })
}

fn nested(key: &str, inner: &str, value: Scalar) -> Condition {
    Condition::Nested(Box::new(Nested {
        key: key.into(),
        filter: Filter {
            must: vec![field(inner, MatchValue::Value(value))],
            ..Filter::default()
        },
    }))
}

fn range(gte: f64, lt: f64) -> Range {
    Range {
        gte: Some(gte),
        lt: Some(lt),
        ..Range::default()
    }
}

#[test]
fn conditions_on_fields() {
    let p = json!({
        "city": "Oslo", "tags": ["a", "b"], "n": 5, "f": 5.5, "ok": true, "nil": null, "none": [], "nils": [null],
        "deep": {"x": {"y": 3}}, "list": [{"k": 1}, {"k": 2, "v": [7, 8]}], "grid": [[1, 2], [3]],
        "at": ["2024-01-01T10:00:00Z", "soon", "2024-01-03 10:00:00"], "titles": ["A red fox", "the dog"]
    });
    use MatchValue::{Any, Except, Prefix, Substring, Value as Is, ValuesCount};
    let table: Vec<(Condition, bool)> = vec![
        (field("city", Is(text("Oslo"))), true),
        (field("city", Is(text("oslo"))), false),
        (field("city", Is(Scalar::Int(1))), false),
        (field("tags", Is(text("b"))), true),
        (field("tags", Is(text("c"))), false),
        (field("tags[]", Is(text("a"))), true),
        (field("tags[1]", Is(text("a"))), false),
        (field("n", Is(Scalar::Int(5))), true),
        (field("f", Is(Scalar::Int(5))), false),
        (field("ok", Is(Scalar::Bool(true))), true),
        (field("ok", Is(Scalar::Bool(false))), false),
        (field("city", Any(vec![text("Rome"), text("Oslo")])), true),
        (field("city", Any(vec![])), false),
        (field("city", Except(vec![text("Rome")])), true),
        (field("city", Except(vec![text("Oslo")])), false),
        (field("tags", Except(vec![text("a")])), true),
        (field("absent", Except(vec![text("a")])), false),
        (field("nil", Except(vec![text("a")])), false),
        (field("deep.x.y", Is(Scalar::Int(3))), true),
        (field("deep.x", Is(Scalar::Int(3))), false),
        (field("list[].k", Is(Scalar::Int(2))), true),
        (field("list.k", Is(Scalar::Int(2))), false),
        (field("list[].v", Is(Scalar::Int(8))), true),
        (field("grid[]", Is(Scalar::Int(3))), true),
        (field("grid", Is(Scalar::Int(3))), false),
        (field("n", MatchValue::Range(range(5.0, 6.0))), true),
        (field("n", MatchValue::Range(range(4.0, 5.0))), false),
        (
            field(
                "f",
                MatchValue::Range(Range {
                    gt: Some(5.5),
                    ..Range::default()
                }),
            ),
            false,
        ),
        (
            field(
                "f",
                MatchValue::Range(Range {
                    lte: Some(5.5),
                    ..Range::default()
                }),
            ),
            true,
        ),
        (field("city", MatchValue::Range(Range::default())), false),
        (field("grid[]", MatchValue::Range(range(3.0, 9.0))), true),
        (field("city", Prefix("Os".into())), true),
        (field("city", Prefix("os".into())), false),
        (field("tags", Substring("b".into())), true),
        (field("n", Substring("".into())), false),
        (field("at", dates("2024-01-01", "2024-01-02")), true),
        (field("at", dates("2024-01-03", "2024-01-05")), true),
        (field("at", dates("2024-01-02", "2024-01-03 10:00")), false),
        (field("city", dates("0001-01-01", "9999-01-01")), false),
        (field("titles", find("fox red", WordsNeed::All)), true),
        (field("titles", find("red dog", WordsNeed::All)), false),
        (field("titles", find("cat dog", WordsNeed::Any)), true),
        (field("titles", find("red fox", WordsNeed::Phrase)), true),
        (field("titles", find("fox red", WordsNeed::Phrase)), false),
        (field("titles", find(", !", WordsNeed::All)), false),
        (nested("list", "k", Scalar::Int(2)), true),
        (nested("list[]", "k", Scalar::Int(2)), true),
        (nested("deep", "x", Scalar::Int(3)), false),
        (nested("grid", "x", Scalar::Int(1)), false),
        (nested("list", "v[]", Scalar::Int(8)), true),
        (field("tags", ValuesCount(range(2.0, 3.0))), true),
        (field("city", ValuesCount(range(1.0, 2.0))), true),
        (field("absent", ValuesCount(range(0.0, 1.0))), true),
        (field("nil", ValuesCount(range(0.0, 1.0))), true),
        (field("none", ValuesCount(range(1.0, 9.0))), false),
        (Condition::IsEmpty("none".into()), true),
        (Condition::IsEmpty("nil".into()), true),
        (Condition::IsEmpty("absent".into()), true),
        (Condition::IsEmpty("absent.deeper".into()), true),
        (Condition::IsEmpty("nils".into()), false),
        (Condition::IsEmpty("city".into()), false),
        (Condition::IsNull("nil".into()), true),
        (Condition::IsNull("nils".into()), true),
        (Condition::IsNull("absent".into()), false),
        (Condition::IsNull("none".into()), false),
        (
            Condition::HasId(vec![PointId::Num(9), PointId::Num(7)]),
            true,
        ),
        (Condition::HasId(vec![PointId::Num(8)]), false),
    ];
    for (condition, expected) in table {
        assert_eq!(holds(condition.clone(), &p), expected, "{condition:?}");
    }
}

#[test]
fn unreadable_paths_are_refused() {
    let filter = Filter {
        must_not: vec![Condition::IsNull("a[".into())],
        ..Filter::default()
    };
    assert!(CompiledFilter::new(&filter).is_err());
}

#[test]
fn keys_name_every_field_looked_at() {
    let inner = Filter {
        should: vec![Condition::IsNull("b[].c".into())],
        ..Filter::default()
    };
    let filter = Filter {
        must: vec![
            field("a.x", MatchValue::Value(text("1"))),
            Condition::Filter(Box::new(inner)),
            nested("c.d", "e", text("1")),
        ],
        must_not: vec![Condition::IsEmpty("a".into()), Condition::HasId(vec![])],
        ..Filter::default()
    };
    assert_eq!(
        CompiledFilter::new(&filter).unwrap().keys(),
        ["a", "b", "c"]
    );
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        (0..4u8, 0..3i64)
            .prop_map(|(k, n)| field(&format!("k{k}"), MatchValue::Value(Scalar::Int(n)))),
        (0..4u8).prop_map(|k| Condition::IsEmpty(format!("k{k}"))),
        proptest::collection::vec((0..4u64).prop_map(PointId::Num), 0..3)
            .prop_map(Condition::HasId),
    ]
}

proptest! {
    /// Negating, nesting and De Morgan: the combinators are those of boolean algebra.
    #[test]
    fn combinators_are_boolean(
        a in proptest::collection::vec(condition(), 0..4),
        values in proptest::collection::btree_map("k[0-3]", 0..3i64, 0..4),
        id in 0..4u64,
    ) {
        let payload: Payload = values.into_iter().map(|(k, v)| (k, Value::from(v))).collect();
        let eval = |f: Filter| CompiledFilter::new(&f).unwrap().matches(point(id), &payload);
        let single = |c: &Condition| eval(Filter { must: vec![c.clone()], ..Filter::default() });
        let all = a.iter().all(single);
        let any = a.iter().any(single);
        prop_assert_eq!(eval(Filter { must: a.clone(), ..Filter::default() }), all);
        prop_assert_eq!(eval(Filter { should: a.clone(), ..Filter::default() }), any || a.is_empty());
        prop_assert_eq!(eval(Filter { must_not: a.clone(), ..Filter::default() }), !any);
        let count = a.iter().filter(|c| single(c)).count();
        for min_count in 1..4 {
            let min_should = Some(MinShould { conditions: a.clone(), min_count });
            prop_assert_eq!(eval(Filter { min_should, ..Filter::default() }), count >= min_count);
        }
        let nested = Condition::Filter(Box::new(Filter { must: a.clone(), ..Filter::default() }));
        prop_assert_eq!(eval(Filter { must_not: vec![nested], ..Filter::default() }), !all);
    }
}
