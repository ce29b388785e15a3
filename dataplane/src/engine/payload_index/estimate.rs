//! How many rows match, from what indexes know without looking.

/// Bounds and a guess. Of two conditions nothing is known about how they go together: the guess takes them as independent,
/// the bounds hold however they do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    /// At least.
    pub(crate) min: usize,
    /// Probably.
    pub(crate) expected: f64,
    /// At most.
    pub(crate) max: usize,
    /// Whether the guess rests on indexes alone; otherwise a part of the condition was taken to hold for half of the rows
    /// that the rest leaves.
    pub(crate) informed: bool,
}

impl Estimate {
    /// Exactly so many.
    pub(crate) fn exact(count: usize) -> Self {
        Self {
            min: count,
            expected: count as f64,
            max: count,
            informed: true,
        }
    }

    /// Any number of `rows`.
    pub(crate) fn unknown(rows: usize) -> Self {
        Self {
            min: 0,
            expected: rows as f64 / 2.0,
            max: rows,
            informed: false,
        }
    }

    /// The same with a guess within the bounds.
    fn clamped(self) -> Self {
        let (min, max) = (self.min as f64, self.max.max(self.min) as f64);
        Self {
            expected: self.expected.clamp(min, max),
            ..self
        }
    }

    /// All of `parts` hold.
    pub(crate) fn all(parts: &[Self], rows: usize) -> Self {
        let lacking: usize = parts.iter().map(|p| rows.saturating_sub(p.min)).sum();
        Self {
            min: rows.saturating_sub(lacking),
            expected: parts
                .iter()
                .fold(rows as f64, |left, p| left * p.share(rows)),
            max: parts.iter().map(|p| p.max).fold(rows, usize::min),
            informed: parts.iter().all(|p| p.informed),
        }
        .clamped()
    }

    /// At least `count` of `parts` hold; `count` is at least 1.
    pub(crate) fn at_least(count: usize, parts: &[Self], rows: usize) -> Self {
        if count > parts.len() {
            return Self::exact(0);
        }
        // Each row counts in at most `count - 1` parts unless it matches, and in all of them at most.
        let total: usize = parts.iter().map(|p| p.min).sum();
        let spare = total.saturating_sub((count - 1) * rows);
        let together = spare.div_ceil(parts.len() + 1 - count);
        let widest = match count {
            1 => parts.iter().map(|p| p.min).max().unwrap_or(0),
            _ => 0,
        };
        // The chance that exactly i parts hold, part after part.
        let mut chance = vec![0.0; parts.len() + 1];
        chance[0] = 1.0;
        for part in parts {
            let share = part.share(rows);
            for i in (1..chance.len()).rev() {
                chance[i] = chance[i] * (1.0 - share) + chance[i - 1] * share;
            }
            chance[0] *= 1.0 - share;
        }
        let most: usize = parts.iter().map(|p| p.max).sum();
        Self {
            min: together.max(widest).min(rows),
            expected: rows as f64 * chance[count..].iter().sum::<f64>(),
            max: (most / count).min(rows),
            informed: parts.iter().all(|p| p.informed),
        }
        .clamped()
    }

    /// It does not hold.
    pub(crate) fn not(self, rows: usize) -> Self {
        Self {
            min: rows.saturating_sub(self.max),
            expected: rows as f64 - self.expected,
            max: rows.saturating_sub(self.min),
            informed: self.informed,
        }
    }

    fn share(&self, rows: usize) -> f64 {
        if rows == 0 {
            return 0.0;
        }
        (self.expected / rows as f64).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn independent_conditions_multiply() {
        let (half, tenth) = (Estimate::exact(500), Estimate::exact(100));
        let both = Estimate::all(&[half, tenth], 1000);
        assert_eq!((both.min, both.expected, both.max), (0, 50.0, 100));
        let either = Estimate::at_least(1, &[half, tenth], 1000);
        assert_eq!((either.min, either.expected, either.max), (500, 550.0, 600));
        let most = Estimate::all(&[Estimate::exact(900), Estimate::exact(800)], 1000);
        assert_eq!((most.min, most.expected, most.max), (700, 720.0, 800));
        assert_eq!(half.not(1000), half);
        assert!(!Estimate::all(&[half, Estimate::unknown(1000)], 1000).informed);
        assert_eq!(Estimate::all(&[], 10), Estimate::exact(10));
        assert_eq!(Estimate::at_least(1, &[], 10), Estimate::exact(0));
    }

    proptest! {
        /// However sets lie to each other, what they give together is within the bounds.
        #[test]
        fn bounds_hold(
            sets in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 20), 1..5),
            count in 1usize..6,
        ) {
            let rows = 20;
            let parts: Vec<Estimate> =
                sets.iter().map(|s| Estimate::exact(s.iter().filter(|m| **m).count())).collect();
            let hits = |row: usize| sets.iter().filter(|s| s[row]).count();
            let within = |estimate: Estimate, real: usize| {
                estimate.min <= real && real <= estimate.max
                    && (estimate.min as f64..=estimate.max as f64).contains(&estimate.expected)
            };
            let all = (0..rows).filter(|r| hits(*r) == sets.len()).count();
            prop_assert!(within(Estimate::all(&parts, rows), all));
            let enough = (0..rows).filter(|r| hits(*r) >= count).count();
            prop_assert!(within(Estimate::at_least(count, &parts, rows), enough));
            prop_assert!(within(Estimate::at_least(count, &parts, rows).not(rows), rows - enough));
        }
    }
}
