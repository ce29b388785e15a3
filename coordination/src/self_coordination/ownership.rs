//! Who plans a prefix, an orchestrator or its own nodes, so that both never do.
//!
//! The claim of the prefix tells ([`crate::claim`]). An orchestrator that makes nodes claims it before it makes the first; nodes
//! that were started by hand claim it for themselves, once nobody has. Both are one compare-and-swap, so of two that come
//! at the same time one finds the other. A table without a claim is of an orchestrator that makes none (`brainy-operator local`).

use crate::assignment::AssignmentTable;
use crate::claim::{self, Claim};
use crate::document::{self, DocumentError};
use crate::keys;
use crate::store::retry::Store;

/// Identity and name of the claim that nodes make for themselves. No orchestrator has this identity.
pub const SELF_CLAIM: &str = "self-coordinated";

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Whatever the prefix is.
    #[default]
    Auto,
    /// An orchestrator plans.
    Operator,
    /// The nodes plan, also where an orchestrator without a claim did before.
    Myself,
}

/// Who plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planner {
    /// An orchestrator.
    Operator,
    /// The nodes among themselves.
    Nodes,
}

/// Why a wish cannot be granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An orchestrator has the prefix.
    #[error(
        "the data under this prefix is of {claimant}, whose operator plans. Start without --planner self to be planned by it, or choose another --s3-prefix"
    )]
    OfOperator {
        /// Name in the claim.
        claimant: String,
    },
    /// Its own nodes plan the prefix.
    #[error(
        "the nodes of this prefix coordinate themselves, and --planner operator is asked for. Start without it, choose another --s3-prefix, or let an operator take the prefix over"
    )]
    OfNodes,
}

/// Whether `claim` is of nodes that coordinate themselves.
#[must_use]
pub fn is_of_nodes(claim: &Claim) -> bool {
    claim.uid == SELF_CLAIM
}

/// Decides who plans the prefix of `store`, and claims it for its nodes if nobody has it and nobody else is asked for.
///
/// # Errors
/// The documents'. `Ok(Err(_))` when the wish contradicts what the prefix is.
pub async fn settle(store: &Store, wish: Wish) -> Result<Result<Planner, Refusal>, DocumentError> {
    let mut holder = claim::holder(store).await?;
    if holder.is_none() && may_claim(store, wish).await? {
        let mine = Claim {
            uid: SELF_CLAIM.to_owned(),
            name: SELF_CLAIM.to_owned(),
        };
        holder = match claim::claim(store, &mine, false).await? {
            Ok(()) => Some(mine),
            Err(other) => Some(other),
        };
    }
    Ok(match (holder, wish) {
        (Some(claim), Wish::Operator) if is_of_nodes(&claim) => Err(Refusal::OfNodes),
        (Some(claim), _) if is_of_nodes(&claim) => Ok(Planner::Nodes),
        (Some(claim), Wish::Myself) => Err(Refusal::OfOperator {
            claimant: claim.name,
        }),
        (Some(_) | None, _) => Ok(Planner::Operator),
    })
}

/// Whether nodes may claim a prefix that nobody has claimed.
async fn may_claim(store: &Store, wish: Wish) -> Result<bool, DocumentError> {
    match wish {
        Wish::Operator => Ok(false),
        Wish::Myself => Ok(true),
        Wish::Auto => {
            let table = document::load::<AssignmentTable>(store, keys::ASSIGNMENTS).await?;
            // Without members nobody was ever planned here.
            Ok(table.is_none_or(|t| t.planner.is_some() || t.members.is_empty()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assignment::{Member, Role};
    use crate::rebalance;
    use crate::store::retry::RetryPolicy;
    use crate::store::sim::SimBucket;
    use crate::types::InstanceId;

    fn store(bucket: &std::sync::Arc<SimBucket>) -> Store {
        Store::new(bucket.client("node"), RetryPolicy::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_prefix_becomes_that_of_its_nodes_and_stays_it() {
        let bucket = SimBucket::new(1);
        let store = store(&bucket);
        for wish in [Wish::Auto, Wish::Auto, Wish::Myself] {
            assert_eq!(settle(&store, wish).await.unwrap(), Ok(Planner::Nodes));
        }
        let refused = settle(&store, Wish::Operator).await.unwrap();
        assert_eq!(refused, Err(Refusal::OfNodes));
    }

    #[tokio::test(start_paused = true)]
    async fn a_prefix_that_an_orchestrator_claimed_is_left_to_it() {
        let bucket = SimBucket::new(2);
        let store = store(&bucket);
        let theirs = Claim {
            uid: "1".to_owned(),
            name: "team/search".to_owned(),
        };
        claim::claim(&store, &theirs, false).await.unwrap().unwrap();
        for wish in [Wish::Auto, Wish::Operator] {
            assert_eq!(settle(&store, wish).await.unwrap(), Ok(Planner::Operator));
        }
        let refused = settle(&store, Wish::Myself).await.unwrap().unwrap_err();
        assert!(refused.to_string().contains("team/search"), "{refused}");
        assert_eq!(claim::holder(&store).await.unwrap(), Some(theirs));
    }

    #[tokio::test(start_paused = true)]
    async fn a_planned_table_without_a_claim_is_an_orchestrators_until_nodes_are_told_to_take_it() {
        let bucket = SimBucket::new(3);
        let store = store(&bucket);
        rebalance::step(&store, |edit| {
            let member = Member::new(Role::Writer, "a:1");
            edit.members.insert(InstanceId::new("a").unwrap(), member);
        })
        .await
        .unwrap();
        assert_eq!(
            settle(&store, Wish::Auto).await.unwrap(),
            Ok(Planner::Operator)
        );
        assert_eq!(claim::holder(&store).await.unwrap(), None);
        assert_eq!(
            settle(&store, Wish::Myself).await.unwrap(),
            Ok(Planner::Nodes)
        );
    }
}
