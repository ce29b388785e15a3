//! What other nodes say about a partition, followed at once; and what this node says about it.
//!
//! Hints only (design rule 9): what is said makes a follower look earlier, and the look decides.

use std::time::Duration;

use brainy_coordination::events::Event;
use brainy_coordination::types::LogPosition;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Host;
use crate::node::quiet::WAKE_EVERY;

/// What was said and not followed yet, and what this node said last.
#[derive(Debug, Default)]
pub(super) struct News {
    heard: Mutex<Heard>,
    arrived: Notify,
    /// The furthest position that this node told others of.
    told: Mutex<LogPosition>,
    /// When followers were last asked to look.
    woken: Mutex<Option<Instant>>,
    /// Where the log stood at some look, and when it was first found there.
    moved: Mutex<Option<(LogPosition, Instant)>>,
}

#[derive(Debug, Default)]
struct Heard {
    position: LogPosition,
    segments: bool,
}

impl News {
    /// Whether followers have to be asked again, and notes that they are.
    fn is_time_to_wake(&self) -> bool {
        let mut woken = self.woken.lock();
        let due = woken.is_none_or(|at| at.elapsed() >= WAKE_EVERY);
        if due {
            *woken = Some(Instant::now());
        }
        due
    }

    /// How long the log, which is at `position`, stood still.
    fn silence(&self, position: LogPosition) -> Duration {
        let mut moved = self.moved.lock();
        match *moved {
            Some((before, since)) if before == position => since.elapsed(),
            _ => {
                *moved = Some((position, Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// Waits for something to follow.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

impl Host {
    /// The owner has acknowledged writes up to `position`.
    pub(in crate::node) fn log_advanced(&self, position: LogPosition) {
        {
            let mut heard = self.news.heard.lock();
            heard.position = position.max(heard.position);
        }
        self.news.arrived.notify_one();
    }

    /// The owner has published a segment.
    pub(in crate::node) fn segment_published(&self) {
        self.news.heard.lock().segments = true;
        self.news.arrived.notify_one();
    }

    /// Tells those who follow the log that this node has acknowledged a write at `position`; once for all writes of a slot.
    pub(super) fn tell_advanced(&self, position: LogPosition) {
        {
            let mut told = self.news.told.lock();
            if position <= *told {
                return;
            }
            *told = position;
        }
        self.context.events.publish(Event::LogAdvanced {
            partition: self.partition.clone(),
            position,
        });
        if self.context.quiet.polls() && self.news.is_time_to_wake() {
            self.context.wake_followers(&self.partition, position);
        }
    }

    /// Pause before the next look at the log.
    pub(super) fn tail_pause(&self) -> Duration {
        let silence = self.news.silence(self.machine.state().position());
        self.context.tail_pause(silence)
    }

    /// Brings a follower to where it was said that there is something new.
    pub(super) async fn follow_news(&self) {
        let mut guard = self.replica.lock().await;
        let Some(replica) = guard.as_mut() else {
            return;
        };
        let Heard { position, segments } = std::mem::take(&mut *self.news.heard.lock());
        let mut done = replica.follow_to(position).await;
        if done.is_ok() && segments {
            done = replica.refresh().await.map(drop);
        }
        if done.is_err() {
            // Found by the next look, which is soon.
            let mut heard = self.news.heard.lock();
            heard.position = position.max(heard.position);
            heard.segments |= segments;
            *self.news.moved.lock() = None;
        }
        self.followed(done);
    }
}
