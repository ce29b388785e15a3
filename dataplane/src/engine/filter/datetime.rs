//! Dates and times in payloads and filters: RFC 3339 and the looser forms that Qdrant takes.

/// Microseconds of a second, and so on up.
const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Reads `YYYY-MM-DD[(T| )HH:MM[:SS[.fraction]][ ][Z|UTC|±HH[[:]MM]]]` as microseconds since 1970 in UTC.
///
/// No offset means UTC, digits beyond microseconds are cut off, a leap second is the second after it. An offset needs
/// seconds before it. `None` for anything else, and for dates that do not exist.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let mut input = Input(text.trim_start().as_bytes());
    let year = input.number(4, 4)?;
    input.byte(b'-')?;
    let month = input.number(1, 2)?;
    input.byte(b'-')?;
    let day = input.number(1, 2)?;
    let mut micros = days(year, month, day)? * DAY;
    if input.0.is_empty() {
        return Some(micros);
    }
    input
        .byte(b'T')
        .or_else(|| input.byte(b't'))
        .or_else(|| input.byte(b' '))?;
    let hour = input.number(1, 2).filter(|h| *h < 24)?;
    input.byte(b':')?;
    let minute = input.number(1, 2).filter(|m| *m < 60)?;
    micros += hour * HOUR + minute * MINUTE;
    if input.0.is_empty() {
        return Some(micros);
    }
    input.byte(b':')?;
    micros += input.number(1, 2).filter(|s| *s <= 60)? * SECOND;
    if input.byte(b'.').is_some() {
        micros += input.fraction()?;
    }
    micros -= input.offset()?;
    input.0.is_empty().then_some(micros)
}

/// Seconds since 1970 in UTC, of [`parse`]'s microseconds.
pub(crate) fn seconds(micros: i64) -> f64 {
    micros as f64 / SECOND as f64
}

/// Days since 1970-01-01 in the Gregorian calendar (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=longest).contains(&day) {
        return None;
    }
    // Years begin in March: the leap day is the last of its year.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// What is left to read.
struct Input<'t>(&'t [u8]);

impl Input<'_> {
    fn byte(&mut self, wanted: u8) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        (*first == wanted).then(|| self.0 = rest)
    }

    /// A number of `min` to `max` digits.
    fn number(&mut self, min: usize, max: usize) -> Option<i64> {
        let digits = self.digits().min(max);
        if digits < min {
            return None;
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        Some(number.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    }

    fn digits(&self) -> usize {
        self.0.iter().take_while(|b| b.is_ascii_digit()).count()
    }

    /// Digits after the point of a second, in microseconds.
    fn fraction(&mut self) -> Option<i64> {
        let all = self.digits();
        let kept = all.min(6);
        let micros = self.number(1, 6)? * 10i64.pow(6 - kept as u32);
        self.0 = &self.0[all - kept..];
        Some(micros)
    }

    /// What the clock is ahead of UTC; nothing means UTC.
    fn offset(&mut self) -> Option<i64> {
        if self.0.is_empty() {
            return Some(0);
        }
        let spaced = self.byte(b' ').is_some();
        if spaced && self.0 == b"UTC" {
            self.0 = &[];
            return Some(0);
        }
        if self.byte(b'Z').or_else(|| self.byte(b'z')).is_some() {
            return Some(0);
        }
        let sign = match (self.byte(b'+'), self.byte(b'-')) {
            (Some(()), _) => 1,
            (None, Some(())) => -1,
            (None, None) => return None,
        };
        let hours = self.number(2, 2).filter(|h| *h < 24)?;
        let minutes = if self.0.is_empty() {
            0
        } else {
            let _optional = self.byte(b':');
            self.number(2, 2).filter(|m| *m < 60)?
        };
        Some(sign * (hours * HOUR + minutes * MINUTE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_that_qdrant_takes() {
        let noon = 1_609_502_400 * SECOND;
        for text in [
            "2021-01-01T12:00:00Z",
            "2021-01-01t12:00:00z",
            "2021-01-01T12:00:00",
            "2021-01-01 12:00:00",
            "2021-01-01 12:00",
            "2021-01-01T12:00",
            " 2021-1-1 12:0:0",
            "2021-01-01T13:00:00+01:00",
            "2021-01-01T13:00:00+0100",
            "2021-01-01 13:00:00.000+01",
            "2021-01-01T07:30:00 -0430",
            "2021-01-01 12:00:00 UTC",
            "2021-01-01T11:59:60Z",
            "2021-01-01T12:00:00.0000004Z",
        ] {
            assert_eq!(parse(text), Some(noon), "{text}");
        }
        assert_eq!(parse("1970-01-01"), Some(0));
        assert_eq!(parse("2000-02-29"), Some(951_782_400 * SECOND));
        assert_eq!(parse("1969-12-31T23:59:59.999999"), Some(-1));
        assert_eq!(parse("0001-01-01"), Some(-62_135_596_800 * SECOND));
        assert_eq!(parse("2021-01-01T12:00:00.5"), Some(noon + SECOND / 2));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "2021",
            "2021-02-29",
            "2021-13-01",
            "2021-00-01",
            "2021-01-32",
            "2021-01-01T",
            "2021-01-01 12",
            "2021-01-01T24:00",
            "2021-01-01T12:60",
            "2021-01-01T12:00Z",
            "2021-01-01T12:00:00.",
            "2021-01-01T12:00:00+1",
            "2021-01-01T12:00:00Zz",
            "2021-01-01T12:00:00 ",
            "yesterday",
            "１９７０-01-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-0-9TZ :.+]{0,30}") {
            let _read = parse(&text);
        }

        /// Days follow each other without gaps.
        #[test]
        fn the_next_day_is_a_day_later(year in 1i64..9999, month in 1i64..13, day in 1i64..32) {
            if let Some(today) = days(year, month, day) {
                let next = days(year, month, day + 1)
                    .or_else(|| days(year, month + 1, 1))
                    .or_else(|| days(year + 1, 1, 1));
                prop_assert_eq!(next, Some(today + 1));
            }
        }
    }
}
