//! Snapshots against owners that merge, collectors that remove, collections that are dropped and creators that die, on a
//! simulated bucket: whatever a usable snapshot names is there, at every moment.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::document;
use brainy_coordination::dropped::{self, Removal};
use brainy_coordination::gc::Collector;
use brainy_coordination::keys;
use brainy_coordination::manifest::{
    self, ClusterManifest, Collection, CollectionSpec, DenseParams, Distance, ManifestError,
    VectorSchema, abandon_recovery, beat_recovery, begin_recovery, finish_recovery,
};
use brainy_coordination::partition::{FileMeta, PartitionManifest, SegmentMeta, publish};
use brainy_coordination::snapshot::{
    self, Draft, PinReader, PinnedCollection, Pins, Reaper, SnapshotError, SnapshotState,
};
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::sim::{FaultPlan, SimBucket};
use brainy_coordination::types::{LogPosition, Nonce, PartitionId, SegmentId};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep};

const GRACE: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(60);
const RUN: Duration = Duration::from_secs(400);

struct World {
    bucket: Arc<SimBucket>,
    collection: Collection,
}

impl World {
    async fn new(seed: u64, partitions: u32) -> Arc<Self> {
        let bucket = SimBucket::new(seed);
        let store = store(&bucket, "setup", seed);
        let collection = manifest::create_collection(&store, "things", &spec(partitions), Nonce(7))
            .await
            .unwrap();
        Arc::new(Self { bucket, collection })
    }

    fn pinned(&self) -> PinnedCollection {
        PinnedCollection {
            name: "things".to_owned(),
            collection: self.collection.clone(),
            partitions: Vec::new(),
        }
    }

    fn partition(&self, index: u32) -> PartitionId {
        self.collection.partitions().nth(index as usize).unwrap()
    }
}

fn spec(partitions: u32) -> CollectionSpec {
    CollectionSpec {
        partitions,
        schema: VectorSchema::unnamed(DenseParams::new(2, Distance::Dot)),
        extra: serde_json::Value::Null,
    }
}

fn store(bucket: &Arc<SimBucket>, name: &str, seed: u64) -> Store {
    let policy = RetryPolicy {
        base_pause: Duration::from_millis(10),
        max_pause: Duration::from_millis(200),
        deadline: Duration::from_secs(10),
    };
    Store::new(bucket.client(name), policy).with_jitter_seed(seed)
}

fn segment(epoch: u64, number: u64) -> SegmentMeta {
    SegmentMeta {
        id: SegmentId::new(format!("{epoch:012}-{number:026}")).unwrap(),
        rows: 1,
        tombstones: 0,
        newest: LogPosition::new(epoch, number),
        files: vec![FileMeta {
            name: "rows.bin".to_owned(),
            bytes: 1,
            crc32c: 0,
        }],
    }
}

/// An owner that adds a segment, merges all it has now and then, and collects, with pauses anywhere.
async fn own(world: Arc<World>, index: u32, seed: u64, until: Instant) {
    let name = format!("owner-{index}");
    let store = store(&world.bucket, &name, seed);
    let partition = world.partition(index);
    let mut random = SmallRng::seed_from_u64(seed ^ u64::from(index) << 8);
    let (mut epoch, mut number) = (1, 0);
    let mut known = None;
    let mut collector = Collector::new(store.clone(), partition.clone(), epoch, GRACE);
    let mut unclear = BTreeSet::new();
    while Instant::now() < until {
        sleep(Duration::from_millis(random.random_range(10..3_000))).await;
        if random.random_bool(0.1) {
            world.bucket.freeze(&name);
            sleep(Duration::from_secs(random.random_range(1..60))).await;
            world.bucket.thaw(&name);
        }
        if random.random_bool(0.03) {
            epoch += 1;
            unclear.clear();
            collector = Collector::new(store.clone(), partition.clone(), epoch, GRACE);
        }
        number += 1;
        let new = segment(epoch, number);
        unclear.insert(new.id.clone());
        let file = keys::segment_file(&partition, &new.id, "rows.bin");
        if store.put(&file, vec![1].into()).await.is_ok() {
            let merge = random.random_bool(0.4);
            let before = known.clone();
            let done = publish(
                &store,
                &partition,
                epoch,
                before,
                |m: &mut PartitionManifest| {
                    if m.segments.iter().any(|s| s.id == new.id) {
                        return;
                    }
                    if merge {
                        m.segments.clear();
                    }
                    m.segments.push(new.clone());
                    m.applied = m.applied.max(new.newest);
                },
            );
            if let Ok(written) = done.await {
                known = Some(written);
                unclear.clear();
            }
        }
        let _next_pass_goes_on = collector.collect(&unclear).await;
    }
}

