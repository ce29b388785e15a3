//! Whether a point matches a filter, with the meaning of Qdrant's public API: a condition on a field holds when any value
//! at the path satisfies it, arrays count as their elements, and a missing field satisfies only `is_empty`, a
//! `values_count` that allows 0, and negations.

use serde_json::Value;

use crate::model::{
    Condition, FieldCondition, Filter, MatchValue, Payload, PointId, Range, Scalar,
};

use super::error::EngineError;
use super::path::Path;

/// A filter whose paths are parsed, ready to be evaluated many times.
#[derive(Clone, Debug)]
pub struct CompiledFilter {
    root: Node,
    keys: Vec<String>,
}

#[derive(Clone, Debug)]
struct Node {
    must: Vec<Test>,
    should: Vec<Test>,
    must_not: Vec<Test>,
}

#[derive(Clone, Debug)]
enum Test {
    Field(Path, MatchValue),
    /// Sorted.
    HasId(Vec<PointId>),
    IsEmpty(Path),
    IsNull(Path),
    Nested(Node),
}

impl CompiledFilter {
    /// Parses the paths of a filter.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a path that cannot be read.
    pub fn new(filter: &Filter) -> Result<Self, EngineError> {
        let mut keys = Vec::new();
        let root = compile(filter, &mut keys)?;
        keys.sort_unstable();
        keys.dedup();
        Ok(Self { root, keys })
    }

    /// Top-level payload keys that [`Self::matches`] looks at; empty when ids alone decide.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Whether the point matches. Only [`Self::keys`] of the payload matter.
    #[must_use]
    pub fn matches(&self, id: PointId, payload: &Payload) -> bool {
        node_matches(&self.root, id, payload)
    }
}

fn compile(filter: &Filter, keys: &mut Vec<String>) -> Result<Node, EngineError> {
    let Filter {
        must,
        should,
        must_not,
    } = filter;
    let mut list = |conditions: &[Condition]| {
        conditions
            .iter()
            .map(|c| compile_condition(c, keys))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Node {
        must: list(must)?,
        should: list(should)?,
        must_not: list(must_not)?,
    })
}

fn compile_condition(condition: &Condition, keys: &mut Vec<String>) -> Result<Test, EngineError> {
    let mut path = |text: &str| {
        let path = Path::parse(text)?;
        keys.push(path.first.clone());
        Ok::<_, EngineError>(path)
    };
    Ok(match condition {
        Condition::Field(FieldCondition { key, test }) => Test::Field(path(key)?, test.clone()),
        Condition::HasId(ids) => {
            let mut ids = ids.clone();
            ids.sort_unstable();
            Test::HasId(ids)
        }
        Condition::IsEmpty(key) => Test::IsEmpty(path(key)?),
        Condition::IsNull(key) => Test::IsNull(path(key)?),
        Condition::Filter(inner) => Test::Nested(compile(inner, keys)?),
    })
}

fn node_matches(node: &Node, id: PointId, payload: &Payload) -> bool {
    let holds = |t: &Test| test_holds(t, id, payload);
    node.must.iter().all(holds)
        && (node.should.is_empty() || node.should.iter().any(holds))
        && !node.must_not.iter().any(holds)
}

fn test_holds(test: &Test, id: PointId, payload: &Payload) -> bool {
    match test {
        Test::Field(path, test) => field_holds(path, test, payload),
        Test::HasId(ids) => ids.binary_search(&id).is_ok(),
        // Empty unless some value at the path is neither null nor an empty array.
        Test::IsEmpty(path) => !path.any(payload, &mut |v| match v {
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            _ => true,
        }),
        Test::IsNull(path) => path.any(payload, &mut |v| match v {
            Value::Null => true,
            Value::Array(items) => items.iter().any(Value::is_null),
            _ => false,
        }),
        Test::Nested(node) => node_matches(node, id, payload),
    }
}

fn field_holds(path: &Path, test: &MatchValue, payload: &Payload) -> bool {
    if let MatchValue::ValuesCount(range) = test {
        let mut present = false;
        let counted = path.any(payload, &mut |v| {
            present = true;
            let count = match v {
                Value::Null => 0,
                Value::Array(items) => items.len(),
                _ => 1,
            };
            in_range(range, count as f64)
        });
        return counted || (!present && in_range(range, 0.0));
    }
    path.any(payload, &mut |v| match v {
        Value::Array(items) => items.iter().any(|item| value_holds(test, item)),
        single => value_holds(test, single),
    })
}

fn value_holds(test: &MatchValue, value: &Value) -> bool {
    match test {
        MatchValue::Value(scalar) => equals(scalar, value),
        MatchValue::Any(scalars) => scalars.iter().any(|s| equals(s, value)),
        MatchValue::Except(scalars) => {
            !value.is_null() && !scalars.iter().any(|s| equals(s, value))
        }
        MatchValue::Range(range) => value.as_f64().is_some_and(|n| in_range(range, n)),
        MatchValue::ValuesCount(_) => false,
    }
}

fn equals(scalar: &Scalar, value: &Value) -> bool {
    match scalar {
        Scalar::Bool(b) => value.as_bool() == Some(*b),
        Scalar::Int(n) => value.as_i64() == Some(*n),
        Scalar::Text(t) => value.as_str() == Some(t),
    }
}

fn in_range(range: &Range, n: f64) -> bool {
    let Range { gt, gte, lt, lte } = range;
    gt.is_none_or(|b| n > b)
        && gte.is_none_or(|b| n >= b)
        && lt.is_none_or(|b| n < b)
        && lte.is_none_or(|b| n <= b)
}

#[cfg(test)]
mod tests {
    use super::*;
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
            .matches(PointId::Num(7), payload.as_object().unwrap())
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
            "deep": {"x": {"y": 3}}, "list": [{"k": 1}, {"k": 2, "v": [7, 8]}], "grid": [[1, 2], [3]]
        });
        use MatchValue::{Any, Except, Value as Is, ValuesCount};
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
            ],
            must_not: vec![Condition::IsEmpty("a".into()), Condition::HasId(vec![])],
            ..Filter::default()
        };
        assert_eq!(CompiledFilter::new(&filter).unwrap().keys(), ["a", "b"]);
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
            let eval = |f: Filter| CompiledFilter::new(&f).unwrap().matches(PointId::Num(id), &payload);
            let single = |c: &Condition| eval(Filter { must: vec![c.clone()], ..Filter::default() });
            let all = a.iter().all(single);
            let any = a.iter().any(single);
            prop_assert_eq!(eval(Filter { must: a.clone(), ..Filter::default() }), all);
            prop_assert_eq!(eval(Filter { should: a.clone(), ..Filter::default() }), any || a.is_empty());
            prop_assert_eq!(eval(Filter { must_not: a.clone(), ..Filter::default() }), !any);
            let nested = Condition::Filter(Box::new(Filter { must: a.clone(), ..Filter::default() }));
            prop_assert_eq!(eval(Filter { must_not: vec![nested], ..Filter::default() }), !all);
        }
    }
}
