//! Durations as people write them in manifests: `500ms`, `30s`, `1m30s`.

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Pattern of a duration in the schema: whole numbers of at most six digits, each with its unit.
///
/// With [`DURATION_MAX_LENGTH`] it keeps every accepted text inside the range that CEL's `duration()` and Go's
/// `time.ParseDuration` can hold (2^63 nanoseconds).
pub const DURATION_PATTERN: &str = "^([0-9]{1,6}(ms|s|m|h))+$";

/// Longest duration text, in characters.
pub const DURATION_MAX_LENGTH: usize = 16;

/// A length of time written as text, such as `30s`; units are `ms`, `s`, `m` and `h`.
///
/// The text is kept as it was written, so that what is read back equals what was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DurationString {
    text: String,
    value: Duration,
}

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a duration; write whole numbers with the units ms, s, m or h, such as 500ms, 30s or 1m30s"
)]
pub struct InvalidDuration {
    /// What was written.
    pub text: String,
}

impl DurationString {
    /// Reads a duration such as `30s` or `1m30s`.
    ///
    /// # Errors
    /// [`InvalidDuration`] if the text does not match [`DURATION_PATTERN`] or is longer than [`DURATION_MAX_LENGTH`].
    pub fn parse(text: &str) -> Result<Self, InvalidDuration> {
        let value = parse_duration(text).ok_or_else(|| InvalidDuration {
            text: text.to_owned(),
        })?;
        Ok(Self {
            text: text.to_owned(),
            value,
        })
    }

    /// A duration of whole milliseconds, written in the largest unit that holds it exactly.
    ///
    /// Serves the defaults; `const`-like callers pass small numbers that stay within the pattern.
    pub(crate) fn of_millis(millis: u32) -> Self {
        let text = match millis {
            0 => "0s".to_owned(),
            ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
            ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
            ms => format!("{ms}ms"),
        };
        Self {
            text,
            value: Duration::from_millis(u64::from(millis)),
        }
    }

    /// The length of time.
    pub fn get(&self) -> Duration {
        self.value
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    if text.is_empty() || text.len() > DURATION_MAX_LENGTH {
        return None;
    }
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 6 {
            return None;
        }
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let (unit, tail) = if let Some(tail) = tail.strip_prefix("ms") {
            (1, tail)
        } else if let Some(tail) = tail.strip_prefix('s') {
            (1_000, tail)
        } else if let Some(tail) = tail.strip_prefix('m') {
            (60_000, tail)
        } else if let Some(tail) = tail.strip_prefix('h') {
            (3_600_000, tail)
        } else {
            return None;
        };
        millis += number * unit;
        rest = tail;
    }
    Some(Duration::from_millis(millis))
}

impl TryFrom<String> for DurationString {
    type Error = InvalidDuration;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<DurationString> for String {
    fn from(duration: DurationString) -> Self {
        duration.text
    }
}

impl fmt::Display for DurationString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl JsonSchema for DurationString {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DurationString".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": DURATION_PATTERN,
            "maxLength": DURATION_MAX_LENGTH,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("1s500ms", 1500),
        ] {
            assert_eq!(
                DurationString::parse(text).unwrap().get(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "1d",
            "1 s",
            "30S",
            "1234567s",
            "1s1s1s1s1s1s1s1s1s",
            "1\u{b5}s",
        ] {
            assert!(DurationString::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parser_and_pattern_agree() {
        let pattern = regex::Regex::new(DURATION_PATTERN).unwrap();
        for text in [
            "",
            "0s",
            "30",
            "30s",
            "1m30s",
            "999999h999999h",
            "m",
            "1ms1",
            "1sm",
            "1mm",
            "1msm",
            "1.5s",
            "١s",
        ] {
            assert_eq!(
                DurationString::parse(text).is_ok(),
                pattern.is_match(text) && text.chars().count() <= DURATION_MAX_LENGTH,
                "{text}"
            );
        }
    }

    #[test]
    fn written_defaults_read_back_to_the_same_value() {
        for millis in [0, 1, 500, 1000, 1500, 60_000, 90_000, 3_600_000, 86_400_000] {
            let written = DurationString::of_millis(millis);
            assert_eq!(DurationString::parse(written.as_str()).unwrap(), written);
        }
    }
}