/// A creator that dies, dawdles or deletes what it made. Returns the names it said were complete.
async fn create(world: Arc<World>, number: u64, seed: u64, until: Instant) -> BTreeSet<String> {
    let caller = format!("creator-{number}");
    let store = store(&world.bucket, &caller, seed);
    let mut random = SmallRng::seed_from_u64(seed ^ number << 32);
    let mut made = BTreeSet::new();
    let mut attempt = 0;
    while Instant::now() < until {
        sleep(Duration::from_millis(random.random_range(10..10_000))).await;
        attempt += 1;
        let name = format!("things-{number}-{attempt}.snapshot");
        let of = Some("things".to_owned());
        let Ok(mut draft) = Draft::begin(&store, &name, of, 1, vec![world.pinned()]).await else {
            continue;
        };
        if random.random_bool(0.2) {
            continue;
        }
        if random.random_bool(0.2) {
            sleep(Duration::from_secs(random.random_range(1..100))).await;
        }
        let made_it = match draft.pin().await {
            Ok(()) => draft.complete(1, "00".to_owned()).await,
            Err(error) => Err(error),
        };
        if made_it.is_err() {
            draft.abandon().await;
            continue;
        }
        made.insert(name.clone());
        if random.random_bool(0.5) {
            sleep(Duration::from_secs(random.random_range(1..100))).await;
            if snapshot::delete(&store, &name).await.is_ok() {
                made.remove(&name);
            }
        }
    }
    made
}

/// Reaps, and removes what is dropped.
async fn clear_away(world: Arc<World>, seed: u64, until: Instant) {
    let store = store(&world.bucket, "janitor", seed);
    let pins = PinReader::new(store.clone());
    let mut reaper = Reaper::new(store.clone(), PATIENCE);
    let uid = &world.collection.uid;
    while Instant::now() < until {
        sleep(Duration::from_secs(2)).await;
        let _next_pass_goes_on = reaper.pass().await;
        let seen = document::load::<ClusterManifest>(&store, keys::MANIFEST).await;
        if seen.is_ok_and(|m| m.is_some_and(|m| m.dropped.contains_key(uid))) {
            let _next_pass_goes_on = dropped::remove(&store, &pins, uid, None).await;
        }
    }
}

/// Walks through all that happened: at every moment, what each complete snapshot names is there. Returns how many there were.
fn audit(bucket: &SimBucket, seed: u64) -> usize {
    let mut objects: BTreeSet<String> = BTreeSet::new();
    let mut complete: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut count = 0;
    for effect in bucket.history() {
        match &effect.body {
            None => {
                objects.remove(&effect.key);
                complete.remove(&effect.key);
                let pinned = complete
                    .iter()
                    .find(|(_, files)| files.contains(&effect.key));
                assert!(
                    pinned.is_none(),
                    "seed {seed}: {} removed '{}' at {:?}, which {:?} needs",
                    effect.caller,
                    effect.key,
                    effect.at,
                    pinned.map(|(name, _)| name)
                );
            }
            Some(body) => {
                objects.insert(effect.key.clone());
                if keys::parse_snapshot(&effect.key).is_none() {
                    continue;
                }
                let snapshot: snapshot::Snapshot = serde_json::from_slice(body).unwrap();
                if snapshot.complete().is_none() {
                    continue;
                }
                count += 1;
                let mut files = Vec::new();
                for collection in &snapshot.collections {
                    assert_eq!(
                        collection.partitions.len(),
                        collection.collection.spec.partitions as usize
                    );
                    for (index, partition) in (0..).zip(&collection.partitions) {
                        let id = collection.partition_id(index);
                        let ids = partition.segments.iter().map(|s| &s.id);
                        files.extend(ids.map(|s| keys::segment_file(&id, s, "rows.bin")));
                    }
                }
                for file in &files {
                    assert!(objects.contains(file), "seed {seed}: '{file}' is missing");
                }
                complete.insert(effect.key.clone(), files);
            }
        }
    }
    count
}

