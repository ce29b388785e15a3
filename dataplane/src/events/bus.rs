//! The bus of one node.

use std::fmt;
use std::sync::{Arc, Weak};

use brainy_coordination::events::Event;
use brainy_coordination::types::InstanceId;
use parking_lot::RwLock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Backend, Deliver, Envelope, EventMetrics, Mailbox, Pushed};

/// Hands events to local handlers and to the back ends.
pub struct Bus {
    me: InstanceId,
    backends: Vec<Arc<dyn Backend>>,
    handlers: RwLock<Vec<Handler>>,
    metrics: EventMetrics,
}

type Wanted = Box<dyn Fn(&Envelope) -> bool + Send + Sync>;

struct Handler {
    name: &'static str,
    wanted: Wanted,
    /// Gone with its subscription.
    mailbox: Weak<Mailbox>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.backends.iter().map(|b| b.name()).collect();
        f.debug_struct("Bus")
            .field("me", &self.me)
            .field("backends", &names)
            .finish_non_exhaustive()
    }
}

impl Bus {
    /// The bus of node `me`; without back ends its events stay in the process.
    #[must_use]
    pub fn new(me: InstanceId, backends: Vec<Arc<dyn Backend>>, metrics: EventMetrics) -> Self {
        Self {
            me,
            backends,
            handlers: RwLock::default(),
            metrics,
        }
    }

    /// Who this node is.
    #[must_use]
    pub fn me(&self) -> &InstanceId {
        &self.me
    }

    /// Figures of the bus.
    #[must_use]
    pub fn metrics(&self) -> &EventMetrics {
        &self.metrics
    }

    /// Events for which `select` finds something, from now on; at most `capacity` wait. `name` is the handler's in metrics.
    ///
    /// Events of this node are among them: `select` sees who says what in [`Envelope::from`].
    #[must_use]
    pub fn subscribe<T, F>(&self, name: &'static str, capacity: usize, select: F) -> Subscription<T>
    where
        F: Fn(&Envelope) -> Option<T> + Clone + Send + Sync + 'static,
    {
        let mailbox = Arc::new(Mailbox::new(capacity));
        let wanted = select.clone();
        self.handlers.write().push(Handler {
            name,
            wanted: Box::new(move |envelope| wanted(envelope).is_some()),
            mailbox: Arc::downgrade(&mailbox),
        });
        Subscription {
            mailbox,
            select: Box::new(select),
        }
    }

    /// Tells local handlers and other nodes. Never waits.
    pub fn publish(&self, event: Event) {
        self.metrics.published(&event);
        let envelope = Envelope::new(self.me.clone(), event);
        self.hand_out(&envelope);
        for backend in &self.backends {
            backend.publish(&envelope);
        }
    }

    /// Takes what another node said by way of `backend`. Events of this node that came back are passed over, and those of unknown
    /// kinds.
    pub fn receive(&self, backend: &'static str, envelope: &Envelope) {
        if envelope.from == self.me {
            return;
        }
        self.metrics.received(backend, &envelope.event);
        if envelope.event != Event::Unknown {
            self.hand_out(envelope);
        }
    }

    fn hand_out(&self, envelope: &Envelope) {
        let mut gone = false;
        for handler in self.handlers.read().iter() {
            let Some(mailbox) = handler.mailbox.upgrade() else {
                gone = true;
                continue;
            };
            if (handler.wanted)(envelope) && mailbox.push(envelope.clone()) == Pushed::DroppedOldest
            {
                self.metrics.dropped(handler.name);
            }
        }
        if gone {
            let mut handlers = self.handlers.write();
            handlers.retain(|h| h.mailbox.strong_count() > 0);
        }
    }

    /// Runs the back ends until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut running = JoinSet::new();
        for backend in &self.backends {
            let (bus, name) = (self.clone(), backend.name());
            let deliver = Deliver::new(move |envelope| bus.receive(name, &envelope));
            running.spawn(backend.clone().run(deliver, stop.clone()));
        }
        while let Some(ended) = running.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "an event back end ended; changes are found by polling");
            }
        }
    }
}

