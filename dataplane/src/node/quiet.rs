//! How often a node that polls looks while nothing happens.
//!
//! Under `s3-polling` and `pubsub` nobody can know that it was told everything. While nothing happens it need not know: what
//! begins after a silence is told to each node that it concerns by a request of its own, repeated until it is answered. So
//! after [`QUIET_AFTER`] without news a node looks every `pushed_poll_interval_ms` only, and as often as its settings say from the first
//! news on.
//!
//! - *A partition's log*: its followers look rarely when it stood still; the owner asks them to look at the first write after a silence
//!   and, while it writes, every [`WAKE_EVERY`], which is less than the silence after which they look rarely.
//! - *Assignments, collections, configuration*: members tell the others what they change. The first two members that may own partitions go
//!   on looking for what others write there, as an operator does, and tell what they find ([`super::pushed`]).
//!
//! These requests are hints too (design rule 9). One that does not arrive, although the node runs, costs `pushed_poll_interval_ms` at most.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::assignment::MemberState;
use brainy_coordination::config::EffectiveConfig;
use brainy_coordination::types::{InstanceId, LogPosition, PartitionId};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::config::{Coordination, NodeConfig};
use super::context::Context;
use super::view::View;

/// Silence after which looks are rare.
const QUIET_AFTER: Duration = Duration::from_secs(10);
/// Followers of a log that grows are asked to look this often: less than half of the silence.
pub(super) const WAKE_EVERY: Duration = Duration::from_secs(4);
/// Pause before a follower that did not answer is asked again.
const REPEAT: Duration = Duration::from_secs(2);

/// Whether anything happens, as far as this node knows.
#[derive(Debug)]
pub(crate) struct Quiet {
    me: InstanceId,
    /// Whether the method of coordination is one that polls.
    polls: bool,
    settings: watch::Receiver<EffectiveConfig>,
    news: Mutex<News>,
    /// Signals that pauses may be shorter than they were.
    shorter: watch::Sender<()>,
    /// Followers that are being asked to read up to a position.
    waking: Mutex<HashMap<(PartitionId, InstanceId), LogPosition>>,
}

#[derive(Debug)]
struct News {
    last: Instant,
    /// Whether others know this node and somebody looks for it.
    known: bool,
}

impl Quiet {
    pub(super) fn new(config: &NodeConfig, settings: watch::Receiver<EffectiveConfig>) -> Self {
        let polls = matches!(
            config.coordination,
            Coordination::S3Polling | Coordination::PubSub(_)
        );
        Self {
            me: config.identity.instance.clone(),
            // With several writers every instance reads what any other may write at any time.
            polls: polls && config.role.is_some() && !config.multi_writer,
            settings,
            news: Mutex::new(News {
                last: Instant::now(),
                known: false,
            }),
            shorter: watch::Sender::new(()),
            waking: Mutex::default(),
        }
    }

    /// Something happened, or is about to.
    pub(super) fn stir(&self) {
        let before = std::mem::replace(&mut self.news.lock().last, Instant::now());
        if before.elapsed() >= QUIET_AFTER {
            self.nudge();
        }
    }

    /// Lets who sleeps until its next look ask again how long.
    pub(super) fn nudge(&self) {
        self.shorter.send_replace(());
    }

    /// Changes when pauses may be shorter than they were.
    pub(super) fn shorter(&self) -> watch::Receiver<()> {
        self.shorter.subscribe()
    }

    /// There is another view.
    pub(super) fn seen(&self, view: &View) {
        let known = view.member(&self.me).is_some() && watchmen(view).next().is_some();
        *self.news.lock() = News {
            last: Instant::now(),
            known,
        };
        self.nudge();
    }

    fn is_silence(&self, silence: Duration) -> bool {
        self.polls && silence >= QUIET_AFTER && self.news.lock().known
    }

    /// Pause before the next look at a document that is looked at every `every`.
    pub(super) fn pause(&self, every: Duration) -> Duration {
        let silence = self.news.lock().last.elapsed();
        self.pause_after(silence, every)
    }

    /// Pause before the next look at something that was silent for so long.
    pub(super) fn pause_after(&self, silence: Duration, every: Duration) -> Duration {
        if !self.is_silence(silence) {
            return every;
        }
        let rarely = self.settings.borrow().pushed_poll_interval_ms;
        every.max(Duration::from_millis(rarely))
    }

    /// How often the event log is looked at.
    pub(super) fn pause_of_events(&self) -> Duration {
        let every = self.settings.borrow().assignment_poll_interval_ms;
        self.pause(Duration::from_millis(every))
    }

    /// Whether followers of this node's logs may look rarely.
    pub(super) fn polls(&self) -> bool {
        self.polls
    }
}

/// Who looks for the others at what an orchestrator writes, in their order.
pub(super) fn watchmen(view: &View) -> impl Iterator<Item = &InstanceId> {
    let members = view.table.iter().flat_map(|table| &table.members);
    let able = members.filter(|(_, m)| m.role.can_own() && m.state == MemberState::Active);
    able.map(|(instance, _)| instance)
}