fn run(seed: u64, drops: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::new(seed, 2).await;
        let faults = match seed % 3 {
            0 => FaultPlan::calm(),
            _ => FaultPlan::harsh(),
        };
        world.bucket.set_faults(faults);
        let until = Instant::now() + RUN;
        let mut tasks = Vec::new();
        for index in 0..2 {
            tasks.push(tokio::spawn(own(world.clone(), index, seed, until)));
        }
        tasks.push(tokio::spawn(clear_away(world.clone(), seed, until)));
        let creators: Vec<_> = (0..3)
            .map(|n| tokio::spawn(create(world.clone(), n, seed, until)))
            .collect();
        if drops {
            sleep(RUN / 2).await;
            let store = store(&world.bucket, "user", seed);
            while manifest::drop_collection(&store, "things").await.is_err() {}
        }
        for task in tasks {
            task.await.unwrap();
        }
        let mut made = BTreeSet::new();
        for creator in creators {
            made.extend(creator.await.unwrap());
        }
        world.bucket.set_faults(FaultPlan::default());
        world.bucket.deliver_late_writes();
        audit(&world.bucket, seed);
        settle(&world, &made, seed, drops).await;
        let complete = audit(&world.bucket, seed);
        assert!(complete >= made.len(), "seed {seed}");
    });
}

/// With no more faults: what was made is listed, and once it is deleted nothing but what manifests name is left.
async fn settle(world: &World, made: &BTreeSet<String>, seed: u64, dropped: bool) {
    let store = store(&world.bucket, "end", seed);
    let listed = snapshot::list(&store).await.unwrap();
    let listed: BTreeSet<String> = listed.into_iter().map(|(name, _)| name).collect();
    assert!(made.is_subset(&listed), "seed {seed}: {made:?} {listed:?}");
    let mut reaper = Reaper::new(store.clone(), PATIENCE);
    reaper.pass().await.unwrap();
    sleep(PATIENCE).await;
    reaper.pass().await.unwrap();
    for name in &listed {
        assert!(snapshot::delete(&store, name).await.unwrap());
    }
    let left = store.list_all(keys::SNAPSHOTS).await.unwrap();
    assert!(left.is_empty(), "seed {seed}: {left:?}");
    let pins = PinReader::new(store.clone());
    if dropped {
        let uid = &world.collection.uid;
        let done = dropped::remove(&store, &pins, uid, None).await.unwrap();
        assert_eq!(done, Removal::Done, "seed {seed}");
        for prefix in keys::collection_prefixes(uid) {
            let left = store.list_all(&prefix).await.unwrap();
            assert!(left.is_empty(), "seed {seed}: {left:?}");
        }
        return;
    }
    for partition in world.collection.partitions() {
        let key = keys::partition_manifest(&partition);
        let manifest = document::load::<PartitionManifest>(&store, &key).await;
        let manifest = manifest.unwrap().unwrap();
        let mut collector =
            Collector::new(store.clone(), partition.clone(), 1_000, GRACE).with_pins(pins.clone());
        collector.collect(&BTreeSet::new()).await.unwrap();
        sleep(GRACE).await;
        collector.collect(&BTreeSet::new()).await.unwrap();
        let left = store.list_all(&keys::segments(&partition)).await.unwrap();
        assert_eq!(left.len(), manifest.segments.len(), "seed {seed}");
    }
}

#[test]
fn what_a_usable_snapshot_names_is_never_removed() {
    for seed in 0..40 {
        run(seed, false);
    }
}

#[test]
fn snapshots_outlive_their_collection() {
    for seed in 100..130 {
        run(seed, true);
    }
}

fn calm() -> (Arc<SimBucket>, Store) {
    let bucket = SimBucket::new(1);
    let store = store(&bucket, "a", 1);
    (bucket, store)
}

