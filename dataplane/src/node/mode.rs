//! What a node's role makes of its resources: may it read and write, and how is its memory used. Pure arithmetic.
//!
//! | mode | cache | write buffers | moves into the cache |
//! |---|---|---|---|
//! | reader | 80% | 4% | whatever a search touches, and what fits; nothing expires |
//! | writer | 20% | 33% | nothing: what merges read, they read once |
//! | hybrid, standalone | 50%, moves between 30 and 60 | 15%, what the cache does not have of 65 | what is read again |

use brainy_coordination::assignment::Role;
use brainy_coordination::wal::AppenderConfig;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationalMode {
    /// Serves searches.
    Reader,
    /// Takes writes.
    Writer,
    /// Both.
    Hybrid,
}

/// When a part of a segment moves into memory for which other parts would have to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// Never.
    Never,
    /// When it was read about as often as so many searches do.
    AfterSearches(u64),
    /// When it was read at all, and also before where there is room.
    OnTouch,
}

/// How a mode uses the memory for segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStrategy {
    /// Its share of the memory budget, percent.
    pub percent: u64,
    /// Whether the share follows the load.
    pub adapts: bool,
    /// What moves into it.
    pub promotion: Promotion,
}

impl OperationalMode {
    /// That of a role; standalone (`None`) is a hybrid without others.
    #[must_use]
    pub fn of(role: Option<Role>) -> Self {
        match role {
            Some(Role::Reader) => Self::Reader,
            Some(Role::Writer) => Self::Writer,
            Some(Role::Hybrid) | None => Self::Hybrid,
        }
    }

    /// Whether it serves searches.
    #[must_use]
    pub fn can_read(self) -> bool {
        self != Self::Writer
    }

    /// Whether it takes writes, of partitions whose lease it holds.
    #[must_use]
    pub fn can_write(self) -> bool {
        self != Self::Reader
    }

    /// Whether it deletes points: deletions are writes.
    #[must_use]
    pub fn can_delete(self) -> bool {
        self.can_write()
    }

    /// How it uses the memory for segments.
    #[must_use]
    pub fn cache(self) -> CacheStrategy {
        match self {
            Self::Reader => CacheStrategy {
                percent: 80,
                adapts: false,
                promotion: Promotion::OnTouch,
            },
            Self::Writer => CacheStrategy {
                percent: 20,
                adapts: false,
                promotion: Promotion::Never,
            },
            Self::Hybrid => CacheStrategy {
                percent: 50,
                adapts: true,
                promotion: Promotion::AfterSearches(2),
            },
        }
    }

    /// The shape of its log objects. A group takes whatever waits, so it grows with the load; who only writes makes them larger and
    /// has more on their way.
    #[must_use]
    pub fn appender(self) -> AppenderConfig {
        match self {
            Self::Writer => AppenderConfig {
                max_in_flight: 8,
                max_object_entries: 1024,
                ..AppenderConfig::default()
            },
            Self::Reader | Self::Hybrid => AppenderConfig::default(),
        }
    }
}

/// Percent of the budget that cache and write buffers have together where the border between them moves.
pub(super) const SHARED: u64 = 65;
const LEAST_CACHE: u64 = 30;
const MOST_CACHE: u64 = 60;
const STEP: u64 = 5;
/// So many looks in a row must say the same before the border moves.
const PATIENCE: u32 = 3;

/// What a look at the load found since the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pressure {
    /// Searches read parts from disk that there was no room for.
    pub(super) cache: bool,
    /// Writes were refused, or buffers were flushed early, for want of memory.
    pub(super) buffers: bool,
}

/// Where the cache ends and write buffers begin, in percent of the budget. Moves only if one side lacks memory and the other does
/// not, for [`PATIENCE`] looks, by [`STEP`], within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Border {
    pub(super) cache: u64,
    /// Looks in a row: above zero for a larger cache, below for larger buffers.
    trend: i32,
}

impl Border {
    pub(super) fn at(cache: u64) -> Self {
        Self { cache, trend: 0 }
    }

    /// The border after a look.
    #[must_use]
    pub(super) fn after(self, pressure: Pressure) -> Self {
        let trend = match (pressure.cache, pressure.buffers) {
            (true, false) => self.trend.max(0) + 1,
            (false, true) => self.trend.min(0) - 1,
            _ => 0,
        };
        if trend.unsigned_abs() < PATIENCE {
            return Self { trend, ..self };
        }
        Self::at(match trend > 0 {
            true => (self.cache + STEP).min(MOST_CACHE),
            false => self.cache.saturating_sub(STEP).max(LEAST_CACHE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_may_do_what_follows_from_the_role() {
        for (role, mode, read, write) in [
            (Some(Role::Reader), OperationalMode::Reader, true, false),
            (Some(Role::Writer), OperationalMode::Writer, false, true),
            (Some(Role::Hybrid), OperationalMode::Hybrid, true, true),
            (None, OperationalMode::Hybrid, true, true),
        ] {
            assert_eq!(OperationalMode::of(role), mode);
            let may = (mode.can_read(), mode.can_write(), mode.can_delete());
            assert_eq!(may, (read, write, write));
        }
        let percents = [
            OperationalMode::Reader,
            OperationalMode::Writer,
            OperationalMode::Hybrid,
        ]
        .map(|mode| mode.cache().percent);
        assert_eq!(percents, [80, 20, 50]);
    }

    const SEARCHES: Pressure = Pressure {
        cache: true,
        buffers: false,
    };
    const WRITES: Pressure = Pressure {
        cache: false,
        buffers: true,
    };

    #[test]
    fn the_border_moves_to_the_side_that_lacks_memory_and_not_before_it_is_sure() {
        let start = Border::at(50);
        let twice = start.after(SEARCHES).after(SEARCHES);
        assert_eq!(twice.cache, 50);
        assert_eq!(twice.after(SEARCHES).cache, 55);
        assert_eq!(twice.after(Pressure::default()).after(SEARCHES).cache, 50);
        let writes = (0..3).fold(start, |border, _| border.after(WRITES));
        assert_eq!(writes.cache, 45);
        // Both at once: nobody is better off.
        let both = Pressure {
            cache: true,
            buffers: true,
        };
        assert_eq!((0..9).fold(start, |border, _| border.after(both)).cache, 50);
    }

    proptest! {
        /// Whatever the load, both sides keep something, and a mixed load does not make the border swing.
        #[test]
        fn the_border_stays_within_bounds(looks in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..200)) {
            let mut border = Border::at(50);
            let mut moved = 0u32;
            for (cache, buffers) in &looks {
                let next = border.after(Pressure { cache: *cache, buffers: *buffers });
                moved += u32::from(next.cache != border.cache);
                border = next;
                prop_assert!((LEAST_CACHE..=MOST_CACHE).contains(&border.cache));
                prop_assert!(SHARED - border.cache >= 5);
            }
            prop_assert!(moved as usize <= looks.len() / PATIENCE as usize);
        }
    }
}
