//! What an owner does besides answering: it flushes the log into segments, merges segments, and collects garbage.

use std::collections::BTreeSet;
use std::sync::Arc;

use brainy_coordination::gc::Collector;
use brainy_coordination::owner::{Owner, Publisher};
use brainy_coordination::partition::{PartitionManifest, PublishError};
use brainy_coordination::types::{PartitionId, SegmentId};
use rand::RngExt;

use crate::machine::ListMachine;
use crate::node::Process;
use crate::sabotage::Sabotage;
use crate::world::{GRACE, nap};

/// Segments from which on they are merged.
const MANY: usize = 3;

/// Works for one owner until a successor is found. Like a paused process, it may go on after it was deposed.
pub(crate) async fn run(
    process: Arc<Process>,
    partition: PartitionId,
    owner: Owner<ListMachine>,
    machine: Arc<ListMachine>,
) {
    let world = Arc::clone(&process.world);
    let epoch = owner.epoch();
    let publisher = owner.publisher().clone();
    // The owner ends when nobody holds a handle to it.
    drop(owner);
    let mut rng = world.rng(&format!("{}/{partition}/{epoch}", process.name));
    let grace = match world.options.sabotage {
        Some(Sabotage::NoGrace) => std::time::Duration::ZERO,
        _ => GRACE,
    };
    let mut collector = Collector::new(process.store.clone(), partition.clone(), epoch, grace);
    // Segments that no manifest names yet, and those whose publication had no clear answer.
    let mut building = BTreeSet::new();
    loop {
        nap(&mut rng, 500, 6000).await;
        process.awake().await;
        let known = publisher.manifest().await;
        let known = known.map(|m| m.body).unwrap_or_default();
        if rng.random_bool(0.6) {
            let merge = known.segments.len() >= MANY && rng.random_bool(0.5);
            let id = world.segment_id(epoch);
            building.insert(id.clone());
            let done = if merge {
                merge_segments(&machine, &publisher, id, &known).await
            } else {
                flush(&machine, &publisher, id, &known).await
            };
            match done {
                Ok(true) => {
                    building.clear();
                    world.counts.lock().published += 1;
                }
                Ok(false) => {}
                Err(PublishError::Deposed { .. }) => return,
                Err(error) => world.trace(&process.name, error),
            }
        }
        match collector.collect(&building).await {
            Ok(done) => {
                world.counts.lock().collected += (done.slots + done.segment_objects) as u64;
            }
            Err(error) => world.trace(&process.name, error),
        }
        if let Some(sabotage) = world.options.sabotage {
            sabotage.after_collection(&process, &partition).await;
        }
    }
}

/// Publishes the log after `known` as a segment. `false`: there was nothing new, or `known` was out of date.
async fn flush(
    machine: &ListMachine,
    publisher: &Publisher,
    id: SegmentId,
    known: &PartitionManifest,
) -> Result<bool, PublishError> {
    let base = known.applied;
    let (meta, applied) = machine
        .upload(id.clone(), base, None)
        .await
        .map_err(|e| PublishError::Document(e.into()))?;
    if applied <= base {
        return Ok(false);
    }
    let written = publisher
        .publish(|m| {
            if m.applied == base {
                m.segments.push(meta.clone());
                m.applied = applied;
            }
        })
        .await?;
    Ok(written.segments.iter().any(|s| s.id == id))
}

/// Replaces all segments of `known` by one.
async fn merge_segments(
    machine: &ListMachine,
    publisher: &Publisher,
    id: SegmentId,
    known: &PartitionManifest,
) -> Result<bool, PublishError> {
    let (meta, _) = machine
        .upload(id.clone(), Default::default(), Some(known.applied))
        .await
        .map_err(|e| PublishError::Document(e.into()))?;
    let written = publisher
        .publish(|m| {
            if m.segments == known.segments {
                m.segments = vec![meta.clone()];
            }
        })
        .await?;
    Ok(written.segments.iter().any(|s| s.id == id))
}
