//! What the log of a node says of versions and when. Pure.

use std::time::{Duration, SystemTime};

use serde_json::Value;

fn lines(log: &str) -> impl DoubleEndedIterator<Item = Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
}

/// Where the node serves, once it does.
pub(super) fn address(log: &str) -> Option<String> {
    let serving = lines(log).find(|line| line["message"] == "serving")?;
    serving["address"].as_str().map(ToOwned::to_owned)
}

/// When the node said that `version` is in force.
pub(super) fn applied(log: &str, version: u64) -> Option<SystemTime> {
    let said = lines(log).rev().find(|line| {
        line["message"] == "shared configuration applied" && line["version"] == version
    })?;
    time(said["timestamp"].as_str()?)
}

/// `2026-01-31T23:59:58.123456Z`.
fn time(text: &str) -> Option<SystemTime> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = clock.split(':');
    let (hour, minute) = (
        clock.next()?.parse::<u64>().ok()?,
        clock.next()?.parse::<u64>().ok()?,
    );
    let seconds = clock.next()?.parse::<f64>().ok()?;
    let days = u64::try_from(days_since_1970(year, month, day)).ok()?;
    let whole = Duration::from_secs(days * 86_400 + hour * 3_600 + minute * 60);
    Some(SystemTime::UNIX_EPOCH + whole + Duration::try_from_secs_f64(seconds).ok()?)
}

/// Of the Gregorian calendar; years begin in March, so that leap days end them.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + day - 1;
    days - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_says_where_and_when() {
        let log = r#"{"timestamp":"1970-01-02T00:00:01.500000Z","message":"serving","address":"127.0.0.1:7"}
not json
{"timestamp":"2024-03-01T12:30:15.250000Z","message":"shared configuration applied","version":3}
"#;
        assert_eq!(address(log).unwrap(), "127.0.0.1:7");
        assert_eq!(applied(log, 2), None);
        let at = applied(log, 3).unwrap();
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since, Duration::from_millis(1_709_296_215_250));
        assert_eq!(
            time("1970-01-02T00:00:01.500000Z").unwrap(),
            SystemTime::UNIX_EPOCH + Duration::from_millis(86_401_500)
        );
        assert_eq!(time("yesterday"), None);
    }
}
