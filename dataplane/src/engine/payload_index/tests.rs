//! Indexes against the evaluation of payloads.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::engine::filter::{CompiledFilter, Subject, datetime};
use crate::model::{
    Condition, DateRange, FieldCondition, Filter, GeoArea, GeoPoint, MatchValue, MinShould, Nested,
    Payload, PointId, Range, Scalar, Slice, Words, WordsNeed,
};

/// All fields of [`payload`], each under the kinds that fit it and one that does not.
const SCHEMAS: [&[(&str, FieldKind)]; 3] = [
    &[
        ("a", FieldKind::Keyword),
        ("n", FieldKind::Integer),
        ("t", FieldKind::Text),
        ("parts[].a", FieldKind::Keyword),
        ("parts[].n", FieldKind::Integer),
        ("g", FieldKind::Geo),
        ("d", FieldKind::Datetime),
        ("b", FieldKind::Bool),
    ],
    &[
        ("a", FieldKind::Uuid),
        ("n", FieldKind::Float),
        ("parts[].n", FieldKind::Float),
        ("b", FieldKind::Bool),
    ],
    &[
        ("n", FieldKind::Keyword),
        ("a", FieldKind::Integer),
        ("t", FieldKind::Keyword),
    ],
];

fn schema(fields: &[(&str, FieldKind)]) -> PayloadSchema {
    fields.iter().map(|(f, k)| ((*f).to_owned(), *k)).collect()
}

fn index(payloads: &[Payload], schema: &PayloadSchema) -> PayloadIndex {
    let mut indexer = Indexer::new(schema).unwrap();
    for payload in payloads {
        indexer.add(&payload::encode(payload).unwrap()).unwrap();
    }
    indexer.finish().unwrap()
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3i64..4).prop_map(Value::from),
        (-3i64..4).prop_map(|n| Value::from(n as f64 / 2.0)),
        Just(json!(u64::MAX)),
        "[xy]{0,2}".prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        "(red|old|big|RED)( (red|old|big)){0,2}".prop_map(Value::from),
        (1u32..4, 1u32..4).prop_map(|(m, d)| json!(format!("2024-0{m}-0{d}T00:00:00Z"))),
        (-3i32..4, -3i32..4).prop_map(|(x, y)| json!({"lon": x * 50, "lat": y * 25})),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => scalar(),
        2 => proptest::collection::vec(scalar(), 0..4).prop_map(Value::from),
        1 => proptest::collection::vec(proptest::collection::vec(scalar(), 0..3), 1..2).prop_map(Value::from),
    ]
}

fn payload() -> impl Strategy<Value = Payload> {
    let part = proptest::collection::btree_map("[an]", value(), 0..3)
        .prop_map(|m| Value::Object(m.into_iter().collect()));
    (
        proptest::collection::btree_map("[antgdb]", value(), 0..6),
        proptest::option::of(proptest::collection::vec(part, 0..3)),
    )
        .prop_map(|(fields, parts)| {
            let mut payload: Payload = fields.into_iter().collect();
            if let Some(parts) = parts {
                payload.insert("parts".into(), parts.into());
            }
            payload
        })
}

fn test() -> impl Strategy<Value = MatchValue> {
    let one = || {
        prop_oneof![
            (-3i64..4).prop_map(Scalar::Int),
            "[xy]{0,2}".prop_map(Scalar::Text),
            any::<bool>().prop_map(Scalar::Bool),
        ]
    };
    let several = move || {
        prop_oneof![
            proptest::collection::vec((-3i64..4).prop_map(Scalar::Int), 0..3),
            proptest::collection::vec("[xy]{0,2}".prop_map(Scalar::Text), 0..3),
            proptest::collection::vec(one(), 0..3),
        ]
    };
    let bound = || proptest::option::of((-4i32..5).prop_map(|n| f64::from(n) / 2.0));
    let date = || {
        proptest::option::of(
            (1u32..4, 1u32..4)
                .prop_map(|(m, d)| datetime::parse(&format!("2024-0{m}-0{d}")).unwrap()),
        )
    };
    let place = || {
        (-3i32..4, -3i32..4).prop_map(|(x, y)| GeoPoint {
            lon: f64::from(x) * 55.0,
            lat: f64::from(y) * 29.0,
        })
    };
    prop_oneof![
        several().prop_map(MatchValue::Any),
        several().prop_map(MatchValue::Except),
        (bound(), bound(), bound(), bound())
            .prop_map(|(gt, gte, lt, lte)| MatchValue::Range(Range { gt, gte, lt, lte })),
        (0u32..3).prop_map(|n| MatchValue::ValuesCount(Range {
            gte: Some(f64::from(n)),
            ..Range::default()
        })),
        (date(), date()).prop_map(|(gt, lte)| MatchValue::DateRange(DateRange {
            gt,
            lte,
            ..DateRange::default()
        })),
        (place(), 0.0f64..1.5e7)
            .prop_map(|(center, radius)| MatchValue::Geo(GeoArea::Circle { center, radius })),
        (place(), place()).prop_map(|(a, b)| MatchValue::Geo(GeoArea::Box {
            top_left: GeoPoint {
                lat: a.lat.max(b.lat),
                ..a
            },
            bottom_right: GeoPoint {
                lat: a.lat.min(b.lat),
                ..b
            },
        })),
        (
            "(red|old|big|new)?( (red|old|big)){0,2}",
            prop_oneof![
                Just(WordsNeed::All),
                Just(WordsNeed::Any),
                Just(WordsNeed::Phrase)
            ]
        )
            .prop_map(|(text, need)| MatchValue::Words(Words { text, need })),
        "[xy]{0,1}".prop_map(MatchValue::Prefix),
        "[xy]{0,2}".prop_map(MatchValue::Substring),
    ]
}

