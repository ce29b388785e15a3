//! Filters over payloads, with the structure of Qdrant's public API. Evaluation lives in [`crate::engine::filter`].

use serde::{Deserialize, Serialize};

use super::PointId;

/// Boolean combination: all of `must`, at least one of `should` (if any), none of `must_not`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    /// All of these hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub must: Vec<Condition>,
    /// At least one of these holds, unless the list is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub should: Vec<Condition>,
    /// None of these holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub must_not: Vec<Condition>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// On a payload field.
    Field(FieldCondition),
    /// The id is one of these.
    HasId(Vec<PointId>),
    /// The field (dotted path) is missing, null or an empty array.
    IsEmpty(String),
    /// The field (dotted path) is present and null.
    IsNull(String),
    /// A nested combination.
    Filter(Box<Filter>),
}

/// A condition on the value at a path; arrays match when any element does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldCondition {
    /// Dotted path into the payload; `[]` steps into arrays.
    pub key: String,
    /// What must hold there.
    pub test: MatchValue,
}

/// A scalar that payload values are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Scalar {
    /// true or false.
    Bool(bool),
    /// Integer.
    Int(i64),
    /// Text, compared as a whole.
    Text(String),
}

/// The test of a field condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MatchValue {
    /// Equal to this scalar.
    Value(Scalar),
    /// Equal to one of these.
    Any(Vec<Scalar>),
    /// Present and equal to none of these.
    Except(Vec<Scalar>),
    /// A number in this range.
    Range(Range),
    /// The number of values at the path is in this range.
    ValuesCount(Range),
}

/// Bounds on a number; absent bounds do not constrain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Greater than.
    pub gt: Option<f64>,
    /// Greater than or equal.
    pub gte: Option<f64>,
    /// Less than.
    pub lt: Option<f64>,
    /// Less than or equal.
    pub lte: Option<f64>,
}
