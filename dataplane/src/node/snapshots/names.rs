//! Names of snapshots: `{collection}-{number}-{date}.snapshot`, as Qdrant's, whose number is that of a process. Here it is random,
//! so that no two snapshots ever have one name.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::snapshots::Scope;

/// Seconds since 1970 by this machine's clock.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// A name for a snapshot that is made at `now`.
pub(super) fn name(scope: &Scope, now: u64) -> String {
    let stem = match scope {
        Scope::Collection(name) => name.as_str(),
        Scope::Whole => "full-snapshot",
    };
    let number: u64 = rand::random();
    // As long as the longest number of Qdrant.
    let number = number % 10_000_000_000_000_000;
    let [y, mo, d, h, mi, s] = civil(now);
    format!("{stem}-{number}-{y:04}-{mo:02}-{d:02}-{h:02}-{mi:02}-{s:02}.snapshot")
}

/// Year, month, day, hour, minute and second (UTC) of a moment after 1970: Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`.
pub(crate) fn civil(seconds: u64) -> [u64; 6] {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    [year, month, day, time / 3_600, time / 60 % 60, time % 60]
}

#[cfg(test)]
mod tests {
    use super::*;
    use brainy_coordination::snapshot::check_snapshot_name;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(civil(0), [1970, 1, 1, 0, 0, 0]);
        assert_eq!(civil(951_827_696), [2000, 2, 29, 12, 34, 56]);
        assert_eq!(civil(1_709_251_199), [2024, 2, 29, 23, 59, 59]);
        assert_eq!(civil(1_767_225_600), [2026, 1, 1, 0, 0, 0]);
        assert_eq!(civil(4_107_542_400), [2100, 3, 1, 0, 0, 0]);
    }

    #[test]
    fn names_say_what_and_when_and_never_repeat() {
        let longest = Scope::Collection("c".repeat(128));
        for scope in [Scope::Collection("a.b-c".to_owned()), Scope::Whole, longest] {
            let made = name(&scope, 951_827_696);
            assert!(made.ends_with("-2000-02-29-12-34-56.snapshot"), "{made}");
            check_snapshot_name(&made).unwrap();
            assert_ne!(made, name(&scope, 951_827_696));
        }
        assert!(name(&Scope::Whole, 0).starts_with("full-snapshot-"));
    }
}
