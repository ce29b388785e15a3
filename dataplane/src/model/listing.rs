//! Points in another order than that of distance, and how often values occur.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Filter, PayloadSelector, PointId, ScoredPoint, VectorSelector};

/// Matching points, the first of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListRequest {
    /// The order.
    pub order: ListOrder,
    /// Only points that match.
    pub filter: Option<Filter>,
    /// At most this many (offset already added).
    pub limit: usize,
    /// Payload to return.
    pub with_payload: PayloadSelector,
    /// Vectors to return.
    pub with_vector: VectorSelector,
}

/// An order of points. It is total and depends on points alone, not on where they are stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ListOrder {
    /// By id.
    Id,
    /// By the values of a payload field.
    Field(FieldOrder),
    /// As a hash of the id with this seed says: every point is equally likely to come first.
    Random(u64),
}

/// By the values of a payload field, then by id. A point comes once for each of its different values; points without one do
/// not come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldOrder {
    /// Dotted path into the payload.
    pub key: String,
    /// Which values count.
    pub values: OrderedValues,
    /// Highest values first; then ids descend, too.
    pub descending: bool,
    /// Values before this one in the order are left out.
    pub start_from: Option<OrderValue>,
}

/// Values that can be put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderedValues {
    /// 64-bit integers.
    Integers,
    /// Numbers.
    Numbers,
    /// Texts that read as dates and times, as microseconds since 1970 in UTC.
    Dates,
}

/// A value by which a point was put in order.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum OrderValue {
    /// An integer, or microseconds since 1970 of a date and time.
    Int(i64),
    /// A number, never NaN.
    Float(f64),
}

impl OrderValue {
    /// Zeros are equal whatever their sign.
    fn order(self, other: Self) -> Ordering {
        let float = |value| match value {
            Self::Int(n) => n as f64,
            Self::Float(x) => x,
        };
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            (a, b) => float(a).partial_cmp(&float(b)).unwrap_or(Ordering::Equal),
        }
    }
}

impl PartialEq for OrderValue {
    fn eq(&self, other: &Self) -> bool {
        self.order(*other).is_eq()
    }
}

impl PartialOrd for OrderValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.order(*other))
    }
}

/// A point's place in a [`ListOrder`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// The point.
    pub id: PointId,
    /// The value by which it was put in order, if that is how.
    pub value: Option<OrderValue>,
    /// See [`ListOrder::Random`].
    hash: u64,
}

impl Place {
    /// The place of a value of a point in a [`ListOrder::Field`].
    #[must_use]
    pub fn of_value(id: PointId, value: OrderValue) -> Self {
        Self {
            id,
            value: Some(value),
            hash: 0,
        }
    }
}

impl ListOrder {
    /// The place of a point that was returned.
    #[must_use]
    pub fn place(&self, point: &ScoredPoint) -> Place {
        Place {
            value: point.record.order_value,
            ..self.place_of(point.record.id)
        }
    }

    /// The place of a point that has one by its id alone.
    #[must_use]
    pub fn place_of(&self, id: PointId) -> Place {
        let hash = match self {
            Self::Random(seed) => match id {
                PointId::Num(n) => xxh3_64_with_seed(&n.to_le_bytes(), *seed),
                PointId::Uuid(u) => xxh3_64_with_seed(u.as_bytes(), *seed),
            },
            Self::Id | Self::Field(_) => 0,
        };
        Place {
            id,
            value: None,
            hash,
        }
    }

    /// What comes first.
    #[must_use]
    pub fn compare(&self, a: &Place, b: &Place) -> Ordering {
        match self {
            Self::Id => a.id.cmp(&b.id),
            Self::Random(_) => (a.hash, a.id).cmp(&(b.hash, b.id)),
            Self::Field(order) => {
                let values = a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal);
                let ascending = values.then_with(|| a.id.cmp(&b.id));
                if order.descending {
                    ascending.reverse()
                } else {
                    ascending
                }
            }
        }
    }
}

impl FieldOrder {
    /// Whether a value is left out because it comes before [`Self::start_from`].
    #[must_use]
    pub fn is_before_start(&self, value: OrderValue) -> bool {
        self.start_from.is_some_and(|start| {
            if self.descending {
                value > start
            } else {
                value < start
            }
        })
    }
}

/// In how many matching points each value of a payload field occurs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FacetRequest {
    /// Dotted path into the payload.
    pub key: String,
    /// Which values count.
    pub values: FacetValues,
    /// Only points that match.
    pub filter: Option<Filter>,
}

/// Values that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FacetValues {
    /// Texts.
    Texts,
    /// Texts that are UUIDs, in their hyphenated form.
    Uuids,
    /// 64-bit integers.
    Integers,
    /// true and false.
    Bools,
}

/// A value that was counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FacetValue {
    /// true or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A text.
    Text(String),
}

/// A value and in how many points it occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FacetCount {
    /// The value.
    pub value: FacetValue,
    /// Points that have it, once or several times.
    pub count: u64,
}
