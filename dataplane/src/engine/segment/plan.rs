//! How to search a segment under a filter: pure arithmetic over counts.
//!
//! Three ways: a *walk* of the graph that collects only rows that match; a comparison with every *candidate*, which indexes
//! chose; a *scan* of all rows, which is the same where no index narrows them down. Comparing with candidates is exact and its
//! cost is known. A walk that collects `ef` rows compares with more the fewer rows match, and more than expected where those
//! that match are not near the query; so it gets a budget, what a comparison would cost, and when that is spent the
//! candidates are compared: a search costs about twice the cheaper way at most.
//!
//! Costs are nanoseconds of one core of 2020s server hardware; only their ratios matter (`make bench-filter` measures them).

/// To compare with one row: this and [`COMPONENT`] a dimension.
const ROW: f64 = 12.0;
/// Per dimension of a compared row.
const COMPONENT: f64 = 0.22;
/// To find, reach and queue a row in a walk, on top of comparing.
const STEP: f64 = 45.0;
/// To read of a row's payload what a filter looks at.
const PAYLOAD: f64 = 700.0;
/// Rows that a walk compares with for each one that it collects, when all match.
const STEPS_PER_HIT: f64 = 14.0;
/// To add a row to a set of rows.
const MEMBER: f64 = 1.5;

/// What is known of a search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Rows that the graph leads to.
    pub(super) rows: usize,
    /// Dimensions.
    pub(super) size: usize,
    /// Rows that a walk collects.
    pub(super) ef: usize,
    /// Rows among which all that match are.
    pub(super) candidates: usize,
    /// Whether payloads decide which candidates match.
    pub(super) residual: bool,
    /// Of `sampled` candidates so many match.
    pub(super) hits: usize,
    /// See `hits`.
    pub(super) sampled: usize,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plan {
    /// Compare with the candidates.
    Compare,
    /// Walk the graph; give up after comparing with so many rows.
    Walk {
        /// Rows.
        budget: usize,
        /// Part of all rows that matches, 0 to 1.
        share: f64,
    },
}

/// How one segment is searched, for those who want to know why a search takes its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Explanation {
    /// Rows among which all that match are.
    pub candidates: usize,
    /// Whether indexes decide alone; otherwise payloads are read.
    pub exact: bool,
    /// What is done.
    pub plan: Plan,
}

/// The cheaper way.
pub(super) fn plan(facts: &Facts) -> Plan {
    let Facts {
        rows,
        size,
        ef,
        candidates,
        residual,
        hits,
        sampled,
    } = *facts;
    // Where nothing in the sample matches so little does that the safe way costs one pass over the candidates.
    if hits == 0 || candidates <= ef {
        return Plan::Compare;
    }
    let row = ROW + COMPONENT * size as f64;
    let compare = candidates as f64 * row;
    let density = candidates as f64 / rows.max(1) as f64;
    let share = density * hits as f64 / sampled.max(1) as f64;
    // A walk asks the payload of each candidate that it meets; a comparison only of those near enough to matter.
    let step = row + STEP + if residual { density * PAYLOAD } else { 0.0 };
    let steps = (ef as f64 * STEPS_PER_HIT / share).min(rows as f64);
    if steps * step < compare {
        let budget = (compare / step) as usize;
        Plan::Walk { budget, share }
    } else {
        Plan::Compare
    }
}

/// Whether a page of `limit` rows is found faster through an index, which lists all of the (about) `matching` rows first, than
/// by reading the payloads of rows one after the other until the page is full.
pub(crate) fn lists_first(rows: usize, matching: f64, limit: usize) -> bool {
    let read = (rows as f64).min(limit as f64 * rows as f64 / matching.max(1.0));
    matching * MEMBER < read * PAYLOAD
}

/// Whether it is cheaper to read the payloads of `few` rows than to list the (about) `many` that fulfil one more condition.
pub(crate) fn reads_instead(few: usize, many: f64) -> bool {
    few as f64 * PAYLOAD < many * MEMBER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(rows: usize, candidates: usize) -> Facts {
        Facts {
            rows,
            size: 128,
            ef: 128,
            candidates,
            residual: false,
            hits: 100,
            sampled: 100,
        }
    }

    fn walks(facts: Facts) -> bool {
        matches!(plan(&facts), Plan::Walk { .. })
    }

    #[test]
    fn few_candidates_are_compared_and_many_are_walked() {
        for (rows, candidates, walk) in [
            (1_000_000, 1_000_000, true),
            (1_000_000, 500_000, true),
            (1_000_000, 100_000, true),
            (1_000_000, 10_000, false),
            (1_000_000, 1_000, false),
            (20_000, 20_000, true),
            (20_000, 2_000, false),
            (2_000, 2_000, false),
            (1_000_000, 100, false),
        ] {
            assert_eq!(
                walks(facts(rows, candidates)),
                walk,
                "{candidates} of {rows}"
            );
        }
    }

    #[test]
    fn what_the_sample_says_counts() {
        let all = facts(1_000_000, 1_000_000);
        let few = Facts { hits: 1, ..all };
        assert!(walks(Facts { hits: 10, ..all }));
        assert!(walks(few) || plan(&few) == Plan::Compare);
        assert_eq!(plan(&Facts { hits: 0, ..all }), Plan::Compare);
        assert_eq!(
            plan(&Facts {
                sampled: 0,
                hits: 0,
                ..all
            }),
            Plan::Compare
        );
    }

    #[test]
    fn payloads_to_read_make_walks_dear() {
        let bits = facts(30_000, 18_000);
        assert!(walks(bits));
        assert!(!walks(Facts {
            residual: true,
            ..bits
        }));
    }

    #[test]
    fn a_wider_walk_needs_more_rows_to_pay() {
        let narrow = Facts {
            ef: 32,
            ..facts(30_000, 20_000)
        };
        assert!(walks(narrow));
        assert!(!walks(Facts {
            ef: 2_000,
            ..narrow
        }));
        assert!(!walks(Facts {
            ef: usize::MAX,
            ..narrow
        }));
    }

    #[test]
    fn a_budget_is_worth_a_comparison() {
        let facts = facts(1_000_000, 200_000);
        let Plan::Walk { budget, .. } = plan(&facts) else {
            panic!("a walk")
        };
        assert!((50_000..200_000).contains(&budget), "{budget}");
    }

    #[test]
    fn pages_of_common_values_are_read_row_by_row() {
        assert!(lists_first(1_000_000, 100.0, 10));
        assert!(lists_first(1_000_000, 10_000.0, 10));
        assert!(!lists_first(1_000_000, 500_000.0, 10));
        assert!(lists_first(1_000_000, 500_000.0, usize::MAX));
        assert!(lists_first(1_000_000, 0.0, 10));
        assert!(reads_instead(10, 100_000.0));
        assert!(!reads_instead(10_000, 100_000.0));
    }
}
