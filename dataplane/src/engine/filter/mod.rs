//! Whether a point matches a filter, with the meaning of Qdrant's public API: a condition on a field holds when any value
//! at the path satisfies it, arrays count as their elements, and a missing field satisfies only `is_empty`, a
//! `values_count` that allows 0, and negations.
//!
//! This is what a filter means. Payload indexes ([`super::payload_index`]) find the same rows faster, never others.

pub mod datetime;
pub mod geo;
mod slice;
pub(crate) mod value;

use serde_json::Value;

use crate::model::{
    Condition, FieldCondition, Filter, MinShould, Nested, Payload, Point, PointId, Slice,
};

use super::error::EngineError;
use super::path::{Path, Step};
use super::text::Texts;
pub(crate) use value::{ScalarSet, Test, Wanted};

/// A filter whose paths are parsed, ready to be evaluated many times.
#[derive(Clone, Debug)]
pub struct CompiledFilter {
    root: Node,
    keys: Vec<String>,
}

/// What filters ask of a point besides its payload.
#[derive(Clone, Copy)]
pub struct Subject<'p> {
    /// Its id.
    pub id: PointId,
    /// Whether it has a vector of this name.
    pub has_vector: &'p dyn Fn(&str) -> bool,
}

/// A combination of conditions.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) must: Vec<Leaf>,
    pub(crate) should: Vec<Leaf>,
    pub(crate) must_not: Vec<Leaf>,
    /// At least this many of these.
    pub(crate) min_should: Option<(Vec<Leaf>, usize)>,
}

/// One condition.
#[derive(Clone, Debug)]
pub(crate) enum Leaf {
    Field(Path, Test),
    /// Sorted.
    HasId(Vec<PointId>),
    HasVector(String),
    Slice(Slice),
    IsEmpty(Path),
    IsNull(Path),
    Filter(Node),
    /// On the objects of the array at the path.
    Nested(Path, Node),
}

impl CompiledFilter {
    /// Parses the paths of a filter. Words are those of [`Analyzer::plain`](super::text::Analyzer::plain).
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a path that cannot be read.
    pub fn new(filter: &Filter) -> Result<Self, EngineError> {
        Self::with_texts(filter, &Texts::default())
    }

    /// As [`Self::new`], where fields have words as `texts` say.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a path that cannot be read.
    pub fn with_texts(filter: &Filter, texts: &Texts) -> Result<Self, EngineError> {
        let mut keys = Vec::new();
        let place = Place { texts, under: None };
        let root = compile(filter, place, &mut keys)?;
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
    pub fn matches(&self, point: Subject<'_>, payload: &Payload) -> bool {
        self.root.holds(Some(point), payload)
    }

    /// Whether a whole point matches.
    #[must_use]
    pub fn matches_point(&self, point: &Point) -> bool {
        let subject = Subject {
            id: point.id,
            has_vector: &|name| point.vectors.get(name).is_some(),
        };
        self.matches(subject, &point.payload)
    }

    /// The conditions.
    pub(crate) fn root(&self) -> &Node {
        &self.root
    }
}

/// Where a filter stands.
#[derive(Clone, Copy)]
struct Place<'p> {
    texts: &'p Texts,
    /// The array whose elements it is about.
    under: Option<&'p Path>,
}

fn compile(filter: &Filter, place: Place<'_>, keys: &mut Vec<String>) -> Result<Node, EngineError> {
    let Filter {
        must,
        should,
        must_not,
        min_should,
    } = filter;
    let mut list = |conditions: &[Condition]| {
        conditions
            .iter()
            .map(|c| compile_condition(c, place, keys))
            .collect::<Result<Vec<_>, _>>()
    };
    let min_should = match min_should {
        None => None,
        Some(MinShould {
            conditions,
            min_count,
        }) => Some((list(conditions)?, *min_count)),
    };
    Ok(Node {
        must: list(must)?,
        should: list(should)?,
        must_not: list(must_not)?,
        min_should,
    })
}

