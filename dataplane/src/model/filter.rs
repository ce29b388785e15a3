//! Filters over payloads, with the structure of Qdrant's public API. Evaluation lives in [`crate::engine::filter`].

use serde::{Deserialize, Serialize};

use super::PointId;

/// Boolean combination: all of `must`, at least one of `should` (if any), none of `must_not`, enough of `min_should`.
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
    /// At least so many of these hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_should: Option<MinShould>,
}

/// At least `min_count` of `conditions` hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinShould {
    /// Of these.
    pub conditions: Vec<Condition>,
    /// How many, at least 1.
    pub min_count: usize,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// On a payload field.
    Field(FieldCondition),
    /// The id is one of these.
    HasId(Vec<PointId>),
    /// The point has a vector of this name.
    HasVector(String),
    /// The hash of the id falls into this slice.
    Slice(Slice),
    /// The field (dotted path) is missing, null or an empty array.
    IsEmpty(String),
    /// The field (dotted path) is present and null.
    IsNull(String),
    /// A combination inside another.
    Filter(Box<Filter>),
    /// One element of an array of objects fulfils a whole filter.
    Nested(Box<Nested>),
}

/// One of several parts of all points, which belong to parts as a hash of their ids says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// How many parts there are, at least 1.
    pub total: u64,
    /// Which of them, from 0 on.
    pub index: u64,
}

/// A filter on the objects in an array: holds when it holds for one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nested {
    /// Dotted path to the array, with or without `[]` at its end.
    pub key: String,
    /// What one of its objects fulfils; paths begin at the object. Conditions on ids hold for none.
    pub filter: Filter,
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
    /// A text that reads as a date and time in this range.
    DateRange(DateRange),
    /// A place (`{"lon": ..., "lat": ...}`) in this area.
    Geo(GeoArea),
    /// A text with these words.
    Words(Words),
    /// A text that begins like this, byte by byte.
    Prefix(String),
    /// A text that contains this, byte by byte.
    Substring(String),
}

/// Bounds on a date and time, microseconds since 1970 in UTC; absent bounds do not constrain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DateRange {
    /// Later than.
    pub gt: Option<i64>,
    /// At or later than.
    pub gte: Option<i64>,
    /// Earlier than.
    pub lt: Option<i64>,
    /// At or earlier than.
    pub lte: Option<i64>,
}

/// A place on Earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoPoint {
    /// Longitude, -180 to 180.
    pub lon: f64,
    /// Latitude, -90 to 90.
    pub lat: f64,
}

/// An area on Earth; points on its edge are outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GeoArea {
    /// Between two corners; crosses the 180th meridian when the left one is east of the right one.
    Box {
        /// North-west corner.
        top_left: GeoPoint,
        /// South-east corner.
        bottom_right: GeoPoint,
    },
    /// Nearer than `radius` metres to `center` (haversine distance).
    Circle {
        /// Centre.
        center: GeoPoint,
        /// Metres.
        radius: f64,
    },
    /// Inside a ring and in none of its holes, on the plane of longitude and latitude.
    Polygon {
        /// The ring, closed: the last point is the first one.
        exterior: Vec<GeoPoint>,
        /// Holes, closed rings.
        interiors: Vec<Vec<GeoPoint>>,
    },
}

/// A test on the words of a text: runs of letters and digits, without regard to case. No words match nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// The words looked for, as a text.
    pub text: String,
    /// Which of them must be there.
    pub need: WordsNeed,
}

/// See [`Words`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WordsNeed {
    /// All, in any order.
    All,
    /// At least one.
    Any,
    /// All, one after the other.
    Phrase,
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
