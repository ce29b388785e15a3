//! Archives of snapshots, written from a simulated bucket and read from a file.

use std::io::Write;
use std::path::PathBuf;

use brainy_coordination::keys;
use brainy_coordination::snapshot::Snapshot;
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::sim::SimBucket;
use bytes::Bytes;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::*;

const NAME: &str = "things-1-2026-01-02-03-04-05.snapshot";
/// A snapshot document as version 0.1 wrote it: it stays readable, and its archive stays the same to the last byte.
const DOCUMENT: &str = r#"{"format":1,"version":3,"nonce":"00000000000000000000000000000007",
"state":{"complete":{"bytes":0,"sha256":""}},"of":"things","created":1767322245,"collections":[{"name":"things",
"collection":{"uid":"things-0000002a","created":"0000000000000000000000000000002a","partitions":2,
"vectors":{"":{"size":2,"distance":"Dot","multivector":false,"hnsw":{"m":16,"ef_construct":100},"quantization":"disabled"}},
"sparse_vectors":{"words":{"idf":true}},"extra":null,"payload_indexes":{"color":{"type":"keyword"}}},
"partitions":[{"epoch":3,"applied":{"epoch":2,"seq":9},"segments":[{"id":"000000000002-01ARZ3NDEKTSV4RRFFQ69G5FAV",
"rows":1,"tombstones":0,"newest":{"epoch":2,"seq":9},"files":[{"name":"rows.bin","bytes":5,"crc32c":2591144780},
{"name":"payload.bin","bytes":0,"crc32c":0}]}]},{"epoch":1,"applied":{"epoch":1,"seq":0},"segments":[]}]}]}"#;
const SHA256: &str = "70d6323b2aae11c81333631603f74e6f0ece09a5537e0328ff1ff32e93c1836a";

fn snapshot() -> Snapshot {
    serde_json::from_str(DOCUMENT).unwrap()
}

async fn store() -> (std::sync::Arc<SimBucket>, Store) {
    let bucket = SimBucket::new(1);
    let store = Store::new(bucket.client("a"), RetryPolicy::default());
    let pinned = &snapshot().collections[0];
    let segment = &pinned.partitions[0].segments[0];
    let partition = pinned.partition_id(0);
    for (file, body) in [("rows.bin", "hello"), ("payload.bin", "")] {
        let key = keys::segment_file(&partition, &segment.id, file);
        store.put(&key, Bytes::from(body)).await.unwrap();
    }
    (bucket, store)
}

async fn archive_of(store: &Store) -> Result<Vec<u8>, ArchiveError> {
    let plan = Plan::new(NAME, &snapshot()).unwrap();
    let (out, mut pieces) = mpsc::channel(1);
    let writing = async move { write(store, &plan, &out).await };
    let reading = async {
        let mut all = Vec::new();
        while let Some(piece) = pieces.recv().await {
            all.extend_from_slice(&piece);
        }
        all
    };
    let (written, all) = futures::future::join(writing, reading).await;
    written.map(|()| all)
}

struct OnDisk {
    dir: tempfile::TempDir,
}

impl OnDisk {
    fn new(bytes: &[u8]) -> Self {
        let made = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::write(made.path(), bytes).unwrap();
        made
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("a.snapshot")
    }
}

fn refused(bytes: &[u8], words: &[&str]) {
    let text = verify(&OnDisk::new(bytes).path()).unwrap_err().to_string();
    assert!(words.iter().all(|w| text.contains(w)), "{words:?}: {text}");
}

#[tokio::test]
async fn an_archive_comes_back_and_is_always_the_same() {
    let (_bucket, store) = store().await;
    let bytes = archive_of(&store).await.unwrap();
    let plan = Plan::new(NAME, &snapshot()).unwrap();
    assert_eq!(plan.bytes(), bytes.len() as u64);
    assert_eq!(hex(&Sha256::digest(&bytes)), SHA256);
    let disk = OnDisk::new(&bytes);
    let archive = Archive::open(&disk.path()).unwrap();
    let [held] = archive.collections.as_slice() else {
        panic!("{archive:?}");
    };
    let expected = &snapshot().collections[0];
    assert_eq!(held.name, "things");
    assert_eq!(held.collection, expected.collection);
    assert_eq!(held.partitions, expected.partitions);
    let segment = &held.partitions[0].segments[0];
    let to = disk.dir.path().join("rows.bin");
    archive.copy(0, 0, segment, &segment.files[0], &to).unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), b"hello");
}

#[tokio::test]
async fn other_tools_read_it() {
    let (_bucket, store) = store().await;
    let bytes = archive_of(&store).await.unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let entries = archive.entries().unwrap().map(|e| {
        let e = e.unwrap();
        e.path().unwrap().display().to_string()
    });
    let names: Vec<String> = entries.collect();
    assert_eq!(
        names,
        [
            "brainy-snapshot.json",
            "collections/0/collection.json",
            "collections/0/partitions/00000.json",
            "collections/0/partitions/00001.json",
            "collections/0/segments/00000/000000000002-01ARZ3NDEKTSV4RRFFQ69G5FAV/rows.bin",
            "collections/0/segments/00000/000000000002-01ARZ3NDEKTSV4RRFFQ69G5FAV/payload.bin",
            "SHA256SUMS",
        ]
    );
}