/// What a handler makes of an event; `None` if it is not for it.
type Select<T> = Box<dyn Fn(&Envelope) -> Option<T> + Send + Sync>;

/// Events for one handler. What nobody takes in time is made into less or dropped.
pub struct Subscription<T> {
    mailbox: Arc<Mailbox>,
    select: Select<T>,
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("waiting", &self.mailbox.len())
            .finish_non_exhaustive()
    }
}

impl<T> Subscription<T> {
    /// The next one; waits for it. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> T {
        loop {
            let envelope = self.mailbox.next().await;
            if let Some(found) = (self.select)(&envelope) {
                return found;
            }
        }
    }

    /// The next one, if it is here.
    pub fn take(&mut self) -> Option<T> {
        loop {
            let envelope = self.mailbox.take()?;
            if let Some(found) = (self.select)(&envelope) {
                return Some(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use parking_lot::Mutex;

    use super::*;

    fn id(name: &str) -> InstanceId {
        InstanceId::new(name).unwrap()
    }

    /// Remembers what it was given, and says `hears` when it runs.
    struct Recorder {
        told: Mutex<Vec<Event>>,
        hears: Vec<Envelope>,
    }

    #[async_trait]
    impl Backend for Recorder {
        fn name(&self) -> &'static str {
            "recorder"
        }

        fn publish(&self, envelope: &Envelope) {
            self.told.lock().push(envelope.event.clone());
        }

        async fn run(self: Arc<Self>, deliver: Deliver, stop: CancellationToken) {
            for envelope in &self.hears {
                deliver.deliver(envelope.clone());
            }
            stop.cancelled().await;
        }
    }

    fn epochs(envelope: &Envelope) -> Option<u64> {
        match envelope.event {
            Event::AssignmentChanged { epoch } => Some(epoch),
            _ => None,
        }
    }

    fn joined(who: &str) -> Event {
        Event::MemberJoined { member: id(who) }
    }

    #[tokio::test]
    async fn handlers_hear_their_kinds_from_here_and_from_others() {
        let changed =
            |from: &str, epoch| Envelope::new(id(from), Event::AssignmentChanged { epoch });
        let recorder = Arc::new(Recorder {
            told: Mutex::default(),
            hears: vec![
                Envelope::new(id("b"), Event::Unknown),
                // What this node said itself and came back.
                changed("a", 90),
                changed("b", 4),
            ],
        });
        let bus = Bus::new(id("a"), vec![recorder.clone()], EventMetrics::default());
        let bus = Arc::new(bus);
        let mut heard = bus.subscribe("test", 8, epochs);
        bus.publish(Event::AssignmentChanged { epoch: 3 });
        bus.publish(joined("c"));
        assert_eq!(heard.next().await, 3);
        assert_eq!(heard.take(), None);
        assert_eq!(
            *recorder.told.lock(),
            [Event::AssignmentChanged { epoch: 3 }, joined("c")]
        );

        let stop = CancellationToken::new();
        let running = tokio::spawn(bus.clone().run(stop.clone()));
        assert_eq!(heard.next().await, 4);
        stop.cancel();
        running.await.unwrap();
    }

    #[test]
    fn a_handler_that_does_not_keep_up_loses_the_oldest_and_that_is_counted() {
        let bus = Bus::new(id("a"), Vec::new(), EventMetrics::default());
        let mut heard = bus.subscribe("slow", 2, |e| match &e.event {
            Event::MemberJoined { member } => Some(member.clone()),
            _ => None,
        });
        for name in ["x", "y", "z"] {
            bus.publish(joined(name));
        }
        assert_eq!(bus.metrics().dropped_at("slow"), 1);
        assert_eq!(heard.take(), Some(id("y")));
        assert_eq!(heard.take(), Some(id("z")));
        drop(heard);
        bus.publish(joined("w"));
        assert_eq!(bus.metrics().dropped_at("slow"), 1);
        assert!(bus.handlers.read().is_empty());
    }
}
