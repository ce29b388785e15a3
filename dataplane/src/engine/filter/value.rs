//! Tests on one value.

use std::sync::Arc;

use serde_json::Value;

use crate::model::{DateRange, GeoArea, MatchValue, Range, Scalar, Words, WordsNeed};

use super::{datetime, geo};
use crate::engine::text::Analyzer;

/// A [`MatchValue`] ready to be evaluated many times.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    /// Equal to one of these.
    Any(ScalarSet),
    /// Not null and equal to none of these.
    Except(ScalarSet),
    Range(Range),
    /// The number of values is in this range: on all values of a path, not on one.
    Count(Range),
    Dates(DateRange),
    Geo(GeoArea),
    Words(WordTest),
    Prefix(String),
    Substring(String),
}

/// Scalars, each kind sorted, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScalarSet {
    pub(crate) bools: Vec<bool>,
    pub(crate) ints: Vec<i64>,
    pub(crate) texts: Vec<String>,
}

/// Words looked for in texts that are cut into words in some way.
#[derive(Clone, Debug)]
pub(crate) struct WordTest {
    pub(crate) analyzer: Arc<Analyzer>,
    pub(crate) wanted: Wanted,
}

/// Words looked for.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// All of these; sorted, each once.
    All(Vec<String>),
    /// One of these; sorted, each once.
    Any(Vec<String>),
    /// These in this order.
    Phrase(Vec<String>),
}

impl ScalarSet {
    fn new<'s>(scalars: impl IntoIterator<Item = &'s Scalar>) -> Self {
        let mut set = Self::default();
        for scalar in scalars {
            match scalar {
                Scalar::Bool(b) => set.bools.push(*b),
                Scalar::Int(n) => set.ints.push(*n),
                Scalar::Text(t) => set.texts.push(t.clone()),
            }
        }
        set.bools.sort_unstable();
        set.bools.dedup();
        set.ints.sort_unstable();
        set.ints.dedup();
        set.texts.sort_unstable();
        set.texts.dedup();
        set
    }

    fn contains(&self, value: &Value) -> bool {
        match value {
            Value::Bool(b) => self.bools.contains(b),
            Value::Number(n) => n
                .as_i64()
                .is_some_and(|n| self.ints.binary_search(&n).is_ok()),
            Value::String(t) => self
                .texts
                .binary_search_by(|own| own.as_str().cmp(t))
                .is_ok(),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
    }
}

impl WordTest {
    fn new(words: &Words, analyzer: Arc<Analyzer>) -> Self {
        let list = analyzer.asked(&words.text);
        let sorted = |mut list: Vec<String>| {
            list.sort_unstable();
            list.dedup();
            list
        };
        let wanted = match words.need {
            WordsNeed::All => Wanted::All(sorted(list)),
            WordsNeed::Any => Wanted::Any(sorted(list)),
            WordsNeed::Phrase => Wanted::Phrase(list),
        };
        Self { analyzer, wanted }
    }

    fn holds(&self, text: &str) -> bool {
        match &self.wanted {
            Wanted::All(wanted) => self.analyzer.has_all(text, wanted),
            Wanted::Any(wanted) => self.analyzer.has_any(text, wanted),
            Wanted::Phrase(wanted) => self.analyzer.has_phrase(text, wanted),
        }
    }
}

impl Test {
    /// `analyzer` gives that of the field, if the test is on words.
    pub(super) fn new(test: &MatchValue, analyzer: &dyn Fn() -> Arc<Analyzer>) -> Self {
        match test {
            MatchValue::Value(scalar) => Self::Any(ScalarSet::new([scalar])),
            MatchValue::Any(scalars) => Self::Any(ScalarSet::new(scalars)),
            MatchValue::Except(scalars) => Self::Except(ScalarSet::new(scalars)),
            MatchValue::Range(range) => Self::Range(*range),
            MatchValue::ValuesCount(range) => Self::Count(*range),
            MatchValue::DateRange(range) => Self::Dates(*range),
            MatchValue::Geo(area) => Self::Geo(area.clone()),
            MatchValue::Words(words) => Self::Words(WordTest::new(words, analyzer())),
            MatchValue::Prefix(start) => Self::Prefix(start.clone()),
            MatchValue::Substring(part) => Self::Substring(part.clone()),
        }
    }

    /// Whether it holds for one value that is no array.
    pub(super) fn holds(&self, value: &Value) -> bool {
        let text = |holds: &dyn Fn(&str) -> bool| value.as_str().is_some_and(holds);
        match self {
            Self::Any(set) => set.contains(value),
            Self::Except(set) => !value.is_null() && !set.contains(value),
            Self::Range(range) => value.as_f64().is_some_and(|n| in_range(range, n)),
            Self::Count(_) => false,
            Self::Dates(range) => text(&|t| datetime::parse(t).is_some_and(|t| in_dates(range, t))),
            Self::Geo(area) => geo::point(value).is_some_and(|point| geo::contains(area, point)),
            Self::Words(words) => text(&|t| words.holds(t)),
            Self::Prefix(start) => text(&|t| t.starts_with(start)),
            Self::Substring(part) => text(&|t| t.contains(part)),
        }
    }
}

/// How many values a value at a path is.
pub(super) fn count(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Array(items) => items.len(),
        _ => 1,
    }
}

/// Neither null nor an empty array.
pub(crate) fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

/// Null, or an array with a null in it.
pub(crate) fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(Value::is_null),
        _ => false,
    }
}

pub(super) fn in_range(range: &Range, n: f64) -> bool {
    let Range { gt, gte, lt, lte } = range;
    gt.is_none_or(|b| n > b)
        && gte.is_none_or(|b| n >= b)
        && lt.is_none_or(|b| n < b)
        && lte.is_none_or(|b| n <= b)
}

fn in_dates(range: &DateRange, t: i64) -> bool {
    let DateRange { gt, gte, lt, lte } = range;
    gt.is_none_or(|b| t > b)
        && gte.is_none_or(|b| t >= b)
        && lt.is_none_or(|b| t < b)
        && lte.is_none_or(|b| t <= b)
}
