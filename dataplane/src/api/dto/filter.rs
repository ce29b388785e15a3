//! Filters.

use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::geo::{GeoBoxDto, GeoPolygonDto, GeoRadiusDto};
use super::{at_most, check_paths};
use crate::engine::filter::datetime;
use crate::error::ServiceError;
use crate::model::{
    Condition, DateRange, FieldCondition, Filter, MatchValue, MinShould, Nested, PointId, Range,
    Scalar, Slice, Words, WordsNeed,
};

objects!(
    FilterDto,
    MinShouldDto,
    NestedDto,
    ConditionDto,
    SliceDto,
    PayloadField,
    MatchDto,
    RangeDto,
    CountDto
);

/// `{"must": ..., "should": ..., "must_not": ..., "min_should": ...}`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub(crate) struct FilterDto {
    pub(crate) must: Option<OneOrMany<ConditionDto>>,
    pub(crate) should: Option<OneOrMany<ConditionDto>>,
    pub(crate) must_not: Option<OneOrMany<ConditionDto>>,
    pub(crate) min_should: Option<MinShouldDto>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct MinShouldDto {
    pub(crate) conditions: Vec<ConditionDto>,
    #[schemars(range(min = 1))]
    pub(crate) min_count: usize,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct NestedDto {
    pub(crate) key: String,
    pub(crate) filter: FilterDto,
}

/// One thing, or a list of them.
#[derive(Debug)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for V<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one object or a list of them")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<OneOrMany<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMany)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany(vec![one]))
            }
        }
        deserializer.deserialize_any(V(PhantomData))
    }
}

schema!(OneOrMany<ConditionDto>, "Conditions", generator => {
    "anyOf": [
        generator.subschema_for::<ConditionDto>(),
        {"type": "array", "items": generator.subschema_for::<ConditionDto>()},
    ],
});

/// All kinds of conditions at once: which one it is shows in the fields that are there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub(crate) struct ConditionDto {
    // On a field.
    pub(crate) key: Option<String>,
    pub(crate) r#match: Option<MatchDto>,
    pub(crate) range: Option<RangeDto>,
    pub(crate) values_count: Option<CountDto>,
    pub(crate) geo_bounding_box: Option<GeoBoxDto>,
    pub(crate) geo_radius: Option<GeoRadiusDto>,
    pub(crate) geo_polygon: Option<GeoPolygonDto>,
    // On a field, or of their own.
    pub(crate) is_empty: Option<Emptiness>,
    pub(crate) is_null: Option<Emptiness>,
    // Of their own.
    pub(crate) has_id: Option<Vec<PointId>>,
    pub(crate) has_vector: Option<String>,
    pub(crate) slice: Option<SliceDto>,
    pub(crate) nested: Option<Box<NestedDto>>,
    // A filter inside.
    pub(crate) must: Option<OneOrMany<ConditionDto>>,
    pub(crate) should: Option<OneOrMany<ConditionDto>>,
    pub(crate) must_not: Option<OneOrMany<ConditionDto>>,
    pub(crate) min_should: Option<MinShouldDto>,
}

/// One of `total` parts of all points, chosen by a hash of their ids.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct SliceDto {
    /// How many parts there are.
    #[schemars(range(min = 1))]
    pub(crate) total: u64,
    /// Which of them, below `total`.
    pub(crate) index: u64,
}

/// `true` beside a key, or `{"key": ...}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Emptiness {
    Flag(bool),
    Field(PayloadField),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct PayloadField {
    pub(crate) key: String,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub(crate) struct MatchDto {
    pub(crate) value: Option<ScalarDto>,
    pub(crate) any: Option<Vec<ScalarDto>>,
    pub(crate) except: Option<Vec<ScalarDto>>,
    pub(crate) text: Option<String>,
    pub(crate) text_any: Option<String>,
    pub(crate) phrase: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) substring: Option<String>,
}

#[derive(Debug)]
pub(crate) struct ScalarDto(pub(crate) Scalar);

impl<'de> Deserialize<'de> for ScalarDto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = ScalarDto;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a string, a 64-bit integer or a boolean (for other numbers use 'range')",
                )
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<ScalarDto, E> {
                Ok(ScalarDto(Scalar::Bool(value)))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<ScalarDto, E> {
                Ok(ScalarDto(Scalar::Int(value)))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<ScalarDto, E> {
                i64::try_from(value)
                    .map(|n| ScalarDto(Scalar::Int(n)))
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(value), &self))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<ScalarDto, E> {
                Ok(ScalarDto(Scalar::Text(value.to_owned())))
            }
        }
        deserializer.deserialize_any(V)
    }
}

