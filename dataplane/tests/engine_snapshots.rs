//! Reads during writes, flushes and merges see one state: never a point twice, never a point missing that was always there.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use brainy_coordination::manifest::{DenseParams, Distance, VectorSchema};
use brainy_coordination::partition::SegmentMeta;
use brainy_coordination::types::{LogPosition, SegmentId};
use brainy_dataplane::engine::{BuildOptions, Change, OpenOptions, PartitionState, Segment};
use brainy_dataplane::model::{
    CountRequest, PayloadSelector, Point, PointId, ScrollRequest, SearchRequest, VectorSelector,
    Vectors,
};
use serde_json::json;

const POINTS: u64 = 700;
/// Maintenance that must happen meanwhile.
const FLUSHES: usize = 12;
const MERGES: usize = 3;

/// Every entry rewrites all points with the number of the round, so that a read that mixes two states shows.
fn round(number: u64) -> Vec<Change> {
    (0..POINTS)
        .map(|n| {
            Change::Put(Point {
                id: PointId::Num(n),
                vectors: Vectors::unnamed(vec![number as f32, n as f32]),
                payload: json!({"round": number}).as_object().unwrap().clone(),
            })
        })
        .collect()
}

fn read(state: &PartitionState) {
    assert_eq!(
        state.count(&CountRequest { filter: None }).unwrap() as u64,
        POINTS
    );
    let page = state
        .scroll(&ScrollRequest {
            filter: None,
            limit: POINTS as usize,
            offset: None,
            with_payload: PayloadSelector::All,
            with_vector: VectorSelector::None,
        })
        .unwrap();
    assert_eq!(page.records.len() as u64, POINTS);
    let rounds: Vec<_> = page
        .records
        .iter()
        .filter_map(|r| r.payload.as_ref()?.get("round"))
        .collect();
    assert!(
        rounds.iter().all(|r| *r == rounds[0]),
        "one page shows two states"
    );
    for exact in [true, false] {
        let found = state
            .search(&SearchRequest {
                exact,
                with_vector: VectorSelector::All,
                ..SearchRequest::new(vec![0.0, 0.0], 50)
            })
            .unwrap();
        assert_eq!(found.len(), 50);
        let mut ids: Vec<_> = found.iter().map(|p| p.record.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 50, "a point was found twice");
        assert!(
            found.iter().all(|p| p.version == found[0].version),
            "one answer shows two states"
        );
    }
}

#[test]
fn reads_see_one_state_while_everything_changes() {
    let dir = tempfile::tempdir().unwrap();
    let state = PartitionState::new(VectorSchema::unnamed(DenseParams::new(2, Distance::Euclid)));
    state.apply(LogPosition::new(1, 1), &round(1)).unwrap();
    let done = AtomicBool::new(false);
    let (flushes, merges) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let open = |id: &SegmentId, meta: &SegmentMeta| {
        Arc::new(
            Segment::open(
                &dir.path().join(id.as_str()),
                meta,
                OpenOptions { resident: true },
            )
            .unwrap(),
        )
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0;
                    while !done.load(Ordering::Relaxed) || reads == 0 {
                        read(&state);
                        reads += 1;
                    }
                })
            })
            .collect();
        let maintainer = scope.spawn(|| {
            // The owner's way: flush what is frozen, merge when there are several segments.
            let mut applied = LogPosition::default();
            while !done.load(Ordering::Relaxed) {
                if let Some(frozen) = state.freeze() {
                    let id = SegmentId::generate(1);
                    let meta = frozen
                        .build(
                            id.clone(),
                            &dir.path().join(id.as_str()),
                            BuildOptions::default(),
                        )
                        .unwrap();
                    let mut segments = state.segments();
                    segments.push(open(&id, &meta));
                    applied = frozen.position();
                    state.install(segments, applied).unwrap();
                    flushes.fetch_add(1, Ordering::Relaxed);
                }
                let inputs: Vec<SegmentId> =
                    state.segments().iter().map(|s| s.id().clone()).collect();
                if inputs.len() >= 3 {
                    let id = SegmentId::generate(1);
                    let merged = state
                        .merge(
                            &inputs,
                            id.clone(),
                            &dir.path().join(id.as_str()),
                            BuildOptions::default(),
                        )
                        .unwrap();
                    state
                        .install(merged.iter().map(|meta| open(&id, meta)).collect(), applied)
                        .unwrap();
                    merges.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let mut number = 2;
        let enough = || {
            flushes.load(Ordering::Relaxed) >= FLUSHES && merges.load(Ordering::Relaxed) >= MERGES
        };
        while !enough() && !maintainer.is_finished() {
            state
                .apply(LogPosition::new(1, number), &round(number))
                .unwrap();
            number += 1;
        }
        done.store(true, Ordering::Relaxed);
        maintainer.join().unwrap();
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!(state.stats().points as u64, POINTS);
}
