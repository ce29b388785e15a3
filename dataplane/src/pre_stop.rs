//! `brainyd pre-stop`: what an orchestrator runs before it ends a node. It waits while the node gives its partitions away, so
//! that they move while it still serves (design rule 8), and until new connections go elsewhere. It asks the node itself, again and
//! again, and changes nothing.

use std::fmt;
use std::time::Duration;

use brainy_coordination::assignment::MemberState;
use brainy_http_server::tls::{self, TlsError};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cli::PreStop;
use crate::node::Membership;
use crate::transport::{Call, ClientTls, HttpClient};

/// Pause between two looks.
const EVERY: Duration = Duration::from_millis(200);
/// Longest time to an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A node that nobody drains by then is not going to be drained.
const DRAINED_WITHIN: Duration = Duration::from_secs(10);
/// A node serves at least this long after the order to stop. Whoever distributes connections learns of it in its own time, and
/// sends new ones here until then.
const UNROUTED_WITHIN: Duration = Duration::from_secs(3);
/// A node that has not answered for this long is gone, or will not get better by waiting.
const SILENT_FOR: Duration = Duration::from_secs(5);

/// What a look showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A node that has no others.
    Standalone,
    /// A node that the table does not list.
    NoMember,
    /// A member.
    Member(Membership),
    /// The key does not open the node.
    Refused,
    /// No usable answer, since then.
    Silent {
        /// For how long there has been none.
        since: Duration,
        /// What there was in place of one.
        why: String,
    },
}

/// Why there is nothing to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It holds nothing.
    Empty,
    /// Nobody else can take what it holds.
    Alone {
        /// Partitions that it owns.
        owned: usize,
        /// Partitions that it reads.
        read: usize,
    },
    /// Nobody drains it.
    NotDrained(MemberState),
    /// It belongs to no cluster.
    Standalone,
    /// The cluster does not know it.
    NoMember,
    /// It does not talk to us.
    Refused,
    /// It does not answer.
    Silent(String),
    /// The time is over.
    Timeout(Seen),
}

impl fmt::Display for Finish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("this node holds no partition"),
            Self::Alone { owned, read } => write!(
                f,
                "no other active member can take what this node holds ({owned} owned, {read} read)"
            ),
            Self::NotDrained(state) => write!(
                f,
                "nobody drains this node: its member is {} in the assignment table",
                name(*state)
            ),
            Self::Standalone => f.write_str("this node is standalone: nobody can take over"),
            Self::NoMember => f.write_str("this node is no member of the cluster"),
            Self::Refused => f.write_str(
                "this node refuses the API key: give it one in BRAINY_API_KEY, or a key for reading",
            ),
            Self::Silent(why) => write!(f, "this node does not answer: {why}"),
            Self::Timeout(seen) => write!(f, "the time is over: {seen}"),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(m) => write!(
                f,
                "this node, {}, still holds partitions ({} owned, {} read)",
                name(m.state),
                m.owned,
                m.read
            ),
            Self::Silent { why, .. } => write!(f, "this node does not answer: {why}"),
            Self::Standalone | Self::NoMember | Self::Refused => f.write_str("nothing to wait for"),
        }
    }
}

fn name(state: MemberState) -> &'static str {
    match state {
        MemberState::Active => "active",
        MemberState::Unready => "unready",
        MemberState::Draining => "draining",
        MemberState::Gone => "gone",
    }
}

/// Whether to stop waiting, `waited` after the start. Pure.
#[must_use]
pub fn decide(seen: &Seen, waited: Duration, timeout: Duration) -> Option<Finish> {
    let finish = match seen {
        Seen::Standalone => Some(Finish::Standalone),
        Seen::NoMember => Some(Finish::NoMember),
        Seen::Refused => Some(Finish::Refused),
        Seen::Silent { since, why } if *since >= SILENT_FOR => Some(Finish::Silent(why.clone())),
        Seen::Silent { .. } => None,
        Seen::Member(m) if m.owned + m.read == 0 => Some(Finish::Empty),
        Seen::Member(m) => {
            let leaves = (m.owned > 0 && m.other_owners > 0) || (m.read > 0 && m.other_readers > 0);
            if !leaves {
                Some(Finish::Alone {
                    owned: m.owned,
                    read: m.read,
                })
            } else if m.state != MemberState::Draining && waited >= DRAINED_WITHIN {
                Some(Finish::NotDrained(m.state))
            } else {
                None
            }
        }
    };
    finish.or_else(|| (waited >= timeout).then(|| Finish::Timeout(seen.clone())))
}

/// Waits until there is nothing to wait for.
///
/// # Errors
/// A file of the TLS settings that cannot be used.
pub async fn run(args: &PreStop) -> Result<Finish, TlsError> {
    let address = args.address();
    let client = HttpClient::new(match address.tls {
        true => Some(client_tls(args)?),
        false => None,
    });
    let began = Instant::now();
    let mut answered = began;
    loop {
        let left = args.timeout.saturating_sub(began.elapsed());
        let call = Call {
            method: Method::GET,
            address: &address.authority,
            path: "/health",
            key: args.key(),
            body: Bytes::new(),
            timeout: ANSWER_WITHIN.min(left).max(EVERY),
        };
        let seen = match look(&client, call).await {
            Ok(seen) => {
                answered = Instant::now();
                seen
            }
            Err(why) => Seen::Silent {
                since: answered.elapsed(),
                why,
            },
        };
        if let Some(finish) = decide(&seen, began.elapsed(), args.timeout) {
            if !matches!(finish, Finish::Silent(_)) {
                sleep_until(began + UNROUTED_WITHIN.min(args.timeout)).await;
            }
            return Ok(finish);
        }
        sleep(EVERY).await;
    }
}