/// A partition with one segment.
async fn with_segment(world: &World, store: &Store) -> SegmentMeta {
    let meta = segment(1, 1);
    let partition = world.partition(0);
    let file = keys::segment_file(&partition, &meta.id, "rows.bin");
    store.put(&file, vec![1].into()).await.unwrap();
    publish(store, &partition, 1, None, |m| {
        m.segments = vec![meta.clone()]
    })
    .await
    .unwrap();
    meta
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_listed_only_when_it_is_complete() {
    let world = World::new(1, 1).await;
    let store = store(&world.bucket, "a", 1);
    let meta = with_segment(&world, &store).await;
    let uid = &world.collection.uid;
    let begin = || Draft::begin(&store, "s", None, 5, vec![world.pinned()]);
    let pins = PinReader::new(store.clone());
    let mut draft = begin().await.unwrap();
    assert_eq!(pins.of(uid).await.unwrap(), Pins::Everything);
    assert!(matches!(begin().await, Err(SnapshotError::Exists(_))));
    let kind = serde_json::json!({"type": "keyword"});
    manifest::set_payload_index(&store, "things", "color", Some(&kind))
        .await
        .unwrap();
    draft.pin().await.unwrap();
    let entry = &draft.snapshot().collections[0].collection;
    assert_eq!(entry.payload_indexes["color"], kind);
    let expected = Pins::Only(BTreeSet::from([(0, meta.id.clone())]));
    assert_eq!(pins.of(uid).await.unwrap(), expected);
    draft.beat().await.unwrap();
    assert!(snapshot::list(&store).await.unwrap().is_empty());
    assert!(!snapshot::delete(&store, "s").await.unwrap());
    draft.complete(10, "ab".to_owned()).await.unwrap();
    let listed = snapshot::list(&store).await.unwrap();
    assert_eq!(listed[0].0, "s");
    assert_eq!(listed[0].1.complete(), Some((10, "ab")));
    assert_eq!(listed[0].1.collections[0].partitions[0].segments, [meta]);
    assert!(snapshot::delete(&store, "s").await.unwrap());
    assert!(!snapshot::delete(&store, "s").await.unwrap());
    assert!(pins.of(uid).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_creator_that_was_given_up_cannot_finish() {
    let world = World::new(1, 1).await;
    let store = store(&world.bucket, "a", 1);
    with_segment(&world, &store).await;
    let mut reaper = Reaper::new(store.clone(), PATIENCE);
    let mut draft = Draft::begin(&store, "s", None, 5, vec![world.pinned()])
        .await
        .unwrap();
    assert!(reaper.pass().await.unwrap().snapshots.is_empty());
    sleep(PATIENCE / 2).await;
    draft.pin().await.unwrap();
    for _ in 0..4 {
        sleep(PATIENCE / 2).await;
        assert!(reaper.pass().await.unwrap().snapshots.is_empty());
        draft.beat().await.unwrap();
    }
    assert!(reaper.pass().await.unwrap().snapshots.is_empty());
    sleep(PATIENCE).await;
    assert_eq!(reaper.pass().await.unwrap().snapshots, ["s"]);
    let late = draft.complete(1, "00".to_owned()).await;
    assert!(matches!(late, Err(SnapshotError::Abandoned(_))), "{late:?}");
    assert_eq!(
        snapshot::load(&store, "s")
            .await
            .unwrap()
            .map(|s| s.version),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_snapshot_stops_the_collector() {
    let world = World::new(1, 1).await;
    let store = store(&world.bucket, "a", 1);
    let meta = with_segment(&world, &store).await;
    let partition = world.partition(0);
    let known = document::load(&store, &keys::partition_manifest(&partition)).await;
    publish(&store, &partition, 1, known.unwrap(), |m| {
        m.segments.clear()
    })
    .await
    .unwrap();
    let damaged = keys::snapshot("s");
    store.put(&damaged, "{\"format\":2}".into()).await.unwrap();
    let mut collector = Collector::new(store.clone(), partition.clone(), 1, GRACE);
    for _ in 0..2 {
        let refused = collector.collect(&BTreeSet::new()).await.unwrap_err();
        assert!(refused.to_string().contains("snapshots/s"), "{refused}");
        sleep(GRACE).await;
    }
    store.delete(&damaged).await.unwrap();
    collector.collect(&BTreeSet::new()).await.unwrap();
    sleep(GRACE).await;
    let collected = collector.collect(&BTreeSet::new()).await.unwrap();
    assert_eq!(collected.segment_objects, 1);
    let file = keys::segment_file(&partition, &meta.id, "rows.bin");
    assert!(store.get(&file).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_recovery_replaces_a_collection_in_one_step_or_leaves_everything() {
    let (_bucket, store) = calm();
    let old = manifest::create_collection(&store, "c", &spec(2), Nonce(1))
        .await
        .unwrap();
    let load = || async {
        let manifest = document::load::<ClusterManifest>(&store, keys::MANIFEST).await;
        manifest.unwrap().unwrap().body
    };
    let wanted = spec(3);
    let uid = begin_recovery(&store, "c", &wanted, Nonce(2))
        .await
        .unwrap();
    assert_eq!(
        begin_recovery(&store, "c", &wanted, Nonce(2))
            .await
            .unwrap(),
        uid
    );
    assert_eq!(load().await.collections["c"], old);
    beat_recovery(&store, &uid).await.unwrap();
    let new = Collection {
        uid: uid.clone(),
        created: Nonce(2),
        spec: spec(3),
        ..old.clone()
    };
    let replaced = finish_recovery(&store, &new).await.unwrap();
    assert_eq!(replaced.as_ref(), Some(&old.uid));
    let after = load().await;
    assert_eq!(after.collections["c"], new);
    assert!(after.recovering.is_empty() && after.dropped.contains_key(&old.uid));
    // A repeated write recognises itself.
    assert_eq!(finish_recovery(&store, &new).await.unwrap(), None);
    assert_eq!(load().await, after);

    let alias = [manifest::AliasChange::Create {
        alias: "other".to_owned(),
        collection: "c".to_owned(),
    }];
    manifest::change_aliases(&store, &alias).await.unwrap();
    let refused = begin_recovery(&store, "other", &wanted, Nonce(3)).await;
    assert!(matches!(refused, Err(ManifestError::NameIsAlias { .. })));
    let other = CollectionSpec {
        schema: VectorSchema::unnamed(DenseParams::new(3, Distance::Dot)),
        ..spec(1)
    };
    let refused = begin_recovery(&store, "c", &other, Nonce(3)).await;
    assert!(matches!(refused, Err(ManifestError::Incompatible { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_was_given_up_cannot_be_finished() {
    let (_bucket, store) = calm();
    let wanted = spec(1);
    let uid = begin_recovery(&store, "c", &wanted, Nonce(2))
        .await
        .unwrap();
    let mut reaper = Reaper::new(store.clone(), PATIENCE);
    reaper.pass().await.unwrap();
    sleep(PATIENCE / 2).await;
    beat_recovery(&store, &uid).await.unwrap();
    sleep(PATIENCE / 2).await;
    assert!(reaper.pass().await.unwrap().recoveries.is_empty());
    assert!(!abandon_recovery(&store, &uid, Some(0)).await.unwrap());
    sleep(PATIENCE).await;
    assert_eq!(
        reaper.pass().await.unwrap().recoveries,
        std::slice::from_ref(&uid)
    );
    let collection = Collection {
        uid: uid.clone(),
        created: Nonce(2),
        spec: spec(1),
        payload_indexes: BTreeMap::new(),
    };
    let late = finish_recovery(&store, &collection).await;
    assert!(matches!(late, Err(ManifestError::RecoveryAbandoned { .. })));
    let beat = beat_recovery(&store, &uid).await;
    assert!(matches!(beat, Err(ManifestError::RecoveryAbandoned { .. })));
    let manifest = document::load::<ClusterManifest>(&store, keys::MANIFEST).await;
    let manifest = manifest.unwrap().unwrap();
    assert!(manifest.dropped.contains_key(&uid) && manifest.collections.is_empty());
    let pins = PinReader::new(store.clone());
    let done = dropped::remove(&store, &pins, &uid, None).await.unwrap();
    assert_eq!(done, Removal::Done);
}

#[test]
fn states_are_spelled_as_documented() {
    let text = |s: &SnapshotState| serde_json::to_string(s).unwrap();
    assert_eq!(text(&SnapshotState::Pinning), "\"pinning\"");
    let complete = SnapshotState::Complete {
        bytes: 1,
        sha256: "ab".to_owned(),
    };
    assert_eq!(text(&complete), r#"{"complete":{"bytes":1,"sha256":"ab"}}"#);
}