schema!(ScalarDto, "Scalar", _generator => {
    "anyOf": [
        {"type": "string"},
        {"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX},
        {"type": "boolean"},
    ],
});

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub(crate) struct RangeDto {
    pub(crate) gt: Option<Bound>,
    pub(crate) gte: Option<Bound>,
    pub(crate) lt: Option<Bound>,
    pub(crate) lte: Option<Bound>,
}

/// A number, or a text that reads as a date and time (microseconds since 1970).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    Number(f64),
    DateTime(i64),
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Bound;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a date and time such as 2024-05-01T12:00:00Z")
            }
            fn visit_f64<E: Error>(self, x: f64) -> Result<Bound, E> {
                Ok(Bound::Number(x))
            }
            fn visit_u64<E: Error>(self, x: u64) -> Result<Bound, E> {
                Ok(Bound::Number(x as f64))
            }
            fn visit_i64<E: Error>(self, x: i64) -> Result<Bound, E> {
                Ok(Bound::Number(x as f64))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Bound, E> {
                datetime::parse(text)
                    .map(Bound::DateTime)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(V)
    }
}

schema!(Bound, "Bound", _generator => {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "date"},
    ],
});

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", default, deny_unknown_fields)]
#[schemars(rename = "ValuesCount")]
pub(crate) struct CountDto {
    pub(crate) gt: Option<u32>,
    pub(crate) gte: Option<u32>,
    pub(crate) lt: Option<u32>,
    pub(crate) lte: Option<u32>,
}

impl FilterDto {
    /// The filter, if Brainy can evaluate it. Lists in it have at most `max_list` entries.
    pub(crate) fn into_model(self, max_list: usize) -> Result<Filter, ServiceError> {
        let clause = |conditions: Vec<ConditionDto>| {
            at_most(
                "a list of conditions in 'filter'",
                conditions.len(),
                max_list,
            )?;
            conditions
                .into_iter()
                .map(|c| c.into_model(max_list))
                .collect::<Result<Vec<_>, _>>()
        };
        let list = |conditions: Option<OneOrMany<ConditionDto>>| {
            clause(conditions.map(|c| c.0).unwrap_or_default())
        };
        let min_should = match self.min_should {
            None => None,
            Some(MinShouldDto { min_count: 0, .. }) => {
                return Err(bad("'min_should.min_count' is 0, it must be at least 1"));
            }
            Some(MinShouldDto {
                conditions,
                min_count,
            }) => Some(MinShould {
                conditions: clause(conditions)?,
                min_count,
            }),
        };
        Ok(Filter {
            must: list(self.must)?,
            should: list(self.should)?,
            must_not: list(self.must_not)?,
            min_should,
        })
    }
}

impl ConditionDto {
    pub(super) fn into_model(self, max_list: usize) -> Result<Condition, ServiceError> {
        let mut found = Vec::new();
        found.extend(self.has_vector.map(Condition::HasVector));
        if let Some(SliceDto { total, index }) = self.slice {
            if index >= total {
                return Err(ServiceError::BadRequest(format!(
                    "filter: slice.index is {index}, it must be below slice.total, which is {total} and at least 1"
                )));
            }
            found.push(Condition::Slice(Slice { total, index }));
        }
        if let Some(ids) = self.has_id {
            at_most("filter condition 'has_id'", ids.len(), max_list)?;
            found.push(Condition::HasId(ids));
        }
        if let Some(nested) = self.nested {
            found.push(Condition::Nested(Box::new(Nested {
                key: checked_key(nested.key)?,
                filter: nested.filter.into_model(max_list)?,
            })));
        }
        for (test, empty) in [(self.is_empty, true), (self.is_null, false)] {
            let Some(test) = test else { continue };
            let of = |key| {
                if empty {
                    Condition::IsEmpty(key)
                } else {
                    Condition::IsNull(key)
                }
            };
            found.push(match (test, &self.key) {
                (Emptiness::Field(field), None) => of(checked_key(field.key)?),
                (Emptiness::Flag(true), Some(key)) => of(checked_key(key.clone())?),
                (Emptiness::Flag(false), Some(key)) => Condition::Filter(Box::new(Filter {
                    must_not: vec![of(checked_key(key.clone())?)],
                    ..Filter::default()
                })),
                _ => {
                    return Err(bad(
                        "'is_empty' and 'is_null' are either true or false beside a 'key', or {\"key\": ...} alone",
                    ));
                }
            });
        }
        let tests = [
            self.r#match.map(|m| m.into_model(max_list)).transpose()?,
            self.range.map(RangeDto::into_model).transpose()?,
            self.values_count.map(CountDto::into_model),
            self.geo_bounding_box
                .map(GeoBoxDto::into_model)
                .transpose()?,
            self.geo_radius.map(GeoRadiusDto::into_model).transpose()?,
            self.geo_polygon
                .map(|p| p.into_model(max_list))
                .transpose()?,
        ];
        for test in tests.into_iter().flatten() {
            let key = self
                .key
                .clone()
                .ok_or_else(|| bad("a test of a field needs a 'key'"))?;
            found.push(Condition::Field(FieldCondition {
                key: checked_key(key)?,
                test,
            }));
        }
        let inner = FilterDto {
            must: self.must,
            should: self.should,
            must_not: self.must_not,
            min_should: self.min_should,
        };
        let has_inner = [&inner.must, &inner.should, &inner.must_not]
            .iter()
            .any(|c| c.is_some())
            || inner.min_should.is_some();
        if has_inner && self.key.is_some() {
            return Err(bad(
                "a condition with a 'key' tests that field; clauses go into a condition of their own",
            ));
        }
        // An empty object is a filter without clauses, which holds for every point.
        if has_inner || (found.is_empty() && self.key.is_none()) {
            found.push(Condition::Filter(Box::new(inner.into_model(max_list)?)));
        }
        match (found.pop(), found.is_empty()) {
            (Some(condition), true) => Ok(condition),
            (Some(_), false) => Err(bad(
                "a condition has exactly one test; put several into 'must'",
            )),
            (None, _) => Err(bad(
                "a 'key' needs one of 'match', 'range', 'values_count', 'geo_bounding_box', 'geo_radius', 'geo_polygon', 'is_empty' and 'is_null'",
            )),
        }
    }
}