fn condition(keys: &'static str) -> impl Strategy<Value = Condition> {
    prop_oneof![
        6 => (keys, test()).prop_map(|(key, test)| Condition::Field(FieldCondition { key, test })),
        1 => Just(Condition::HasVector("v".into())),
        1 => (0u64..3).prop_map(|index| Condition::Slice(Slice { total: 3, index })),
        1 => keys.prop_map(Condition::IsEmpty),
        1 => keys.prop_map(Condition::IsNull),
        1 => proptest::collection::vec((0u64..40).prop_map(PointId::Num), 0..30).prop_map(Condition::HasId),
    ]
}

fn combination(inner: impl Strategy<Value = Condition> + Clone) -> impl Strategy<Value = Filter> {
    let list = move || proptest::collection::vec(inner.clone(), 0..3);
    let many = (list(), 1usize..3).prop_map(|(conditions, min_count)| MinShould {
        conditions,
        min_count,
    });
    (
        list(),
        list(),
        list(),
        proptest::option::weighted(0.2, many),
    )
        .prop_map(|(must, should, must_not, min_should)| Filter {
            must,
            should,
            must_not,
            min_should,
        })
}

fn filter() -> impl Strategy<Value = Filter> {
    let outer = condition("[antgdb]|parts\\[\\]\\.[an]|z").boxed();
    let nested = combination(condition("[an]").boxed()).prop_map(|filter| {
        Condition::Nested(Box::new(Nested {
            key: "parts".into(),
            filter,
        }))
    });
    let any = prop_oneof![4 => outer, 1 => nested].boxed();
    let inside = combination(any.clone()).prop_map(|f| Condition::Filter(Box::new(f)));
    combination(prop_oneof![4 => any, 1 => inside].boxed())
}

fn row_of(id: PointId) -> Option<u32> {
    match id {
        PointId::Num(n) if n < 30 => Some(n as u32),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 1500 } else { 5000 }))]
    /// Whatever is indexed, the rows are those that the payloads say, and estimates enclose them.
    #[test]
    fn an_index_answers_as_payloads_do(
        payloads in proptest::collection::vec(payload(), 30),
        which in 0usize..3,
        filter in filter(),
    ) {
        let schema = schema(SCHEMAS[which]);
        let index = index(&payloads, &schema);
        let index = PayloadIndex::decode(&index.encode().unwrap(), payloads.len()).unwrap();
        let compiled = CompiledFilter::new(&filter).unwrap();
        let expected: Vec<u32> = (0u32..)
            .zip(&payloads)
            .filter(|(row, p)| {
                let id = PointId::Num(u64::from(*row));
                compiled.matches(Subject { id, has_vector: &|_| row % 3 == 0 }, p)
            })
            .map(|(row, _)| row)
            .collect();
        let asked = Asked { index: &index, row_of: &row_of, rows: payloads.len() };
        let estimate = asked.estimate(compiled.root());
        prop_assert!(
            estimate.min <= expected.len() && expected.len() <= estimate.max,
            "{estimate:?}, {} match", expected.len()
        );
        if let Some(Answer { rows, exact }) = asked.answer(compiled.root()) {
            let found: Vec<u32> = rows.iter().collect();
            if exact {
                prop_assert_eq!(found, expected);
            } else {
                prop_assert!(expected.iter().all(|row| rows.contains(*row)), "{found:?} lacks some of {expected:?}");
            }
        }
    }

    /// Bytes that were not written by us are refused or used, and never a panic.
    #[test]
    fn damaged_files_are_refused_or_used(
        payloads in proptest::collection::vec(payload(), 12),
        which in 0usize..3,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 0u32..64), 1..4),
        filter in filter(),
    ) {
        let mut words = index(&payloads, &schema(SCHEMAS[which])).encode().unwrap();
        for (at, bit) in damage {
            let at = at.index(words.len());
            words[at] ^= 1 << bit;
        }
        if let Ok(index) = PayloadIndex::decode(&words, payloads.len()) {
            let row_of = |id| row_of(id).filter(|row| (*row as usize) < payloads.len());
            let asked = Asked { index: &index, row_of: &row_of, rows: payloads.len() };
            let compiled = CompiledFilter::new(&filter).unwrap();
            let _estimate = asked.estimate(compiled.root());
            if let Some(answer) = asked.answer(compiled.root()) {
                prop_assert!(answer.rows.iter().all(|row| (row as usize) < payloads.len()));
            }
        }
    }

    #[test]
    fn any_words_are_refused_or_used(words in proptest::collection::vec(prop_oneof![0u64..9, any::<u64>()], 0..40)) {
        let _read = PayloadIndex::decode(&words, 7);
    }
}

