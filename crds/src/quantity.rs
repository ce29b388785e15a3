//! Amounts of bytes in the notation of Kubernetes: `512Mi`, `1.5Gi`, `10G`, `1e9`.
//!
//! Source: `k8s.io/apimachinery/pkg/api/resource`, type `Quantity`.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// The pattern that Kubernetes' own generators write for quantities.
pub const QUANTITY_PATTERN: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// Longest quantity text, in characters.
pub const QUANTITY_MAX_LENGTH: usize = 32;

/// A number of bytes as Kubernetes writes it, such as `512Mi`; a bare integer counts bytes.
///
/// Like Kubernetes, fractions of a byte are rounded up and the value is capped at 2^63-1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteQuantity {
    text: String,
    bytes: i64,
}

/// A text that is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a quantity; write a number with a unit, such as 512Mi, 10Gi or 2G")]
pub struct InvalidQuantity {
    /// What was written.
    pub text: String,
}

impl ByteQuantity {
    /// Reads a quantity such as `512Mi`.
    ///
    /// # Errors
    /// [`InvalidQuantity`] if the text is not in the notation of Kubernetes.
    pub fn parse(text: &str) -> Result<Self, InvalidQuantity> {
        let bytes = parse_quantity(text).ok_or_else(|| InvalidQuantity {
            text: text.to_owned(),
        })?;
        Ok(Self {
            text: text.to_owned(),
            bytes,
        })
    }

    /// The amount in bytes; negative only if a minus sign was written, which validation refuses.
    pub fn bytes(&self) -> i64 {
        self.bytes
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Whole units of a quantity, rounded up and capped at +-(2^63-1); `None` if the text is not a quantity.
fn parse_quantity(text: &str) -> Option<i64> {
    if text.len() > QUANTITY_MAX_LENGTH {
        return None;
    }
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let number_end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (multiplier, exponent) = suffix_scale(suffix)?;
    let exponent = exponent - i32::try_from(fraction.len()).ok()?;
    let scaled = mantissa.checked_mul(multiplier).unwrap_or(i128::MAX);
    let power = 10i128
        .checked_pow(exponent.unsigned_abs())
        .unwrap_or(i128::MAX);
    let magnitude = if exponent >= 0 {
        if scaled == 0 {
            0
        } else {
            scaled.checked_mul(power).unwrap_or(i128::MAX)
        }
    } else if negative {
        scaled / power
    } else {
        scaled / power + i128::from(scaled % power != 0)
    };
    let capped = i64::try_from(magnitude).unwrap_or(i64::MAX);
    Some(if negative { -capped } else { capped })
}

/// Binary multiplier and decimal exponent of a suffix.
fn suffix_scale(suffix: &str) -> Option<(i128, i32)> {
    let scale = match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            (1, exponent.parse::<i32>().ok()?.clamp(-64, 64))
        }
    };
    Some(scale)
}

impl fmt::Display for ByteQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for ByteQuantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for ByteQuantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum IntOrString {
            Int(i64),
            String(String),
        }
        let text = match IntOrString::deserialize(deserializer)? {
            IntOrString::Int(bytes) => bytes.to_string(),
            IntOrString::String(text) => text,
        };
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for ByteQuantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteQuantity".into()
    }

    // The pattern is added to every quantity, ours and those of embedded Kubernetes types, in `crate::crd`.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_notation_of_kubernetes() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("1Ki", 1024),
            ("1.5Gi", 1_610_612_736),
            ("10G", 10_000_000_000),
            ("1e3", 1000),
            ("1E", 1_000_000_000_000_000_000),
            ("100m", 1),
            (".5Ki", 512),
            ("2.", 2),
            ("-1Mi", -1_048_576),
            ("100Ei", i64::MAX),
            ("1e60", i64::MAX),
            ("0e60", 0),
        ] {
            assert_eq!(ByteQuantity::parse(text).unwrap().bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn refuses_other_notations() {
        for text in ["", "Gi", "1 Gi", "1gb", "1GiB", "1.2.3", "--1", "1e", "ten"] {
            assert!(ByteQuantity::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_integer_counts_bytes() {
        let quantity: ByteQuantity = serde_json::from_str("4096").unwrap();
        assert_eq!((quantity.bytes(), quantity.as_str()), (4096, "4096"));
    }
}
