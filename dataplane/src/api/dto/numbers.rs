//! Numbers of vectors: JSON's as 32-bit floats.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// A number as 32-bit float. Beyond that range it becomes infinite, which the check against the schema refuses.
pub(crate) struct Number(pub(crate) f32);

pub(crate) struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = f32;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }
    fn visit_f64<E: Error>(self, x: f64) -> Result<f32, E> {
        Ok(x as f32)
    }
    fn visit_u64<E: Error>(self, x: u64) -> Result<f32, E> {
        Ok(x as f32)
    }
    fn visit_i64<E: Error>(self, x: i64) -> Result<f32, E> {
        Ok(x as f32)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor).map(Number)
    }
}

/// Numbers as 32-bit floats.
pub(crate) struct Numbers(pub(crate) Vec<f32>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Numbers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of numbers")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Numbers, A::Error> {
                let mut values = Vec::with_capacity(128);
                while let Some(Number(x)) = seq.next_element()? {
                    values.push(x);
                }
                Ok(Numbers(values))
            }
        }
        deserializer.deserialize_any(V)
    }
}

/// The first element of an array: it tells a vector from a list of vectors.
pub(crate) enum Component {
    Number(f32),
    List(Vec<f32>),
}

impl<'de> Deserialize<'de> for Component {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Component;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or an array of numbers")
            }
            fn visit_f64<E: Error>(self, x: f64) -> Result<Component, E> {
                NumberVisitor.visit_f64(x).map(Component::Number)
            }
            fn visit_u64<E: Error>(self, x: u64) -> Result<Component, E> {
                NumberVisitor.visit_u64(x).map(Component::Number)
            }
            fn visit_i64<E: Error>(self, x: i64) -> Result<Component, E> {
                NumberVisitor.visit_i64(x).map(Component::Number)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Component, A::Error> {
                Numbers::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))
                    .map(|numbers| Component::List(numbers.0))
            }
        }
        deserializer.deserialize_any(V)
    }
}