fn objects(values: Value) -> Vec<Payload> {
    let Value::Array(values) = values else {
        panic!("a list of objects")
    };
    values
        .into_iter()
        .map(|v| v.as_object().unwrap().clone())
        .collect()
}

/// What each kind of index is for, it answers exactly.
#[test]
fn indexed_conditions_need_no_payload() {
    let payloads = objects(json!([
        {"a": "x", "n": 1, "f": 0.5, "b": true, "d": "2024-01-01", "g": {"lon": 1, "lat": 1}, "t": "red fox"},
        {"a": ["x", "y"], "n": [2, 3], "f": 1.5, "b": false, "d": "2024-02-01", "g": {"lon": 9, "lat": 1}, "t": "red dog"},
        {"a": 7, "n": null},
    ]));
    let schema = schema(&[
        ("a", FieldKind::Keyword),
        ("n", FieldKind::Integer),
        ("f", FieldKind::Float),
        ("b", FieldKind::Bool),
        ("d", FieldKind::Datetime),
        ("g", FieldKind::Geo),
        ("t", FieldKind::Text),
    ]);
    let index = index(&payloads, &schema);
    let points: Vec<(&str, usize)> = index.fields().collect();
    assert_eq!(
        points,
        [
            ("a", 2),
            ("b", 2),
            ("d", 2),
            ("f", 2),
            ("g", 2),
            ("n", 2),
            ("t", 2)
        ]
    );
    let field = |key: &str, test: MatchValue| {
        Condition::Field(FieldCondition {
            key: key.into(),
            test,
        })
    };
    let text = |t: &str| Scalar::Text(t.into());
    let words = |text: &str, need| {
        MatchValue::Words(Words {
            text: text.into(),
            need,
        })
    };
    let from = |gte: f64| {
        MatchValue::Range(Range {
            gte: Some(gte),
            ..Range::default()
        })
    };
    let cases: Vec<(Condition, Vec<u32>)> = vec![
        (field("a", MatchValue::Value(text("x"))), vec![0, 1]),
        (
            field("a", MatchValue::Any(vec![text("y"), text("z")])),
            vec![1],
        ),
        (field("a", MatchValue::Except(vec![text("x")])), vec![1, 2]),
        (field("a", MatchValue::Prefix("y".into())), vec![1]),
        (field("a", MatchValue::Substring("x".into())), vec![0, 1]),
        (field("n", MatchValue::Value(Scalar::Int(3))), vec![1]),
        (
            field("n", MatchValue::Except(vec![Scalar::Int(1)])),
            vec![1],
        ),
        (field("n", from(1.5)), vec![1]),
        (field("f", from(0.5)), vec![0, 1]),
        (field("b", MatchValue::Value(Scalar::Bool(false))), vec![1]),
        (
            field(
                "d",
                MatchValue::DateRange(DateRange {
                    lt: datetime::parse("2024-01-15"),
                    ..DateRange::default()
                }),
            ),
            vec![0],
        ),
        (
            field(
                "g",
                MatchValue::Geo(GeoArea::Circle {
                    center: GeoPoint { lon: 0.0, lat: 0.0 },
                    radius: 300_000.0,
                }),
            ),
            vec![0],
        ),
        (field("t", words("fox red", WordsNeed::All)), vec![0]),
        (field("t", words("dog cat", WordsNeed::Any)), vec![1]),
        (Condition::IsEmpty("n".into()), vec![2]),
        (Condition::IsNull("n".into()), vec![2]),
        (Condition::IsEmpty("a".into()), vec![]),
        (
            Condition::HasId(vec![PointId::Num(2), PointId::Num(99)]),
            vec![2],
        ),
    ];
    let asked = Asked {
        index: &index,
        row_of: &row_of,
        rows: payloads.len(),
    };
    for (condition, expected) in cases {
        let rows_for = |filter: Filter| {
            let compiled = CompiledFilter::new(&filter).unwrap();
            let answer = asked.answer(compiled.root()).unwrap();
            assert!(answer.exact, "{filter:?}");
            answer.rows.iter().collect::<Vec<_>>()
        };
        let is = Filter {
            must: vec![condition.clone()],
            ..Filter::default()
        };
        assert_eq!(rows_for(is), expected, "{condition:?}");
        let is_not = Filter {
            must_not: vec![condition.clone()],
            ..Filter::default()
        };
        let rest: Vec<u32> = (0..3).filter(|r| !expected.contains(r)).collect();
        assert_eq!(rows_for(is_not), rest, "not {condition:?}");
    }
}