/// The part of `/health` that matters here.
#[derive(Deserialize)]
struct Health {
    role: String,
    member: Option<Membership>,
}

async fn look(client: &HttpClient, call: Call<'_>) -> Result<Seen, String> {
    let answer = client.send(call).await.map_err(|e| e.to_string())?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(Seen::Refused),
        other => {
            let text = String::from_utf8_lossy(&answer.body);
            return Err(format!("status {other}: {}", text.trim()));
        }
    }
    let health: Health = serde_json::from_slice(&answer.body)
        .map_err(|e| format!("/health is not what it should be: {e}"))?;
    Ok(match health {
        Health { role, .. } if role == "standalone" => Seen::Standalone,
        Health {
            member: Some(member),
            ..
        } => Seen::Member(member),
        Health { member: None, .. } => Seen::NoMember,
    })
}

/// The node's own certificate is believed at whatever address it is asked; a renewed one that the file does not hold yet, or any
/// more, by the node's name.
fn client_tls(args: &PreStop) -> Result<ClientTls, TlsError> {
    let ca = args.tls_ca.as_deref();
    Ok(ClientTls {
        config: match &args.tls_cert {
            Some(own) => tls::client_of(own, ca)?,
            None => tls::client(ca)?,
        },
        name: args.server_name(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(45);
    const SOON: Duration = Duration::from_secs(1);

    fn member(state: MemberState, owned: usize, read: usize) -> Membership {
        Membership {
            state,
            owned,
            read,
            other_owners: 1,
            other_readers: 1,
        }
    }

    fn at(seconds: u64, member: Membership) -> Option<Finish> {
        decide(&Seen::Member(member), Duration::from_secs(seconds), TIMEOUT)
    }

    #[test]
    fn a_drain_is_waited_for_until_nothing_is_left() {
        let draining = |owned, read| member(MemberState::Draining, owned, read);
        for seconds in [0, 11, 44] {
            assert_eq!(at(seconds, draining(1, 0)), None);
            assert_eq!(at(seconds, draining(0, 1)), None);
            assert_eq!(at(seconds, draining(0, 0)), Some(Finish::Empty));
        }
        let still = draining(1, 2);
        let late = at(45, still).unwrap();
        assert_eq!(late, Finish::Timeout(Seen::Member(still)));
        assert!(late.to_string().contains("1 owned, 2 read"), "{late}");
    }

    #[test]
    fn who_is_not_drained_in_time_is_not_waited_for_and_neither_is_a_drain_that_was_cancelled() {
        for state in [MemberState::Active, MemberState::Unready, MemberState::Gone] {
            assert_eq!(at(9, member(state, 1, 1)), None);
            let finish = at(10, member(state, 1, 1));
            assert_eq!(finish, Some(Finish::NotDrained(state)));
            assert_eq!(at(0, member(state, 0, 0)), Some(Finish::Empty));
        }
    }

    #[test]
    fn what_nobody_else_can_take_is_not_waited_for() {
        let alone = |owned, read, other_owners, other_readers| {
            let member = Membership {
                other_owners,
                other_readers,
                ..member(MemberState::Draining, owned, read)
            };
            at(0, member)
        };
        let finish = |owned, read| Some(Finish::Alone { owned, read });
        assert_eq!(alone(2, 0, 0, 1), finish(2, 0));
        assert_eq!(alone(0, 3, 1, 0), finish(0, 3));
        assert_eq!(alone(2, 3, 0, 0), finish(2, 3));
        // Some of it can move: that is waited for, and then the rest is not.
        assert_eq!(alone(2, 3, 1, 0), None);
        assert_eq!(alone(0, 3, 1, 0), finish(0, 3));
    }

    #[test]
    fn whoever_cannot_be_drained_or_asked_is_not_waited_for() {
        let now = |seen: &Seen| decide(seen, SOON, TIMEOUT);
        assert_eq!(now(&Seen::Standalone), Some(Finish::Standalone));
        assert_eq!(now(&Seen::NoMember), Some(Finish::NoMember));
        assert_eq!(now(&Seen::Refused), Some(Finish::Refused));
        let silent = |seconds| Seen::Silent {
            since: Duration::from_secs(seconds),
            why: "refused".to_owned(),
        };
        assert_eq!(now(&silent(4)), None);
        let finish = Finish::Silent("refused".to_owned());
        assert_eq!(now(&silent(5)), Some(finish));
        let late = decide(&silent(1), TIMEOUT, TIMEOUT);
        assert_eq!(late, Some(Finish::Timeout(silent(1))));
    }
}
