//! Taking a directory into a bucket: whatever interrupts it, the prefix is no cluster before everything is there, and the next
//! import ends well.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use brainy_coordination::import::{ImportError, import};
use brainy_coordination::keys;
use brainy_coordination::manifest::{
    self, Collection, CollectionSpec, DenseParams, Distance, VectorSchema,
};
use brainy_coordination::partition::{FileMeta, SegmentMeta, publish};
use brainy_coordination::store::dir::DirStore;
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::{ETag, ListPage, Object, ObjectStore, StoreError};
use brainy_coordination::types::{LogPosition, Nonce, PartitionId, SegmentId};
use brainy_coordination::wal::{Entry, LogObject};
use bytes::Bytes;
use tempfile::TempDir;

/// A store that refuses every write after some.
#[derive(Debug)]
struct Failing {
    inner: Arc<DirStore>,
    writes: AtomicUsize,
}

impl Failing {
    fn write(&self) -> Result<(), StoreError> {
        let left = self
            .writes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        left.map(drop).map_err(|_| StoreError::Refused {
            what: "put",
            key: String::new(),
            message: "the test's".to_owned(),
            remedy: String::new(),
        })
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        self.inner.get(key).await
    }
    async fn get_if_changed(&self, key: &str, known: &ETag) -> Result<Option<Object>, StoreError> {
        self.inner.get_if_changed(key, known).await
    }
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }
    async fn put(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        self.write()?;
        self.inner.put(key, body).await
    }
    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        self.write()?;
        self.inner.put_if_absent(key, body).await
    }
    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        current: &ETag,
    ) -> Result<ETag, StoreError> {
        self.write()?;
        self.inner.put_if_match(key, body, current).await
    }
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.write()?;
        self.inner.delete(key).await
    }
    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StoreError> {
        self.inner.list(prefix, start_after, limit).await
    }
}

struct Place {
    _dir: TempDir,
    dir: Arc<DirStore>,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self {
            dir: DirStore::open(dir.path()).unwrap(),
            _dir: dir,
        }
    }

    fn store(&self) -> Store {
        Store::new(self.dir.clone(), RetryPolicy::default())
    }

    /// Refuses writes after `writes`.
    fn failing(&self, writes: usize) -> Store {
        let failing = Failing {
            inner: self.dir.clone(),
            writes: AtomicUsize::new(writes),
        };
        Store::new(Arc::new(failing), RetryPolicy::default())
    }

    /// Everything in it but the marker of the import.
    async fn contents(&self) -> BTreeMap<String, Bytes> {
        let store = self.store();
        let mut all = BTreeMap::new();
        for object in store.list_all("").await.unwrap() {
            if object.key != keys::IMPORT {
                let body = store.get(&object.key).await.unwrap().unwrap().body;
                all.insert(object.key, body);
            }
        }
        all
    }
}

fn slot(partition: &PartitionId, position: LogPosition) -> (String, Bytes) {
    let entry = Entry {
        request: Nonce::random(),
        payload: Bytes::from_static(b"a write"),
    };
    let body = LogObject::Data(vec![entry]).encode(position);
    (keys::wal_slot(partition, position), body)
}

/// A directory with a collection of two partitions: one with a segment and a log, one that nobody has flushed yet; and with what
/// is left behind.
async fn standalone() -> (Place, Collection, Vec<String>) {
    let place = Place::new();
    let store = place.store();
    let spec = CollectionSpec {
        partitions: 2,
        schema: VectorSchema::unnamed(DenseParams::new(2, Distance::Dot)),
        extra: serde_json::Value::Null,
    };
    let things = manifest::create_collection(&store, "things", &spec, Nonce(7))
        .await
        .unwrap();
    let partitions: Vec<PartitionId> = things.partitions().collect();
    let body = Bytes::from_static(b"a file of a segment");
    let id = SegmentId::generate(1);
    let file = FileMeta {
        name: "rows.bin".to_owned(),
        bytes: body.len() as u64,
        crc32c: crc32c::crc32c(&body),
    };
    let segment = SegmentMeta {
        id: id.clone(),
        rows: 1,
        tombstones: 0,
        newest: LogPosition::new(1, 1),
        files: vec![file],
    };
    let mut expected = vec![
        keys::MANIFEST.to_owned(),
        keys::partition_manifest(&partitions[0]),
    ];
    let key = keys::segment_file(&partitions[0], &id, "rows.bin");
    store.put(&key, body).await.unwrap();
    expected.push(key);
    for (partition, position) in [
        (&partitions[0], LogPosition::new(1, 1)),
        (&partitions[0], LogPosition::new(1, 2)),
        (&partitions[1], LogPosition::new(1, 1)),
    ] {
        let (key, body) = slot(partition, position);
        store.put(&key, body).await.unwrap();
        expected.push(key);
    }
    publish(&store, &partitions[0], 1, None, |manifest| {
        manifest.applied = LogPosition::new(1, 1);
        manifest.segments = vec![segment.clone()];
    })
    .await
    .unwrap();
    // Garbage, and what belongs to the process.
    let garbage = keys::segment_file(&partitions[0], &SegmentId::generate(1), "rows.bin");
    for key in [
        garbage,
        keys::lock(&partitions[0]),
        keys::ASSIGNMENTS.to_owned(),
        keys::event(1),
    ] {
        store.put(&key, Bytes::from_static(b"{}")).await.unwrap();
    }
    expected.sort();
    (place, things, expected)
}