#[test]
fn a_changed_schema_keeps_what_fits_and_names_what_is_missing() {
    let payloads = objects(json!([{"a": "x", "n": 1}, {"a": "y", "n": 2}]));
    let before = schema(&[("a", FieldKind::Keyword), ("n", FieldKind::Integer)]);
    let after = schema(&[
        ("a", FieldKind::Keyword),
        ("n", FieldKind::Float),
        ("z", FieldKind::Bool),
    ]);
    let (mut kept, missing) = index(&payloads, &before).fit(&after);
    assert_eq!(kept.fields().map(|f| f.0).collect::<Vec<_>>(), ["a"]);
    assert_eq!(
        missing,
        schema(&[("n", FieldKind::Float), ("z", FieldKind::Bool)])
    );
    kept.join(index(&payloads, &missing));
    assert_eq!(kept.fit(&after).1, PayloadSchema::default());
    assert!(PayloadIndex::default().is_empty());
    assert!(kept.memory_bytes() > 0);
}

/// Settings of text indexes, which both sides cut texts by.
fn text_schema() -> impl Strategy<Value = PayloadSchema> {
    let settings = (
        proptest::sample::select(vec!["word", "whitespace", "prefix"]),
        any::<bool>(),
        any::<bool>(),
        proptest::option::of(1u64..3),
        proptest::option::of(3u64..5),
        any::<bool>(),
    );
    settings.prop_map(|(tokenizer, lowercase, stems, min, max, stop)| {
        let stemmer = json!({"type": "snowball", "language": "english"});
        let schema = json!({
            "type": "text", "tokenizer": tokenizer, "lowercase": lowercase, "min_token_len": min, "max_token_len": max,
            "stemmer": stems.then_some(stemmer), "stopwords": stop.then_some(json!({"custom": ["old"]})),
        });
        let fields = ["t", "parts[].t"].map(|field| (field.to_owned(), schema.clone()));
        PayloadSchema::from_manifest(&fields.into())
    })
}

proptest! {
    /// Whatever the settings are, an index finds the texts that their evaluation finds, also those in arrays of objects.
    #[test]
    fn settings_of_texts_hold_with_and_without_an_index(
        texts in proptest::collection::vec("(Red|OLD|bigger|newest)?([ ,](red|olds|big|new)){0,3}", 20),
        schema in text_schema(),
        wanted in "(red|Olds|bi|newest)?( (re|old|big)){0,2}",
        need in proptest::sample::select(vec![WordsNeed::All, WordsNeed::Any, WordsNeed::Phrase]),
        nested in any::<bool>(),
    ) {
        let payloads: Vec<Payload> = texts
            .chunks(2)
            .map(|pair| json!({"t": pair, "parts": [{"t": pair[0]}, {"t": pair[1]}]}).as_object().unwrap().clone())
            .collect();
        let words = Condition::Field(FieldCondition {
            key: "t".into(),
            test: MatchValue::Words(Words { text: wanted, need }),
        });
        let inside = Filter { must: vec![words.clone()], ..Filter::default() };
        let condition = match nested {
            true => Condition::Nested(Box::new(Nested { key: "parts".into(), filter: inside })),
            false => words,
        };
        let filter = Filter { must: vec![condition], ..Filter::default() };
        let index = index(&payloads, &schema);
        let index = PayloadIndex::decode(&index.encode().unwrap(), payloads.len()).unwrap();
        let (fitting, missing) = index.fit(&schema);
        prop_assert!(missing.fields.is_empty() && fitting.fields().count() == 2);
        let compiled = CompiledFilter::with_texts(&filter, schema.texts()).unwrap();
        let matches = |p: &Payload| {
            let point = Subject { id: PointId::Num(0), has_vector: &|_| false };
            compiled.matches(point, p)
        };
        let expected: Vec<u32> = (0u32..).zip(&payloads).filter(|(_, p)| matches(p)).map(|(row, _)| row).collect();
        let asked = Asked { index: &index, row_of: &row_of, rows: payloads.len() };
        let Answer { rows, exact } = asked.answer(compiled.root()).unwrap();
        if exact {
            prop_assert_eq!(rows.iter().collect::<Vec<_>>(), expected);
        } else {
            prop_assert!(expected.iter().all(|row| rows.contains(*row)));
        }
    }
}
