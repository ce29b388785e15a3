//! Exchange: two clusters that both take writes, each of which follows the other.
//!
//! A cluster reads its peer's bucket and never writes to it. For each of its partitions the owner follows those partitions of the peer's
//! collection of the same name that may hold points of it ([`overlap`]): first what the peer's segments hold, then its log, slot by slot
//! ([`Source`]). What it finds are states of points and what writes add to them; the state machine merges them into the partition by
//! way of the partition's own log, with the stamps that they were given where they were written, and leaves out what changes nothing.
//! Everything else of the cluster follows that log, as ever.
//!
//! Merging is commutative, associative and idempotent. That is all that convergence rests on:
//! - what is read twice changes nothing the second time, so a [`Cursor`] may be far behind, and losing it costs time only;
//! - what comes back from the peer, which follows this cluster as this one follows it, changes nothing and is not written: nothing
//!   circulates;
//! - the order in which two clusters hear of two writes does not matter.
//!
//! # The one rule
//! A place in the peer's log is passed in the cursor only when what was found up to there is durable in this cluster's log.
//!
//! | failure | what happens |
//! |---|---|
//! | the owner dies | the next one goes on from the cursor, and merges some things twice |
//! | a deposed owner goes on | its log is fenced: what it merges is not acknowledged, so it moves no cursor |
//! | the peer collected its log before it was read | its manifest is past the place: what its segments hold that is newer is merged, and the log is read from there |
//! | segments are collected while they are read | they are not in the newer manifest, which is read then |
//! | the peer's partition moves to another owner | its log goes on in the next epoch, behind a fence, as for the peer's own readers |
//! | a slot of the peer's log is damaged | that partition of the peer waits before it; the error names the key; others go on |
//! | the loss of a slot was accepted there | it is passed here too, and counted |
//! | the peer's bucket is silent, or refuses | nothing else waits for it; it is asked again with growing pauses |
//! | the collection was dropped there and made again | its uid is another: it is read from its beginning |
//! | a deletion was forgotten before it was read | the point stays here, and comes back there if it is written: clusters may be apart for as long as deletions are remembered |
//!
//! Clusters do not agree on anything else: collections are made, changed and dropped in each by itself, and exchange only while
//! their vectors are alike ([`PeerCluster::fit`]).

mod cursor;
mod overlap;
mod peer;
mod puller;
mod read_only;
mod source;

pub use cursor::{Cursor, Place};
pub use overlap::overlap;
pub use peer::{Lookout, PeerCluster, PeerError};
pub use puller::{PullError, Puller, Round, Target};
pub use read_only::ReadOnly;
pub use source::{Found, Source};