impl MatchDto {
    fn into_model(self, max_list: usize) -> Result<MatchValue, ServiceError> {
        let list = |name: &str, values: Vec<ScalarDto>| {
            at_most(name, values.len(), max_list)?;
            Ok::<_, ServiceError>(values.into_iter().map(|v| v.0).collect())
        };
        let words = |need| move |text| MatchValue::Words(Words { text, need });
        let Self {
            value,
            any,
            except,
            text,
            text_any,
            phrase,
            prefix,
            substring,
        } = self;
        let mut given = [
            value.map(|v| MatchValue::Value(v.0)),
            any.map(|any| list("'match.any'", any).map(MatchValue::Any))
                .transpose()?,
            except
                .map(|except| list("'match.except'", except).map(MatchValue::Except))
                .transpose()?,
            text.map(words(WordsNeed::All)),
            text_any.map(words(WordsNeed::Any)),
            phrase.map(words(WordsNeed::Phrase)),
            prefix.map(MatchValue::Prefix),
            substring.map(MatchValue::Substring),
        ]
        .into_iter()
        .flatten();
        match (given.next(), given.next()) {
            (Some(test), None) => Ok(test),
            _ => Err(bad(
                "'match' has exactly one of 'value', 'any', 'except', 'text', 'text_any', 'phrase', 'prefix' and 'substring'",
            )),
        }
    }
}

impl RangeDto {
    fn into_model(self) -> Result<MatchValue, ServiceError> {
        let bounds = [self.gt, self.gte, self.lt, self.lte];
        let dates = bounds.map(|bound| match bound {
            Some(Bound::DateTime(micros)) => Some(micros),
            _ => None,
        });
        let numbers = bounds.map(|bound| match bound {
            Some(Bound::Number(x)) => Some(x),
            _ => None,
        });
        let any = |given: &[bool]| given.contains(&true);
        match (
            any(&dates.map(|d| d.is_some())),
            any(&numbers.map(|n| n.is_some())),
        ) {
            (true, true) => Err(bad("the bounds of a 'range' are all numbers or all dates")),
            (true, false) => {
                let [gt, gte, lt, lte] = dates;
                Ok(MatchValue::DateRange(DateRange { gt, gte, lt, lte }))
            }
            (false, _) => {
                let [gt, gte, lt, lte] = numbers;
                Ok(MatchValue::Range(Range { gt, gte, lt, lte }))
            }
        }
    }
}

impl CountDto {
    fn into_model(self) -> MatchValue {
        MatchValue::ValuesCount(Range {
            gt: self.gt.map(f64::from),
            gte: self.gte.map(f64::from),
            lt: self.lt.map(f64::from),
            lte: self.lte.map(f64::from),
        })
    }
}

fn checked_key(key: String) -> Result<String, ServiceError> {
    check_paths("filter 'key'", [&key])?;
    Ok(key)
}

fn bad(text: &str) -> ServiceError {
    ServiceError::BadRequest(format!("filter: {text}"))
}
