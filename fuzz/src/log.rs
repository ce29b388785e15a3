//! Objects of the log, what their entries say, and the memtable that takes them.

use std::collections::BTreeMap;

use brainy_coordination::manifest::{DenseParams, Distance, SparseParams, VectorSchema};
use brainy_coordination::types::{LogPosition, Nonce};
use brainy_coordination::wal::{Entry, LogObject};
use brainy_dataplane::engine::{Change, PartitionState, change};
use brainy_dataplane::model::{
    CountRequest, PayloadSelector, Point, PointId, ScrollRequest, SparseVector, VectorSelector,
    Vectors,
};
use bytes::Bytes;
use serde_json::json;

const POSITION: LogPosition = LogPosition { epoch: 1, seq: 2 };
const HEADER: usize = 48;
const TRAILER: usize = 4;

/// Reads the bytes as an object of the log; then again with such a header and such a checksum as their writer would have given
/// them, to reach what lies behind.
pub fn run(bytes: &[u8]) {
    read(&Bytes::copy_from_slice(bytes));
    if bytes.len() >= HEADER + TRAILER {
        read(&repaired(bytes));
    }
}

fn repaired(bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    let end = bytes.len() - TRAILER;
    bytes[..5].copy_from_slice(b"BWAL\x01");
    bytes[8..16].copy_from_slice(&POSITION.epoch.to_le_bytes());
    bytes[16..24].copy_from_slice(&POSITION.seq.to_le_bytes());
    bytes[40..48].copy_from_slice(&((end - HEADER) as u64).to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    bytes.into()
}

fn read(bytes: &Bytes) {
    let Ok(object) = LogObject::decode(bytes, POSITION) else {
        return;
    };
    let again = LogObject::decode(&object.encode(POSITION), POSITION);
    assert_eq!(again.as_ref(), Ok(&object));
    let LogObject::Data(entries) = object else {
        return;
    };
    for entry in entries {
        if let Ok(entry) = change::decode(&entry.payload) {
            apply(&entry.changes);
        }
    }
}

/// Changes are taken whole or refused, and what was taken can be read.
fn apply(changes: &[Change]) {
    let state = PartitionState::new(schema());
    if state.apply(POSITION, changes).is_err() {
        assert_eq!(state.count(&CountRequest { filter: None }).unwrap(), 0);
        return;
    }
    let everything = ScrollRequest {
        filter: None,
        limit: changes.len() + 1,
        offset: None,
        with_payload: PayloadSelector::All,
        with_vector: VectorSelector::All,
    };
    let count = state.count(&CountRequest { filter: None }).unwrap();
    assert_eq!(state.scroll(&everything).unwrap().records.len(), count);
}

fn schema() -> VectorSchema {
    VectorSchema {
        vectors: BTreeMap::from([
            (String::new(), DenseParams::new(2, Distance::Dot)),
            ("other".to_owned(), DenseParams::new(3, Distance::Cosine)),
        ]),
        sparse_vectors: BTreeMap::from([("terms".to_owned(), SparseParams::default())]),
        ..VectorSchema::default()
    }
}

/// A fence, and objects with entries of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut vectors = Vectors::unnamed(vec![1.0, 2.0]);
    vectors.insert("other", vec![1.0, 0.0, 0.0].into());
    let terms = SparseVector::new(vec![1, 7], vec![0.5, 2.0]).unwrap();
    vectors.insert("terms", terms.into());
    let payload = json!({"n": 1, "x": [1.5, null, true], "deep": {"a": {"b": "text"}}});
    let put = |id| {
        Change::Put(Point {
            id,
            vectors: vectors.clone(),
            payload: payload.as_object().unwrap().clone(),
        })
    };
    let uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let changes = [
        put(PointId::Num(1)),
        put(PointId::parse(uuid).unwrap()),
        Change::Delete(PointId::Num(1)),
    ];
    let entry = |changes: &[Change]| Entry {
        request: Nonce(7),
        payload: change::encode(0, changes).unwrap(),
    };
    let objects = [
        LogObject::Fence {
            successor: 2,
            by: "writer-1".to_owned(),
        },
        LogObject::Data(vec![]),
        LogObject::Data(vec![entry(&changes[..1]), entry(&changes)]),
    ];
    // The nonce is random: seeds are the same each time.
    let fixed = |object: &LogObject| {
        let mut bytes = object.encode(POSITION).to_vec();
        bytes[24..40].fill(0);
        repaired(&bytes).to_vec()
    };
    objects.iter().map(fixed).collect()
}
