//! What a process does next about a partition: the handoff of ownership as a state machine.
//!
//! The state is not kept anywhere of its own. It is read off three things that survive any crash, the assignment table,
//! the lease and what this process holds, and [`next`] is a pure function of them. So every step can be repeated, resumed
//! by another run of the process, and undone while it is not finished (design rule 8).
//!
//! | | table | lease | the successor | the owner |
//! |---|---|---|---|---|
//! | 1 announced | owner A, handoff to B | held by A | warms up | serves |
//! | 2 warm | same | held by A | asks A to release | seals: refuses writes, finishes those under way, releases |
//! | 3 released | same | released by A | takes over: next epoch, fence, replay | follows or drops |
//! | 4 taken | same | held by B | serves, publishes itself in the table | |
//! | 5 done | owner B | held by B | serves | drops |
//!
//! After a crash of A the table says that A is gone, and B goes from 1 to 3 without asking. Cancelling before step 3
//! means removing the handoff from the table: B drops its copy. After step 3 A, if it is wanted again, takes the
//! released lease like anybody else. If A crashes and comes back before anybody calls it gone, it owns nothing but is still
//! named by the lease: asked to release, it gives the lease up ([`crate::lease::give_up`]).

use crate::assignment::PartitionAssignment;
use crate::lease::{Identity, Lease, OwnerEvidence, TakeReason, Verdict, decide};
use crate::types::InstanceId;

/// What this process holds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// Nothing.
    Nothing,
    /// A replica that is still loading.
    Warming,
    /// A replica that has caught up.
    Warm,
    /// Ownership: it acknowledges writes.
    Owning,
    /// Ownership that is being released.
    Sealing,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing to do until something changes.
    Wait,
    /// Load a replica.
    Warm,
    /// Ask the owner to seal and release.
    AskRelease(InstanceId),
    /// Take the partition over.
    TakeOver(TakeReason),
    /// Write into the table that this process owns the partition.
    Publish,
    /// Stop accepting writes and release: the table gives the partition to somebody else without a handoff from us, or
    /// somebody else has the lease.
    Seal,
    /// Forget the replica.
    Drop,
}

/// Whether the table wants `me` to own the partition, now or as the target of a handoff.
#[must_use]
pub fn wanted(assignment: Option<&PartitionAssignment>, me: &InstanceId) -> bool {
    assignment.and_then(PartitionAssignment::target_owner) == Some(me)
}

/// Whether the owner may release to `successor`: the table must say so, so that a stale or forged request moves nothing.
#[must_use]
pub fn may_release(
    assignment: Option<&PartitionAssignment>,
    me: &InstanceId,
    successor: &InstanceId,
) -> bool {
    wanted(assignment, successor) && successor != me
}