impl Context {
    /// Asks those who follow a log of this node to read it up to `position`; does not wait.
    pub(super) fn wake_followers(self: &Arc<Self>, partition: &PartitionId, position: LogPosition) {
        let view = self.view.get();
        let Some(assignment) = view.assignment(partition) else {
            return;
        };
        let readers = assignment.readers.iter().map(|slot| &slot.instance);
        let successor = assignment.handoff.iter().map(|handoff| &handoff.to);
        for instance in readers.chain(successor).filter(|i| **i != self.me.instance) {
            let Some(member) = view.member(instance) else {
                continue;
            };
            if member.state == MemberState::Gone {
                continue;
            }
            let who = (partition.clone(), instance.clone());
            let asked = self.quiet.waking.lock().insert(who.clone(), position);
            // Whoever is being asked already is asked for this position next.
            if asked.is_none() {
                let (context, address) = (self.clone(), member.address.clone());
                tokio::spawn(async move { context.wake(who, address).await });
            }
        }
    }

    /// Asks a follower until it has heard of the newest position.
    async fn wake(&self, who: (PartitionId, InstanceId), address: String) {
        let until = Instant::now() + self.rarely();
        let asking = async {
            loop {
                let newest = self.quiet.waking.lock().get(&who).copied();
                let Some(position) = newest else { return };
                let heard = self.rpc.hint_log(&address, &who.0, position).await;
                if !heard && Instant::now() < until {
                    tokio::time::sleep(REPEAT).await;
                    continue;
                }
                let mut waking = self.quiet.waking.lock();
                if !heard || waking.get(&who) == Some(&position) {
                    waking.remove(&who);
                    return;
                }
            }
        };
        self.stop.run_until_cancelled(asking).await;
    }

    /// Asks until there is an answer, for as long as `matters`, and no longer than until the one asked looks by itself; does not wait.
    pub(super) fn insist<F>(
        self: &Arc<Self>,
        matters: impl Fn(&Self) -> bool + Send + Sync + 'static,
        ask: impl Fn(Arc<Self>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = bool> + Send,
    {
        let context = self.clone();
        let until = Instant::now() + self.rarely();
        tokio::spawn(async move {
            let asking = async {
                while matters(&context) && !ask(context.clone()).await && Instant::now() < until {
                    tokio::time::sleep(REPEAT).await;
                }
            };
            context.stop.run_until_cancelled(asking).await;
        });
    }

    fn rarely(&self) -> Duration {
        Duration::from_millis(self.settings.borrow().pushed_poll_interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use brainy_coordination::assignment::{AssignmentTable, Member, Role};
    use brainy_coordination::document::Versioned;
    use brainy_coordination::store::ETag;
    use brainy_coordination::types::Nonce;

    use super::*;

    fn view(members: &[(&str, Role)]) -> View {
        let mut body = AssignmentTable::default();
        for (name, role) in members {
            let name = InstanceId::new(*name).unwrap();
            body.members.insert(name, Member::new(*role, "a:1"));
        }
        View {
            table: Some(Arc::new(Versioned {
                version: 1,
                nonce: Nonce(1),
                etag: ETag(String::new()),
                body,
            })),
            manifest: None,
        }
    }

    fn quiet(polls: bool) -> Quiet {
        Quiet {
            me: InstanceId::new("b").unwrap(),
            polls,
            settings: watch::channel(EffectiveConfig::default()).1,
            news: Mutex::new(News {
                last: Instant::now(),
                known: false,
            }),
            shorter: watch::Sender::new(()),
            waking: Mutex::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_sleeps_hears_of_the_first_news_after_a_silence() {
        let node = quiet(true);
        node.seen(&view(&[("a", Role::Writer), ("b", Role::Reader)]));
        let mut shorter = node.shorter();
        node.stir();
        assert!(!shorter.has_changed().unwrap());
        tokio::time::advance(QUIET_AFTER).await;
        node.stir();
        assert!(shorter.has_changed().unwrap());
        shorter.mark_unchanged();
        node.seen(&View::default());
        assert!(shorter.has_changed().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn looks_are_rare_after_a_silence_and_frequent_from_the_first_news_on() {
        let (often, rarely) = (Duration::from_millis(500), Duration::from_secs(30));
        let (polling, pushing) = (quiet(true), quiet(false));
        let both = view(&[("a", Role::Writer), ("b", Role::Reader)]);
        for node in [&polling, &pushing] {
            node.seen(&both);
            assert_eq!(node.pause(often), often);
        }
        tokio::time::advance(QUIET_AFTER).await;
        assert_eq!(polling.pause(often), rarely);
        assert_eq!(polling.pause(2 * rarely), 2 * rarely);
        assert_eq!(pushing.pause(often), often);
        // A log has silences of its own.
        assert_eq!(polling.pause_after(WAKE_EVERY, often), often);
        polling.stir();
        assert_eq!(polling.pause(often), often);
    }

    #[tokio::test(start_paused = true)]
    async fn whom_nobody_could_tell_goes_on_looking() {
        let node = quiet(true);
        for alone in [
            View::default(),
            view(&[("a", Role::Writer)]),
            view(&[("b", Role::Reader)]),
        ] {
            node.seen(&alone);
            tokio::time::advance(2 * QUIET_AFTER).await;
            let often = Duration::from_millis(500);
            assert_eq!(node.pause(often), often, "{alone:?}");
        }
    }
}
