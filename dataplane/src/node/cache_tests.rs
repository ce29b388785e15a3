use brainy_coordination::manifest::{DenseParams, Distance, VectorSchema};
use brainy_coordination::store::retry::RetryPolicy;
use brainy_coordination::store::sim::SimBucket;
use brainy_coordination::types::LogPosition;
use prometheus_client::metrics::counter::Counter;
use serde_json::json;

use super::*;
use crate::engine::{BuildOptions, Change, PartitionState};
use crate::model::{PayloadSelector, Point, PointId, SearchRequest, Vectors};

const ROWS: u64 = 40;

/// A node's cache, and a segment of one partition in the bucket.
struct Place {
    bucket: Arc<SimBucket>,
    dir: tempfile::TempDir,
    partition: PartitionId,
    meta: SegmentMeta,
    schema: VectorSchema,
}

impl Place {
    async fn new() -> Self {
        let schema = VectorSchema::unnamed(DenseParams::new(2, Distance::Euclid));
        let state = PartitionState::new(schema.clone());
        let point = |id| {
            let payload = json!({"n": id});
            Change::Put(Point {
                id: PointId::Num(id),
                vectors: Vectors::unnamed(vec![id as f32, 1.0]),
                payload: payload.as_object().unwrap().clone(),
            })
        };
        let points: Vec<Change> = (0..ROWS).map(point).collect();
        state.apply(LogPosition::new(1, 1), &points).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (id, built) = (SegmentId::generate(1), dir.path().join("built"));
        let options = BuildOptions::default();
        let meta = state.freeze().unwrap().build(id, &built, options).unwrap();
        let place = Self {
            bucket: SimBucket::new(1),
            dir,
            partition: "c/0".parse().unwrap(),
            meta,
            schema,
        };
        for file in &place.meta.files {
            let body = std::fs::read(built.join(&file.name)).unwrap();
            let key = place.key(file);
            place.store().put(&key, body.into()).await.unwrap();
        }
        place
    }

    fn store(&self) -> Store {
        Store::new(self.bucket.client("node"), RetryPolicy::default())
    }

    fn key(&self, file: &FileMeta) -> String {
        keys::segment_file(&self.partition, &self.meta.id, &file.name)
    }

    fn cache(&self, memory: u64, disk: Option<u64>) -> SegmentCache {
        let memory = Memory::new(memory);
        let objects = Objects::new(
            self.store(),
            1 << 20,
            Arc::clone(&memory),
            Counter::default(),
        );
        let root = self.dir.path().join("segments");
        SegmentCache::open(root, self.store(), memory, Disk::new(disk), objects).unwrap()
    }

    async fn open(&self, cache: &SegmentCache) -> Result<Arc<Segment>, CacheError> {
        let schema = Arc::default();
        cache
            .open_segment(&self.partition, &self.meta, true, &schema)
            .await
    }

    /// Whether a search finds all of the segment with its payloads.
    async fn is_whole(&self, segment: Arc<Segment>) -> bool {
        let state = PartitionState::new(self.schema.clone());
        let search = move || {
            let position = LogPosition::new(1, 1);
            state.install(vec![segment], position).unwrap();
            let request = SearchRequest {
                with_payload: PayloadSelector::All,
                ..SearchRequest::new(vec![3.0, 1.0], ROWS as usize)
            };
            state.search(&request).unwrap()
        };
        let found = tokio::task::spawn_blocking(search).await.unwrap();
        found.len() == ROWS as usize
            && found[0].record.id == PointId::Num(3)
            && found[0].record.payload.as_ref().unwrap()["n"] == 3
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_copy_is_fetched_again_and_a_damaged_object_is_named() {
    let place = Place::new().await;
    let cache = place.cache(1 << 30, None);
    drop(place.open(&cache).await.unwrap());
    for file in &place.meta.files {
        let path = cache.dir(&place.partition, &place.meta.id).join(&file.name);
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let segment = place.open(&cache).await.unwrap();
    assert!(place.is_whole(segment).await);

    cache.remove(&place.partition, &place.meta.id);
    let file = &place.meta.files[0];
    let flip = |bytes: bytes::Bytes| {
        let mut bytes = bytes.to_vec();
        bytes[0] ^= 1;
        bytes.into()
    };
    assert!(place.bucket.corrupt(&place.key(file), flip));
    let error = place.open(&cache).await.unwrap_err();
    assert!(matches!(error, CacheError::Damaged(_)), "{error}");
    assert!(error.to_string().contains(&file.name), "{error}");
    assert_eq!(cache.disk().used(), 0, "what is not here is not counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_neither_memory_nor_disk_have_room_for_is_read_from_the_bucket() {
    let place = Place::new().await;
    let cache = place.cache(0, Some(place.meta.bytes() - 1));
    let segment = place.open(&cache).await.unwrap();
    assert!(!segment.placement().holds(Part::Payloads));
    assert!(place.is_whole(segment).await);
    assert_eq!(cache.disk().used(), 0);
    assert!(!cache.dir(&place.partition, &place.meta.id).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_open_the_same_segment_at_once_both_have_it() {
    let place = Place::new().await;
    let cache = place.cache(1 << 30, Some(1 << 30));
    let (a, b) = tokio::join!(place.open(&cache), place.open(&cache));
    assert!(place.is_whole(a.unwrap()).await && place.is_whole(b.unwrap()).await);
    assert_eq!(cache.disk().used(), place.meta.bytes());
    cache.remove_partition(&place.partition);
    assert_eq!(cache.disk().used(), 0);
    assert!(!cache.dir(&place.partition, &place.meta.id).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_comes_in_pieces_and_is_compared_with_its_checksum() {
    let place = Place::new().await;
    let body: Vec<u8> = (0..PIECE * 2 + 5).map(|i| (i % 251) as u8).collect();
    let whole = FileMeta {
        name: "large.bin".to_owned(),
        bytes: body.len() as u64,
        crc32c: crc32c::crc32c(&body),
    };
    let store = place.store();
    store
        .put(&place.key(&whole), body.clone().into())
        .await
        .unwrap();
    let other = FileMeta {
        crc32c: whole.crc32c ^ 1,
        ..whole.clone()
    };
    let cache = place.cache(0, None);
    let (partition, id) = (&place.partition, &place.meta.id);
    let dir = cache.dir(partition, id);
    let error = cache.fetch(partition, id, &other).await.unwrap_err();
    assert!(matches!(error, CacheError::Damaged(_)), "{error}");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    cache.fetch(partition, id, &whole).await.unwrap();
    assert_eq!(std::fs::read(dir.join("large.bin")).unwrap(), body);
}