/// Decides the next step. Pure. `evidence` is about the owner in `lease`; `reads` says whether this process also serves
/// reads of the partition. An owner may pass no `lease`; with one, read since it owns, it learns that it was deposed even if
/// nobody writes.
#[must_use]
pub fn next(
    me: &Identity,
    assignment: Option<&PartitionAssignment>,
    lease: Option<&Lease>,
    evidence: OwnerEvidence,
    local: Local,
    reads: bool,
) -> Action {
    let wanted = wanted(assignment, &me.instance);
    match local {
        Local::Sealing => Action::Wait,
        // Somebody took the partition over, and no write has told us yet.
        Local::Owning if lease.is_some_and(|l| l.owner != *me) => Action::Seal,
        Local::Owning if wanted => {
            let published = assignment
                .is_some_and(|a| a.owner.as_ref() == Some(&me.instance) && a.handoff.is_none());
            if published {
                Action::Wait
            } else {
                Action::Publish
            }
        }
        Local::Owning => {
            // With a handoff from us, the successor asks when it is warm: until then the partition stays writable.
            let leaving = assignment
                .is_some_and(|a| a.owner.as_ref() == Some(&me.instance) && a.handoff.is_some());
            if leaving { Action::Wait } else { Action::Seal }
        }
        Local::Nothing if wanted || reads => Action::Warm,
        Local::Nothing | Local::Warming => Action::Wait,
        Local::Warm if wanted => match decide(lease, me, evidence) {
            Verdict::Take(reason) => Action::TakeOver(reason),
            Verdict::AskRelease(owner) => Action::AskRelease(owner),
        },
        Local::Warm if reads => Action::Wait,
        Local::Warm => Action::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assignment::{Handoff, HandoffReason};
    use crate::lease::LeaseState;
    use crate::types::{LogPosition, Nonce};

    fn id(name: &str) -> InstanceId {
        InstanceId::new(name).unwrap()
    }

    fn run(name: &str) -> Identity {
        Identity {
            instance: id(name),
            incarnation: Nonce(1),
        }
    }

    fn table(owner: &str, to: Option<&str>) -> PartitionAssignment {
        PartitionAssignment {
            owner: Some(id(owner)),
            handoff: to.map(|to| Handoff {
                to: id(to),
                reason: HandoffReason::Planned,
            }),
            readers: vec![],
        }
    }

    fn held(owner: &str) -> Lease {
        Lease {
            owner: run(owner),
            epoch: 1,
            state: LeaseState::Held,
        }
    }

    fn released(owner: &str) -> Lease {
        Lease {
            state: LeaseState::Released {
                at: LogPosition::new(1, 7),
                to: None,
            },
            ..held(owner)
        }
    }

    /// Every row of the module's table, for the successor B and the owner A.
    #[test]
    fn a_planned_handoff_step_by_step() {
        let (a, b) = (run("a"), run("b"));
        let t = table("a", Some("b"));
        let p = OwnerEvidence::Presumed;
        let (held_a, held_b) = (held("a"), held("b"));
        assert_eq!(
            next(&b, Some(&t), Some(&held_a), p, Local::Nothing, false),
            Action::Warm
        );
        assert_eq!(
            next(&b, Some(&t), Some(&held_a), p, Local::Warming, false),
            Action::Wait
        );
        assert_eq!(
            next(&a, Some(&t), Some(&held_a), p, Local::Owning, false),
            Action::Wait
        );
        assert_eq!(
            next(&b, Some(&t), Some(&held_a), p, Local::Warm, false),
            Action::AskRelease(id("a"))
        );
        assert!(may_release(Some(&t), &a.instance, &b.instance));
        assert!(!may_release(Some(&t), &a.instance, &id("c")));
        assert_eq!(
            next(&a, Some(&t), Some(&held_a), p, Local::Sealing, false),
            Action::Wait
        );
        assert_eq!(
            next(&b, Some(&t), Some(&released("a")), p, Local::Warm, false),
            Action::TakeOver(TakeReason::Released)
        );
        assert_eq!(
            next(&b, Some(&t), Some(&held_b), p, Local::Owning, false),
            Action::Publish
        );
        let done = table("b", None);
        assert_eq!(
            next(&b, Some(&done), Some(&held_b), p, Local::Owning, false),
            Action::Wait
        );
        assert_eq!(
            next(&a, Some(&done), Some(&held_b), p, Local::Warm, false),
            Action::Drop
        );
        assert_eq!(
            next(&a, Some(&done), Some(&held_b), p, Local::Warm, true),
            Action::Wait
        );
    }

    #[test]
    fn a_crash_needs_no_consent_and_a_cancelled_handoff_leaves_the_owner_writing() {
        let b = run("b");
        let t = table("a", Some("b"));
        assert_eq!(
            next(
                &b,
                Some(&t),
                Some(&held("a")),
                OwnerEvidence::Gone,
                Local::Warm,
                false
            ),
            Action::TakeOver(TakeReason::OwnerGone)
        );
        let cancelled = table("a", None);
        let p = OwnerEvidence::Presumed;
        assert_eq!(
            next(
                &b,
                Some(&cancelled),
                Some(&held("a")),
                p,
                Local::Warm,
                false
            ),
            Action::Drop
        );
        assert_eq!(
            next(
                &run("a"),
                Some(&cancelled),
                Some(&held("a")),
                p,
                Local::Owning,
                false
            ),
            Action::Wait
        );
        // Cancelled after the release: the old owner takes it back.
        assert_eq!(
            next(
                &run("a"),
                Some(&cancelled),
                Some(&released("a")),
                p,
                Local::Warm,
                false
            ),
            Action::TakeOver(TakeReason::Released)
        );
    }

    #[test]
    fn an_owner_that_the_table_no_longer_knows_steps_down() {
        let p = OwnerEvidence::Presumed;
        let other = table("b", None);
        assert_eq!(
            next(
                &run("a"),
                Some(&other),
                Some(&held("a")),
                p,
                Local::Owning,
                true
            ),
            Action::Seal
        );
        assert_eq!(
            next(&run("a"), None, Some(&held("a")), p, Local::Owning, false),
            Action::Seal
        );
        // Deposed without having noticed, and wanted back.
        let back = table("b", Some("a"));
        assert_eq!(
            next(
                &run("a"),
                Some(&back),
                Some(&held("b")),
                p,
                Local::Owning,
                false
            ),
            Action::Seal
        );
    }
}
