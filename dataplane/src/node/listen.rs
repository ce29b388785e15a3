//! What a node does when others say that something happened: it looks, earlier than it would have.

use brainy_coordination::events::Event;
use brainy_coordination::types::{LogPosition, PartitionId};
use tokio_util::sync::CancellationToken;

use super::Node;

/// Changes of the table and the collections that wait to be looked at: a look finds all of them.
const CHANGES: usize = 64;
/// Partitions whose news wait to be followed.
const NEWS: usize = 8192;

/// News of one partition.
enum News {
    Log(PartitionId, LogPosition),
    Segments(PartitionId),
}

impl Node {
    /// The owner says that a log has grown.
    pub(super) fn log_advanced(&self, partition: &PartitionId, position: LogPosition) {
        if let Some(host) = self.host(partition) {
            host.log_advanced(position);
        }
    }

    /// Starts the handlers of events.
    pub(super) fn listen(&self, stop: &CancellationToken) {
        let (events, me) = (&self.0.context.events, self.me().instance.clone());
        let mut changes = events.subscribe("assignments", CHANGES, move |said| {
            (said.from != me && changes_the_view(&said.event)).then_some(())
        });
        let (node, ends) = (self.clone(), stop.clone());
        self.0.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = ends.cancelled() => return,
                    () = changes.next() => node.view().hint(),
                }
            }
        });
        let me = self.me().instance.clone();
        let mut versions = events.subscribe("configuration", 1, move |said| match said.event {
            Event::ConfigurationUpdated { version } if said.from != me => Some(version),
            _ => None,
        });
        let (node, ends) = (self.clone(), stop.clone());
        self.0.tasks.spawn(async move {
            loop {
                let version = tokio::select! {
                    () = ends.cancelled() => return,
                    version = versions.next() => version,
                };
                node.follow_configuration(version).await;
            }
        });
        let me = self.me().instance.clone();
        let mut news = events.subscribe("replicas", NEWS, move |said| {
            (said.from != me).then(|| news_of(&said.event)).flatten()
        });
        let (node, ends) = (self.clone(), stop.clone());
        self.0.tasks.spawn(async move {
            loop {
                let news = tokio::select! {
                    () = ends.cancelled() => return,
                    news = news.next() => news,
                };
                let (News::Log(partition, _) | News::Segments(partition)) = &news;
                let Some(host) = node.host(partition) else {
                    continue;
                };
                match news {
                    News::Log(_, position) => host.log_advanced(position),
                    News::Segments(_) => host.segment_published(),
                }
            }
        });
        let bus = events.clone();
        self.0.tasks.spawn(bus.run(stop.clone()));
    }
}

/// Whether the assignment table or the collections may be others than those that are known.
fn changes_the_view(event: &Event) -> bool {
    match event {
        Event::MemberJoined { .. }
        | Event::MemberLeft { .. }
        | Event::Draining { .. }
        | Event::AssignmentChanged { .. }
        | Event::HandoffStarted { .. }
        | Event::HandoffCompleted { .. }
        | Event::CollectionCreated { .. }
        | Event::CollectionDropped { .. } => true,
        Event::PartitionTakenOver { .. }
        | Event::SegmentPublished { .. }
        | Event::LogQuarantined { .. }
        | Event::LogAdvanced { .. }
        | Event::ConfigurationUpdated { .. }
        | Event::Unknown => false,
    }
}

fn news_of(event: &Event) -> Option<News> {
    match event {
        Event::LogAdvanced {
            partition,
            position,
        } => Some(News::Log(partition.clone(), *position)),
        Event::SegmentPublished { partition, .. } => Some(News::Segments(partition.clone())),
        _ => None,
    }
}
