//! How often a node looks into the bucket while the others tell it what they do.
//!
//! While every other member has a connection over which it says what it changes, a node that looks again and again finds
//! what it has heard already, and pays for each look. So it looks rarely then (`pushed_poll_interval_ms`), and as often as its
//! settings say from the moment that one of them is not connected.
//!
//! Not everybody who changes something is a member: the operator writes the assignment table and the shared configuration. One
//! member, the first that may own partitions, goes on looking at these two, and tells the others what it finds. Who is first
//! is read off the table, so two may do it for a moment, or none until the table is read again.
//!
//! Pushes stay hints (design rule 9): one that is lost is found at the next rare look.
//!
//! Methods of coordination under which nobody can know that it was told everything: [`super::quiet`].

use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::assignment::MemberState;
use brainy_coordination::events::Event;
use brainy_coordination::types::InstanceId;
use tokio_util::sync::CancellationToken;

use super::Node;
use super::config::Coordination;
use super::context::Context;
use super::quiet::watchmen;
use super::view::{Pace, View};
use crate::events::Direction;
use crate::events::websocket;

/// How often it is seen whether all others are connected.
const EVERY: Duration = Duration::from_millis(250);
/// Shortest pause of the one member that goes on looking.
const WATCHMAN: Duration = Duration::from_secs(1);
/// That of the next one, which looks in case the first is gone and nobody could tell.
const DEPUTY: Duration = Duration::from_secs(5);

impl Context {
    /// Pause before the next look at something of which members tell each other all changes, where it is `every` without that.
    pub(super) fn pause(&self, every: Duration) -> Duration {
        if !*self.pushed.borrow() {
            return self.quiet.pause(every);
        }
        let rarely = self.settings.borrow().pushed_poll_interval_ms;
        every.max(Duration::from_millis(rarely))
    }

    /// Pause before the next look at the shared configuration.
    pub(super) fn config_pause(&self) -> Duration {
        let every = Duration::from_millis(self.settings.borrow().config_poll_interval_ms);
        let rarely = self.pause(every);
        match self.rank() {
            Some(0) => every,
            Some(1) if !*self.pushed.borrow() => rarely.min(every.max(DEPUTY)),
            _ => rarely,
        }
    }

    /// Pauses before the next looks at assignments and collections.
    pub(super) fn view_pace(&self) -> Pace {
        let every = Duration::from_millis(self.settings.borrow().assignment_poll_interval_ms);
        let rarely = self.pause(every);
        let table = match self.rank() {
            _ if rarely <= every => every,
            Some(0) => every.max(WATCHMAN),
            // Who is connected to the first would notice if it went.
            Some(1) if !*self.pushed.borrow() => every.max(DEPUTY),
            _ => rarely,
        };
        Pace {
            table,
            manifest: rarely,
        }
    }

    /// Pause before the next look at a log that stood still for so long.
    pub(super) fn tail_pause(&self, silence: Duration) -> Duration {
        let every = Duration::from_millis(self.settings.borrow().tail_poll_interval_ms);
        if *self.pushed.borrow() {
            return self.pause(every);
        }
        self.quiet.pause_after(silence, every)
    }

    /// The place of this node among those who look for the others.
    fn rank(&self) -> Option<usize> {
        let view = self.view.get();
        watchmen(&view).position(|instance| *instance == self.me.instance)
    }

    /// Whether this node looks for those who are told: one, and where nobody can know that it was told a second.
    fn is_watchman(&self) -> bool {
        let most = if self.quiet.polls() { 2 } else { 1 };
        self.rank().is_some_and(|rank| rank < most)
    }

    /// A look that nobody asked for found another assignment table than the last one.
    pub(super) fn table_found(&self, view: &View) {
        if let Some(table) = &view.table
            && self.config.coordination == Coordination::WebSocket
            && self.is_watchman()
        {
            self.events
                .publish(Event::AssignmentChanged { epoch: table.epoch });
        }
    }

    /// There is another assignment table, by whatever look: what made this node look may not have reached the others.
    fn spread_table(self: &Arc<Self>, view: &View) {
        if let Some(table) = &view.table
            && self.quiet.polls()
            && self.is_watchman()
        {
            self.ask_members_to_look(table);
        }
    }

    /// Whether all other members tell this node what they do.
    fn all_push(&self) -> bool {
        if self.config.coordination != Coordination::WebSocket {
            return false;
        }
        let view = self.view.get();
        let others = others(&view, &self.me.instance);
        let connected = self
            .events
            .metrics()
            .connections(websocket::NAME, Direction::In);
        others.is_some_and(|others| usize::try_from(connected).is_ok_and(|n| n >= others))
    }
}

/// How many members there are besides `me`; `None` where `me` is none.
fn others(view: &View, me: &InstanceId) -> Option<usize> {
    view.member(me)?;
    let members = view.table.as_ref()?.members.iter();
    let others = members.filter(|(who, m)| *who != me && m.state != MemberState::Gone);
    Some(others.count())
}

impl Node {
    /// Notes again and again whether all others push, until `stop`.
    pub(super) async fn watch_pushes(&self, stop: CancellationToken) {
        loop {
            let now = self.context().all_push();
            let changed = self.context().pushed.send_if_modified(|pushed| {
                let changed = *pushed != now;
                *pushed = now;
                changed
            });
            if changed {
                self.context().quiet.nudge();
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Notes every change of assignments and collections, and tells the others if this node looks for them.
    pub(super) async fn watch_views(&self, stop: CancellationToken) {
        let mut views = self.view().subscribe();
        let version = |view: &View| view.table.as_ref().map(|table| table.version);
        let mut told = version(&views.borrow());
        loop {
            let view = views.borrow_and_update().clone();
            self.context().quiet.seen(&view);
            if version(&view) != told {
                self.context().spread_table(&view);
                told = version(&view);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = views.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Tells the others of each configuration that this node takes up, if it looks for them.
    pub(super) async fn spread_configuration(&self, stop: CancellationToken) {
        let mut states = self.configuration().states();
        let mut told = states.borrow_and_update().version;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = states.changed() => {}
            }
            let version = states.borrow_and_update().version;
            self.context().quiet.stir();
            if version != told
                && self.context().is_watchman()
                && self.configuration().is_news(version)
            {
                self.context().hint_configuration(version);
            }
            told = version;
        }
    }
}
