//! The conditions in the status: names and reasons are part of the API and do not change within a version.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

macro_rules! condition_types {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a condition speaks of. `kubectl wait --for=condition=Ready brainycluster/<name>` works with each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ConditionType {
            $($(#[doc = $doc])+ $name,)+
        }

        impl ConditionType {
            /// All condition types, in the order in which the status lists them.
            pub const ALL: [Self; 6] = [$(Self::$name,)+];

            /// The name in the status.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// What it says when it is True.
            pub(crate) fn documentation(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+),)+
                }
            }
        }
    };
}

condition_types! {
    /// Every desired instance runs and every partition is served.
    Ready,
    /// The operator is working towards the spec; False once the spec is reached.
    Progressing,
    /// Something is wrong that does not mend itself soon; the cluster may still serve.
    Degraded,
    /// The bucket is reachable and honours conditional writes.
    StorageReady,
    /// No partition is moving or unassigned and the load is as even as the numbers allow.
    RingBalanced,
    /// The spec asks the operator to leave everything as it is.
    Paused,
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known, for example because the storage does not answer.
    Unknown,
}

impl ConditionStatus {
    /// The value in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why a condition has its status, for machines; alerts and scripts may rely on these.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The reason as the status writes it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// The conditions that carry it, and what it says, in the words of its documentation: `Ready=False: instances are ...`.
            pub(crate) fn documentation(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+),)+
                }
            }
        }
    };
}

reasons! {
    /// Ready=True: every desired instance runs and every partition is served.
    AllPartitionsServed,
    /// Ready=False: instances are starting or missing.
    InstancesNotReady,
    /// Ready=False: partitions have no owner that serves.
    PartitionsUnassigned,
    /// Ready=False: the bucket cannot be used; see StorageReady.
    StorageUnavailable,
    /// Ready=False: `spec.stopped` is true and no instance runs.
    Stopped,
    /// Ready=False, Degraded=True: the stored resource violates a rule; the message names the field.
    InvalidSpec,

    /// Progressing=False: the cluster is what the spec asks for.
    UpToDate,
    /// Progressing=True: Kubernetes objects are being created.
    Provisioning,
    /// Progressing=True: instances are being added.
    ScalingUp,
    /// Progressing=True: instances are being drained and removed.
    ScalingDown,
    /// Progressing=False: removing instances would lose what they hold; the message says why and what to do.
    ScaleDownBlocked,
    /// Progressing=True: pods are replaced one after another.
    RollingUpdate,
    /// Progressing=True: `spec.stopped` is true and instances are being drained.
    Stopping,
    /// Progressing=True: the BrainyCluster is being deleted and its data with it, as deletionPolicy asks.
    Deleting,

    /// Degraded=False: nothing is wrong.
    AsExpected,
    /// Degraded=True: a pod fails again and again.
    InstanceFailing,
    /// Degraded=True: an instance did not hand over its partitions within drainTimeout.
    DrainStuck,
    /// Degraded=True: partitions wait for a person, such as before a damaged object in the bucket; the message names both.
    CorruptObject,
    /// Degraded=True: the Kubernetes API refused an object; the message names it.
    ApplyFailed,
    /// Degraded=True: a Secret that `apiKeys` or `tls` names, or one of its entries, does not exist; the message has the command.
    SecretNotFound,

    /// StorageReady=True: the bucket is reachable and exactly one of many concurrent writers wins.
    BucketVerified,
    /// StorageReady=False: `spec.storage.bucket` is absent.
    BucketNotConfigured,
    /// StorageReady=False: the server says that the bucket does not exist.
    BucketNotFound,
    /// StorageReady=Unknown: the server does not answer.
    EndpointUnreachable,
    /// StorageReady=False: the server refuses the credentials, or they do not suffice.
    AccessDenied,
    /// StorageReady=False: the Secret or one of its entries does not exist.
    CredentialsNotFound,
    /// StorageReady=False: the server ignores If-None-Match or If-Match; Brainy refuses to run on it.
    ConditionalWritesUnsupported,
    /// StorageReady=False: another cluster already uses this bucket and prefix.
    PrefixInUse,
    /// StorageReady=Unknown: not looked at yet.
    NotChecked,

    /// RingBalanced=True: no partition moves and the load is as even as the numbers allow.
    Balanced,
    /// RingBalanced=False: partitions are moving.
    Moving,
    /// RingBalanced=False: partitions wait for an instance that has not come up within the grace period.
    WaitingForInstances,
    /// RingBalanced=False: there is no instance that could own partitions.
    NoMembers,
    /// RingBalanced=Unknown: the assignments could not be read.
    AssignmentsUnreadable,

    /// Paused=True: `spec.paused` is true.
    PausedBySpec,
    /// Paused=False: `spec.paused` is false.
    NotPaused,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a reconcile found out about one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it speaks of.
    pub type_: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, for machines.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
}

/// Puts a finding into the list of conditions and tells whether the list changed.
///
/// `lastTransitionTime` moves only when the status does: a status that is rewritten with a new time at every reconcile would
/// trigger the next reconcile itself.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    finding: Finding,
    generation: Option<i64>,
    now: &Time,
) -> bool {
    let Finding {
        type_,
        status,
        reason,
        message,
    } = finding;
    let position = conditions
        .iter()
        .position(|condition| condition.type_ == type_.as_str());
    let unchanged_since = position
        .and_then(|i| conditions.get(i))
        .filter(|condition| condition.status == status.as_str())
        .map(|condition| condition.last_transition_time.clone());
    let condition = Condition {
        last_transition_time: unchanged_since.unwrap_or_else(|| now.clone()),
        message,
        observed_generation: generation,
        reason: reason.as_str().to_owned(),
        status: status.as_str().to_owned(),
        type_: type_.as_str().to_owned(),
    };
    match position {
        Some(i) if conditions[i] == condition => false,
        Some(i) => {
            conditions[i] = condition;
            true
        }
        None => {
            conditions.push(condition);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn at(seconds: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(seconds).unwrap())
    }

    fn ready(status: ConditionStatus, reason: Reason, message: &str) -> Finding {
        Finding {
            type_: ConditionType::Ready,
            status,
            reason,
            message: message.to_owned(),
        }
    }

    #[test]
    fn transition_time_moves_only_with_the_status() {
        let mut conditions = Vec::new();
        let starting = ready(ConditionStatus::False, Reason::InstancesNotReady, "0 of 3");
        assert!(set_condition(
            &mut conditions,
            starting.clone(),
            Some(1),
            &at(10)
        ));
        assert!(!set_condition(&mut conditions, starting, Some(1), &at(20)));
        let further = ready(ConditionStatus::False, Reason::InstancesNotReady, "2 of 3");
        assert!(set_condition(&mut conditions, further, Some(1), &at(30)));
        assert_eq!(conditions[0].last_transition_time, at(10));
        let serving = ready(ConditionStatus::True, Reason::AllPartitionsServed, "");
        assert!(set_condition(&mut conditions, serving, Some(2), &at(40)));
        assert_eq!(
            (conditions.len(), &conditions[0].last_transition_time),
            (1, &at(40))
        );
        assert_eq!(conditions[0].observed_generation, Some(2));
    }

    #[test]
    fn reasons_are_distinct_and_accepted_by_kubernetes() {
        // metav1.Condition: ^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$
        let distinct: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(distinct.len(), Reason::ALL.len());
        for reason in distinct {
            assert!(
                reason.starts_with(|c: char| c.is_ascii_uppercase()),
                "{reason}"
            );
            assert!(
                reason.bytes().all(|b| b.is_ascii_alphanumeric()),
                "{reason}"
            );
        }
    }
}
