//! Who may plan: a lease that is kept in the assignment table itself.
//!
//! The lease and what it guards are one object, so the compare-and-swap that writes an assignment is also the check that its writer
//! still holds the lease: there is no moment between the two in which another planner could be elected.
//!
//! # Invariants
//! - Terms only grow, and a term has one holder at most.
//! - A write under a [`Mandate`] takes effect only on a table that names the same lease (or, for an election, the lease that the
//!   candidate observed). A planner that was paused and wakes up after an election therefore writes nothing.

use serde::{Deserialize, Serialize};

use crate::lease::Identity;

/// The planner of a cluster that coordinates itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannerLease {
    /// Grows by one with every election.
    pub term: u64,
    /// Who was elected; `None` after it resigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Identity>,
}

impl PlannerLease {
    /// The lease that `me` asks for after `observed`.
    #[must_use]
    pub fn after(observed: Option<&Self>, me: &Identity) -> Self {
        Self {
            term: observed.map_or(0, |lease| lease.term) + 1,
            holder: Some(me.clone()),
        }
    }
}

/// By what right a process plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mandate {
    /// This lease.
    Holds(PlannerLease),
    /// It stands for election.
    Elects {
        /// The lease that it found, whose holder is gone, resigned, or never was.
        over: Option<PlannerLease>,
        /// The lease that it asks for.
        lease: PlannerLease,
    },
    /// It gives this lease back.
    Resigns(PlannerLease),
}

/// The table names another planner than the writer relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deposed {
    /// The lease in the table; `None` when an orchestrator plans.
    pub found: Option<PlannerLease>,
}

impl Mandate {
    /// Checks the lease of a table that is about to be written, and sets the one that it is to have. Idempotent: a table that was
    /// written under this mandate before (and whose answer was lost) passes again.
    ///
    /// # Errors
    /// [`Deposed`]; nothing may be written then.
    pub fn enforce(&self, lease: &mut Option<PlannerLease>) -> Result<(), Deposed> {
        let allowed = match self {
            Self::Holds(mine) => lease.as_ref() == Some(mine),
            Self::Elects {
                over,
                lease: wanted,
            } => lease == over || lease.as_ref() == Some(wanted),
            Self::Resigns(mine) => {
                let term = lease.as_ref().map(|lease| lease.term);
                lease.as_ref() == Some(mine)
                    || (term == Some(mine.term)
                        && lease.as_ref().is_some_and(|l| l.holder.is_none()))
            }
        };
        if !allowed {
            return Err(Deposed {
                found: lease.clone(),
            });
        }
        *lease = match self {
            Self::Holds(mine) | Self::Elects { lease: mine, .. } => Some(mine.clone()),
            Self::Resigns(mine) => Some(PlannerLease {
                term: mine.term,
                holder: None,
            }),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{InstanceId, Nonce};

    fn lease(term: u64, name: &str) -> PlannerLease {
        PlannerLease {
            term,
            holder: Some(Identity {
                instance: InstanceId::new(name).unwrap(),
                incarnation: Nonce(7),
            }),
        }
    }

    #[test]
    fn one_of_two_candidates_wins_and_the_planner_before_them_writes_no_more() {
        let (old, a, b) = (lease(3, "old"), lease(4, "a"), lease(4, "b"));
        let elects = |lease: &PlannerLease| Mandate::Elects {
            over: Some(old.clone()),
            lease: lease.clone(),
        };
        let mut table = Some(old.clone());
        Mandate::Holds(old.clone()).enforce(&mut table).unwrap();
        elects(&a).enforce(&mut table).unwrap();
        assert_eq!(table, Some(a.clone()));
        // Its own answer was lost: it finds what it wrote.
        elects(&a).enforce(&mut table).unwrap();
        for late in [
            elects(&b),
            Mandate::Holds(old.clone()),
            Mandate::Resigns(old),
        ] {
            let deposed = late.enforce(&mut table).unwrap_err();
            assert_eq!(deposed.found, Some(a.clone()), "{late:?}");
        }
        Mandate::Resigns(a.clone()).enforce(&mut table).unwrap();
        Mandate::Resigns(a.clone()).enforce(&mut table).unwrap();
        assert!(Mandate::Holds(a.clone()).enforce(&mut table).is_err());
        let next = PlannerLease::after(table.as_ref(), b.holder.as_ref().unwrap());
        assert_eq!(next.term, 5);
        let mut orchestrated = None;
        let deposed = Mandate::Holds(a).enforce(&mut orchestrated).unwrap_err();
        assert_eq!(deposed.found, None);
    }
}