#[tokio::test]
async fn what_is_referred_to_is_copied_and_nothing_else() {
    let (source, _, expected) = standalone().await;
    let target = Place::new();
    let first = import(&source.store(), &target.store(), "dir", |_| {})
        .await
        .unwrap();
    assert_eq!((first.collections, first.partitions), (1, 2));
    assert!(!first.already);
    assert_eq!(first.copied.objects, first.copied.of_objects);
    assert_eq!(first.copied.bytes, first.copied.of_bytes);
    let (all, copied) = (source.contents().await, target.contents().await);
    let keys: Vec<&String> = copied.keys().collect();
    assert_eq!(keys, expected.iter().collect::<Vec<_>>());
    assert!(copied.iter().all(|(key, body)| all[key] == *body));
    // Again: nothing is done, also when the cluster has moved on.
    target
        .store()
        .delete(&keys::partition_manifest(
            &"gone-1/0".parse::<PartitionId>().unwrap(),
        ))
        .await
        .unwrap();
    let again = import(&source.store(), &target.failing(0), "dir", |_| {})
        .await
        .unwrap();
    assert!(again.already);
    assert_eq!(target.contents().await, copied);
}

#[tokio::test]
async fn whatever_interrupts_it_the_next_one_ends_well() {
    let (source, things, _) = standalone().await;
    let whole = Place::new();
    import(&source.store(), &whole.store(), "dir", |_| {})
        .await
        .unwrap();
    let writes = whole.contents().await.len() + 1;
    for fails_after in 0..writes {
        let target = Place::new();
        let cut = import(&source.store(), &target.failing(fails_after), "dir", |_| {}).await;
        assert!(cut.is_err(), "{fails_after} of {writes} writes");
        let there = target.contents().await;
        assert!(!there.contains_key(keys::MANIFEST), "{fails_after}");
        // The directory was used in between: there is more of its log, and less.
        let partition = things.partitions().next().unwrap();
        let (extra, body) = slot(&partition, LogPosition::new(1, 3));
        let store = source.store();
        store.put(&extra, body).await.unwrap();
        let leftover = slot(&partition, LogPosition::new(1, 4));
        if fails_after > 0 {
            target.store().put(&leftover.0, leftover.1).await.unwrap();
        }
        let done = import(&store, &target.store(), "dir", |_| {})
            .await
            .unwrap();
        assert!(!done.already);
        let mut expected = whole.contents().await;
        expected.insert(
            extra.clone(),
            store.get(&extra).await.unwrap().unwrap().body,
        );
        assert_eq!(target.contents().await, expected, "{fails_after}");
        store.delete(&extra).await.unwrap();
    }
}

#[tokio::test]
async fn a_prefix_that_has_other_data_is_left_alone() {
    let (source, _, _) = standalone().await;
    let target = Place::new();
    let store = target.store();
    store
        .put("notes.txt", Bytes::from_static(b"mine"))
        .await
        .unwrap();
    let before = target.contents().await;
    let refused = import(&source.store(), &store, "dir", |_| {}).await;
    assert!(matches!(refused, Err(ImportError::NotEmpty { key }) if key == "notes.txt"));
    assert_eq!(target.contents().await, before);

    // A node made a manifest while an import was interrupted.
    let target = Place::new();
    let cut = import(&source.store(), &target.failing(2), "dir", |_| {}).await;
    cut.unwrap_err();
    manifest::load_or_create(&target.store()).await.unwrap();
    let refused = import(&source.store(), &target.store(), "dir", |_| {}).await;
    assert!(matches!(refused, Err(ImportError::NotEmpty { key }) if key == keys::MANIFEST));

    // Another directory's import.
    let (other, _, _) = standalone().await;
    let refused = import(&other.store(), &target.store(), "other", |_| {}).await;
    assert!(matches!(refused, Err(ImportError::OtherImport { from, .. }) if from == "dir"));

    let empty = Place::new();
    let nothing = import(&empty.store(), &Place::new().store(), "dir", |_| {}).await;
    assert!(matches!(nothing, Err(ImportError::NoData)));
}

#[tokio::test]
async fn damage_stops_it_before_anything_is_visible() {
    for damaged in ["rows.bin", "000000000001/000000000002"] {
        let (source, _, expected) = standalone().await;
        let store = source.store();
        let key = expected.iter().find(|key| key.ends_with(damaged)).unwrap();
        let body = store.get(key).await.unwrap().unwrap().body;
        let mut bad = body.to_vec();
        let last = bad.len() - 1;
        bad[last] ^= 0xff;
        for content in [Bytes::from(bad), body.slice(..last)] {
            store.put(key, content).await.unwrap();
            let target = Place::new();
            let refused = import(&store, &target.store(), "dir", |_| {}).await;
            let Err(ImportError::Damaged { key: named, .. }) = &refused else {
                panic!("{damaged}: {refused:?}");
            };
            assert_eq!(named, key);
            assert!(!target.contents().await.contains_key(keys::MANIFEST));
        }
        store.delete(key).await.unwrap();
        let missing = import(&store, &Place::new().store(), "dir", |_| {}).await;
        // A slot that is not there is one that was not written.
        assert_eq!(missing.is_err(), damaged == "rows.bin");
        store.put(key, body).await.unwrap();
        import(&store, &Place::new().store(), "dir", |_| {})
            .await
            .unwrap();
    }
}