fn compile_condition(
    condition: &Condition,
    place: Place<'_>,
    keys: &mut Vec<String>,
) -> Result<Leaf, EngineError> {
    let mut path = |text: &str| {
        let path = Path::parse(text)?;
        keys.push(path.first.clone());
        Ok::<_, EngineError>(path)
    };
    Ok(match condition {
        Condition::Field(FieldCondition { key, test }) => {
            let path = path(key)?;
            let test = Test::new(test, &|| match place.under {
                None => place.texts.of(&path),
                Some(array) => place.texts.of(&path.inside(array)),
            });
            Leaf::Field(path, test)
        }
        Condition::HasId(ids) => {
            let mut ids = ids.clone();
            ids.sort_unstable();
            ids.dedup();
            Leaf::HasId(ids)
        }
        Condition::HasVector(name) => Leaf::HasVector(name.clone()),
        Condition::Slice(slice) => Leaf::Slice(*slice),
        Condition::IsEmpty(key) => Leaf::IsEmpty(path(key)?),
        Condition::IsNull(key) => Leaf::IsNull(path(key)?),
        Condition::Filter(inner) => Leaf::Filter(compile(inner, place, keys)?),
        Condition::Nested(nested) => {
            let Nested { key, filter } = nested.as_ref();
            let mut array = path(key)?;
            // `a` and `a[]` both mean the elements of the array at `a`.
            if array.rest.last() == Some(&Step::Each) {
                array.rest.pop();
            }
            // Keys inside are those of the elements: the payload's is the array's.
            let whole = place.under.map(|under| array.inside(under));
            let inside = Place {
                under: Some(whole.as_ref().unwrap_or(&array)),
                ..place
            };
            let node = compile(filter, inside, &mut Vec::new())?;
            Leaf::Nested(array, node)
        }
    })
}

impl Node {
    /// `point` is absent for what is no point.
    fn holds(&self, point: Option<Subject<'_>>, payload: &Payload) -> bool {
        let holds = |leaf: &Leaf| leaf.holds(point, payload);
        let enough = |leaves: &[Leaf], count: usize| {
            leaves.iter().filter(|leaf| holds(leaf)).take(count).count() >= count
        };
        self.must.iter().all(holds)
            && (self.should.is_empty() || self.should.iter().any(holds))
            && !self.must_not.iter().any(holds)
            && self
                .min_should
                .as_ref()
                .is_none_or(|(leaves, count)| enough(leaves, *count))
    }
}

impl Leaf {
    fn holds(&self, point: Option<Subject<'_>>, payload: &Payload) -> bool {
        match self {
            Self::Field(path, Test::Count(range)) => {
                let mut present = false;
                let counted = path.any(payload, &mut |v| {
                    present = true;
                    value::in_range(range, value::count(v) as f64)
                });
                counted || (!present && value::in_range(range, 0.0))
            }
            Self::Field(path, test) => path.any(payload, &mut |v| match v {
                Value::Array(items) => items.iter().any(|item| test.holds(item)),
                single => test.holds(single),
            }),
            Self::HasId(ids) => point.is_some_and(|p| ids.binary_search(&p.id).is_ok()),
            Self::HasVector(name) => point.is_some_and(|p| (p.has_vector)(name)),
            Self::Slice(Slice { total, index }) => {
                point.is_some_and(|p| slice::slice_of(p.id, *total) == *index)
            }
            // Empty unless some value at the path is neither null nor an empty array.
            Self::IsEmpty(path) => !path.any(payload, &mut value::is_something),
            Self::IsNull(path) => path.any(payload, &mut value::has_null),
            Self::Filter(node) => node.holds(point, payload),
            Self::Nested(path, node) => path.any(payload, &mut |v| match v {
                Value::Array(items) => items
                    .iter()
                    .filter_map(Value::as_object)
                    .any(|element| node.holds(None, element)),
                _ => false,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
