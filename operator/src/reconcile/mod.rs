//! What is to be done, decided without I/O.
//!
//! A reconcile is this list of steps, the same for processes on one machine and for pods:
//!
//! 1. [`desired`]: what the spec asks for, by ordinal.
//! 2. *observe*: what runs, how it answers, what the assignment table says. The caller's; [`plan::Observation`] is its form.
//! 3. [`plan`]: what to start and stop, and how the members of the table change.
//! 4. *act*: the caller starts and stops, and hands [`members::apply`] to
//!    [`rebalance::step`](brainy_coordination::rebalance::step), which moves partitions.
//! 5. [`conditions`] and [`status`]: what to tell.
//!
//! Members come from the spec's ordinals and the states of their processes, never from a list of those that happen to be
//! ready (design section 5). Every decision can be repeated: it depends on the present only, and an undone edit of the spec
//! undoes what has not happened yet.

pub(crate) mod arguments;
pub(crate) mod changes;
pub(crate) mod conditions;
pub(crate) mod desired;
pub(crate) mod members;
pub(crate) mod plan;
pub(crate) mod restart;
pub(crate) mod shared_config;
pub(crate) mod status;
pub(crate) mod unsupported;
