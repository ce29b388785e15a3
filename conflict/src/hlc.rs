//! Hybrid logical clock, after Kulkarni, Demirbas, Madappa, Avva, Leone: "Logical Physical Clocks" (2014).
//!
//! A stamp is at least the wall clock of who made it, and above everything that it had seen. It stays within the bounded
//! drift of wall clocks: a clock that would have to run further ahead says so instead.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bits of the counter that orders stamps of one millisecond.
const COUNTER_BITS: u32 = 16;

/// Milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first reading of a millisecond.
    #[must_use]
    pub const fn at(millis: u64) -> Self {
        Self(millis << COUNTER_BITS)
    }

    /// Its milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }
}

/// Who writes: 64 bits of the hash of an instance's name. Two names of one cluster that collide are as likely as a damaged bit that
/// no checksum notices.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Writer(pub u64);

impl Writer {
    /// That of an instance of one of several clusters that exchange what they hold: names of instances repeat among clusters. `cluster` is the
    /// cluster's identity. Part of the storage format, as [`Self::named`].
    #[must_use]
    pub fn of(cluster: &str, instance: &str) -> Self {
        Self::named(&format!("{cluster}/{instance}"))
    }

    /// That of an instance. Part of the storage format: FNV-1a with a final mix; never changes.
    #[must_use]
    pub fn named(instance: &str) -> Self {
        let hash = instance
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        Self(hash ^ (hash >> 33))
    }
}

/// When and by whom: unique to a write, totally ordered.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Stamp {
    /// When.
    pub hlc: Hlc,
    /// By whom; decides between equal times.
    pub writer: Writer,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.hlc.0, self.writer.0)
    }
}

/// A clock would have to run too far ahead of the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a write is stamped {ahead_ms} ms after this instance's clock, more than the {limit_ms} ms that clocks may differ: check NTP on all instances"
)]
pub struct ClockDrift {
    /// Milliseconds between the stamp and the wall clock.
    pub ahead_ms: u64,
    /// How many are allowed.
    pub limit_ms: u64,
}

/// The clock of one writer. The caller brings the wall clock, in milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct Clock {
    writer: Writer,
    last: Hlc,
    max_drift_ms: u64,
}

impl Clock {
    /// How far stamps may be ahead of the wall clock unless said otherwise: one minute.
    pub const MAX_DRIFT_MS: u64 = 60_000;

    /// A clock that has seen nothing.
    #[must_use]
    pub fn new(writer: Writer, max_drift_ms: u64) -> Self {
        Self {
            writer,
            last: Hlc::default(),
            max_drift_ms,
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn writer(&self) -> Writer {
        self.writer
    }

    /// A new stamp, above all before and above `seen`, which is what the write builds on.
    ///
    /// # Errors
    /// [`ClockDrift`] if it had to be too far ahead; the clock stays as it was.
    pub fn tick(&mut self, now_ms: u64, seen: Hlc) -> Result<Stamp, ClockDrift> {
        let next = Hlc::at(now_ms).max(Hlc(self.last.max(seen).0.saturating_add(1)));
        self.bounded(next, now_ms)?;
        self.last = next;
        Ok(Stamp {
            hlc: next,
            writer: self.writer,
        })
    }

    /// Notes a stamp of another writer, so that the next one is above it.
    ///
    /// # Errors
    /// [`ClockDrift`] for one too far ahead, which is not followed.
    pub fn observe(&mut self, seen: Hlc, now_ms: u64) -> Result<(), ClockDrift> {
        self.bounded(seen, now_ms)?;
        self.last = self.last.max(seen);
        Ok(())
    }

    fn bounded(&self, hlc: Hlc, now_ms: u64) -> Result<(), ClockDrift> {
        let ahead_ms = hlc.millis().saturating_sub(now_ms);
        match ahead_ms > self.max_drift_ms {
            true => Err(ClockDrift {
                ahead_ms,
                limit_ms: self.max_drift_ms,
            }),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_whatever_the_wall_clock_does() {
        let mut clock = Clock::new(Writer::named("a"), 1000);
        let mut last = Stamp::default();
        for now in [50_000, 50_000, 49_500, 49_400, 60_000, 59_900] {
            let stamp = clock.tick(now, Hlc::default()).unwrap();
            assert!(stamp > last, "{stamp} {last}");
            last = stamp;
        }
        assert_eq!(last.hlc.millis(), 60_000);
    }

    #[test]
    fn a_write_is_stamped_after_what_it_builds_on() {
        let mut clock = Clock::new(Writer::named("a"), 1000);
        let seen = Hlc::at(10_900);
        assert!(clock.tick(10_000, seen).unwrap().hlc > seen);
        clock.observe(Hlc::at(10_950), 10_000).unwrap();
        assert!(clock.tick(10_000, Hlc::default()).unwrap().hlc > Hlc::at(10_950));
    }

    #[test]
    fn stamps_far_in_the_future_are_refused_by_name() {
        let mut clock = Clock::new(Writer::named("a"), 1000);
        let drift = clock.observe(Hlc::at(20_000), 10_000).unwrap_err();
        assert_eq!((drift.ahead_ms, drift.limit_ms), (10_000, 1000));
        assert!(drift.to_string().contains("NTP"), "{drift}");
        assert!(clock.tick(10_000, Hlc::at(20_000)).is_err());
        let next = clock.tick(10_000, Hlc::default()).unwrap();
        assert_eq!(next.hlc.millis(), 10_000, "it was not followed");
    }

    #[test]
    fn names_keep_their_writers() {
        assert_eq!(
            Writer::named("hybrid-0"),
            Writer(11_156_154_085_156_278_087)
        );
        assert_ne!(Writer::named("hybrid-1"), Writer::named("hybrid-0"));
    }
}
