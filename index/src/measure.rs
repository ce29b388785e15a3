//! How vectors are compared.
//!
//! Inside the engine every measure is a *distance*: lower is nearer, any sign, never NaN.
//!
//! | measure   | distance              |
//! |-----------|-----------------------|
//! | cosine    | -(a . b), unit a, b   |
//! | dot       | -(a . b)              |
//! | Euclid    | sum (a-b)^2           |
//! | Manhattan | sum abs(a-b)          |

/// A measure of how far two vectors are from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Negated dot product of vectors of unit length, which whoever stores or asks has made so.
    Cosine,
    /// Negated dot product.
    Dot,
    /// Squared Euclidean distance.
    Euclid,
    /// Sum of absolute differences.
    Manhattan,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cosine, Self::Dot, Self::Euclid, Self::Manhattan];
}