#[tokio::test]
async fn objects_that_are_damaged_or_gone_are_no_archive() {
    let (bucket, store) = store().await;
    let pinned = &snapshot().collections[0];
    let segment = &pinned.partitions[0].segments[0];
    let key = keys::segment_file(&pinned.partition_id(0), &segment.id, "rows.bin");
    bucket.corrupt(&key, |_| Bytes::from("hallo"));
    let damaged = archive_of(&store).await.unwrap_err();
    assert!(
        matches!(&damaged, ArchiveError::Damaged(t) if t.contains(&key)),
        "{damaged}"
    );
    store.delete(&key).await.unwrap();
    let gone = archive_of(&store).await.unwrap_err();
    assert!(
        matches!(&gone, ArchiveError::Missing { key: k } if *k == key),
        "{gone}"
    );
}

#[tokio::test]
async fn what_is_no_snapshot_is_named() {
    refused(b"", &["not a snapshot of Brainy"]);
    refused(b"hello", &["not a snapshot of Brainy"]);
    refused(&[7; 5_000], &["not a snapshot of Brainy"]);
    let mut other = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(2);
    header.set_cksum();
    other
        .append_data(&mut header, "config.json", b"{}".as_slice())
        .unwrap();
    refused(
        &other.into_inner().unwrap(),
        &["not a snapshot of Brainy", "Qdrant"],
    );

    let (_bucket, store) = store().await;
    let bytes = archive_of(&store).await.unwrap();
    let newer = replace(&bytes, "\"version\":1", "\"version\":2");
    refused(&newer, &["version 2", "reads 1"]);
    let cut = &bytes[..bytes.len() - 4_096];
    refused(cut, &["damaged"]);
    let end = b"SHA256SUMS";
    let at = bytes.windows(end.len()).rposition(|w| w == end).unwrap();
    refused(&bytes[..at], &["damaged", "SHA256SUMS"]);
    let changed = replace(&bytes, "hello", "hallo");
    refused(&changed, &["damaged", "rows.bin", "SHA256SUMS"]);
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_refused() {
    let (_bucket, store) = store().await;
    for name in ["../x.bin", ".hidden1", "rows/bin"] {
        let mut document = snapshot();
        let segment = &mut document.collections[0].partitions[0].segments[0];
        segment.files.truncate(1);
        let plain = keys::segment_file(
            &document.collections[0].partition_id(0),
            &segment_id(),
            name,
        );
        store
            .put(&plain, Bytes::from("hello"))
            .await
            .unwrap_or_else(|_| {
                // A key that the store itself refuses cannot be in a bucket.
                brainy_coordination::store::ETag(String::new())
            });
        document.collections[0].partitions[0].segments[0].files[0].name = name.to_owned();
        let Ok(plan) = Plan::new(NAME, &document) else {
            continue;
        };
        let (out, mut pieces) = mpsc::channel(64);
        let written = write(&store, &plan, &out).await;
        drop(out);
        let mut all = Vec::new();
        while let Some(piece) = pieces.recv().await {
            all.extend_from_slice(&piece);
        }
        if written.is_ok() {
            refused(&all, &["damaged"]);
        }
    }
}

fn segment_id() -> brainy_coordination::types::SegmentId {
    snapshot().collections[0].partitions[0].segments[0]
        .id
        .clone()
}

/// The same archive with `from` replaced by `to`, which is as long, where it occurs first.
fn replace(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes
        .windows(from.len())
        .position(|w| w == from.as_bytes())
        .unwrap();
    let mut changed = bytes.to_vec();
    changed[at..at + to.len()].copy_from_slice(to.as_bytes());
    changed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// No change of a byte, and no cut, goes unnoticed where it could matter, and none panics.
    #[test]
    fn any_damage_is_noticed(at in 0.0..1.0f64, flip in 1..=255u8, cut in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bytes = runtime.block_on(async {
            let (_bucket, store) = store().await;
            archive_of(&store).await.unwrap()
        });
        // The last two blocks only end the archive; the padding of members is of no consequence.
        let at = ((bytes.len() - 1_024) as f64 * at) as usize;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        if cut {
            file.write_all(&bytes[..at]).unwrap();
            prop_assert!(verify(file.path()).is_err());
        } else {
            let mut changed = bytes;
            let padding = changed[at] == 0;
            changed[at] ^= flip;
            file.write_all(&changed).unwrap();
            let found = Archive::open(file.path());
            // A header's checksum can be spelled with spaces in place of zeros.
            let spelling = (148..156).contains(&(at % 512));
            prop_assert!(found.is_err() || padding || spelling, "a changed byte at {at} went unnoticed");
            if let Ok(found) = found {
                let expected = &snapshot().collections[0];
                prop_assert_eq!(&found.collections[0].collection, &expected.collection);
                prop_assert_eq!(&found.collections[0].partitions, &expected.partitions);
            }
        }
    }
}
