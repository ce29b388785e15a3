//! Formulas over the scores of earlier searches and over payloads, with the meaning of Qdrant's public API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Condition, GeoPoint, PointId};

/// A formula, and the scores that it refers to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Formula {
    /// What to compute.
    pub expression: Expression,
    /// Stand in for payload values that a point does not have, by dotted path.
    pub defaults: BTreeMap<String, Value>,
    /// Stand in for scores that a point does not have, by list; 0 where there is none.
    pub default_scores: BTreeMap<usize, f64>,
    /// Lists of points and their scores.
    pub scores: Vec<Vec<(PointId, f32)>>,
}

/// A number that is computed for a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expression {
    /// The same for all.
    Constant(f64),
    /// The point's score in a list.
    Score(usize),
    /// The number in its payload at a dotted path.
    Payload(String),
    /// 1 if it holds, else 0.
    Condition(Box<Condition>),
    /// Metres from a place to the place in its payload at a dotted path (haversine).
    GeoDistance {
        /// From here.
        origin: GeoPoint,
        /// To there.
        to: String,
    },
    /// The date and time in its payload at a dotted path, in seconds since 1970.
    DatetimeKey(String),
    /// Product; what follows a 0 is not looked at.
    Multiply(Vec<Expression>),
    /// Sum.
    Sum(Vec<Expression>),
    /// The largest of at least one.
    Max(Vec<Expression>),
    /// The smallest of at least one.
    Min(Vec<Expression>),
    /// Minus.
    Negative(Box<Expression>),
    /// Without sign.
    Absolute(Box<Expression>),
    /// Quotient; 0 if `left` is 0.
    Divide {
        /// What is divided.
        left: Box<Expression>,
        /// By what.
        right: Box<Expression>,
        /// The value if that is 0; an error where absent.
        by_zero_default: Option<f64>,
    },
    /// Square root.
    SquareRoot(Box<Expression>),
    /// Power.
    Power {
        /// What is multiplied.
        base: Box<Expression>,
        /// How often.
        exponent: Box<Expression>,
    },
    /// e to the power of it.
    Exponential(Box<Expression>),
    /// Decimal logarithm.
    Log10(Box<Expression>),
    /// Natural logarithm.
    Ln(Box<Expression>),
    /// Inverse hyperbolic cosine.
    Acosh(Box<Expression>),
    /// 1 at a target, less away from it.
    Decay(Box<Decay>),
}

/// How a value falls with the distance d = |x - target|: it is 1 at 0 and `midpoint` at `scale`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decay {
    /// By which curve.
    pub kind: DecayKind,
    /// Of what.
    pub x: Expression,
    /// Where it is 1; at 0 when absent.
    pub target: Option<Expression>,
    /// Value at the distance `scale`: above 0 and below 1, also either where linear.
    pub midpoint: f64,
    /// A distance above 0.
    pub scale: f64,
}

/// See [`Decay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecayKind {
    /// A line, not below 0.
    Linear,
    /// midpoint^(d / scale).
    Exponential,
    /// midpoint^((d / scale)^2).
    Gauss,
}
