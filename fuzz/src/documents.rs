//! The documents in the bucket that nodes change by compare-and-swap. The first byte of an input says which.

use brainy_coordination::assignment::AssignmentTable;
use brainy_coordination::claim::Claim;
use brainy_coordination::config::ConfigDocument;
use brainy_coordination::document::{self, Document, DocumentError};
use brainy_coordination::lease::Lease;
use brainy_coordination::manifest::ClusterManifest;
use brainy_coordination::members::HeartbeatRecord;
use brainy_coordination::partition::PartitionManifest;
use brainy_coordination::snapshot::Snapshot;
use brainy_coordination::store::{ETag, Object};

/// Reads a document; what was read can be written, and is read again as the same.
pub fn run(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else {
        return;
    };
    match kind % 8 {
        0 => read::<ClusterManifest>(body),
        1 => read::<PartitionManifest>(body),
        2 => read::<AssignmentTable>(body),
        3 => read::<ConfigDocument>(body),
        4 => read::<Lease>(body),
        5 => read::<HeartbeatRecord>(body),
        6 => read::<Claim>(body),
        _ => read::<Snapshot>(body),
    }
}

fn read<T: Document>(body: &[u8]) {
    match decode::<T>(body.to_vec()) {
        Ok(first) => {
            let first = serde_json::to_value(&first).unwrap();
            let mut again = first.clone();
            again["format"] = T::FORMAT.into();
            again["version"] = 1.into();
            again["nonce"] = "0".repeat(32).into();
            let again = decode::<T>(again.to_string().into_bytes()).unwrap();
            assert_eq!(first, serde_json::to_value(&again).unwrap());
        }
        Err(DocumentError::UnknownFormat { .. } | DocumentError::Corrupt { .. }) => {}
        Err(other) => panic!("{other}"),
    }
}

fn decode<T: Document>(body: Vec<u8>) -> Result<T, DocumentError> {
    let object = Object {
        body: body.into(),
        etag: ETag("\"1\"".to_owned()),
    };
    document::decode::<T>("key", &object).map(|versioned| versioned.body)
}

/// One document of each kind.
const SEEDS: [&str; 8] = [
    r#"{"format":2,"version":3,"nonce":"00000000000000000000000000000001","cluster":"60916f95a81335fa8c5466c2921a44be","collections":{"c":{"uid":"c-00000001","created":"00000000000000000000000000000002","partitions":1,"vectors":{"":{"size":2,"distance":"Dot","multivector":false,"hnsw":{"m":16,"ef_construct":100},"quantization":"int8"}},"sparse_vectors":{"words":{"idf":true}},"extra":null,"payload_indexes":{"n":"integer"}}},"dropped":{"d-00000002":{"name":"d","created":"00000000000000000000000000000003","at_version":2}}}"#,
    r#"{"format":1,"version":3,"nonce":"00000000000000000000000000000001","epoch":1,"applied":{"epoch":1,"seq":2},"segments":[{"id":"000000000001-01J00000000000000000000000","rows":2,"tombstones":0,"newest":{"epoch":1,"seq":2},"files":[{"name":"rows.bin","bytes":64,"crc32c":1}]}],"requests":[{"id":"00000000000000000000000000000007","at":{"epoch":1,"seq":1}}]}"#,
    r#"{"format":1,"version":3,"nonce":"00000000000000000000000000000001","ring":{"virtual_nodes":128},"policy":{"read_replicas":1,"max_concurrent_moves":4},"manifest_version":5,"epoch":5,"members":{"writer-0":{"role":"hybrid","address":"127.0.0.1:7766","state":"active","weight":1.0}},"partitions":{"c-00000001/00000":{"owner":"writer-0","readers":[{"instance":"writer-0","state":"serving"}]}}}"#,
    r#"{"format":1,"version":3,"nonce":"00000000000000000000000000000001","config":{"max_batch_points":10,"log_level":"info"},"history":[{"version":1,"config":{}}]}"#,
    r#"{"format":1,"version":3,"nonce":"00000000000000000000000000000001","owner":{"instance":"writer-0","incarnation":"00000000000000000000000000000004"},"epoch":1,"state":{"released":{"at":{"epoch":1,"seq":2},"to":null}}}"#,
    r#"{"format":1,"version":3,"nonce":"00000000000000000000000000000001","instance":"writer-0","incarnation":"00000000000000000000000000000004","role":"writer","address":"127.0.0.1:7766","counter":3,"ttl_ms":5000}"#,
    r#"{"format":1,"version":3,"nonce":"00000000000000000000000000000001","uid":"00000000-0000","name":"default/brainy"}"#,
    r#"{"format":1,"version":3,"nonce":"00000000000000000000000000000001","state":{"complete":{"bytes":64,"sha256":"00"}},"of":"c","created":1700000000,"collections":[{"name":"c","collection":{"uid":"c-00000001","created":"00000000000000000000000000000002","partitions":1,"vectors":{"":{"size":2,"distance":"Dot","multivector":false,"hnsw":{"m":16,"ef_construct":100},"quantization":"int8"}},"sparse_vectors":{"words":{"idf":true}},"extra":null},"partitions":[{"epoch":1,"applied":{"epoch":1,"seq":2},"segments":[{"id":"000000000001-01J00000000000000000000000","rows":2,"tombstones":0,"newest":{"epoch":1,"seq":2},"files":[{"name":"rows.bin","bytes":64,"crc32c":1}]}]}]}]}"#,
];

/// One of each kind; all of them are understood.
pub fn seeds() -> Vec<Vec<u8>> {
    let understood = [
        decode::<ClusterManifest>(SEEDS[0].into()).err(),
        decode::<PartitionManifest>(SEEDS[1].into()).err(),
        decode::<AssignmentTable>(SEEDS[2].into()).err(),
        decode::<ConfigDocument>(SEEDS[3].into()).err(),
        decode::<Lease>(SEEDS[4].into()).err(),
        decode::<HeartbeatRecord>(SEEDS[5].into()).err(),
        decode::<Claim>(SEEDS[6].into()).err(),
        decode::<Snapshot>(SEEDS[7].into()).err(),
    ];
    let errors: Vec<_> = understood
        .iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    let seeds = SEEDS.iter().enumerate();
    seeds
        .map(|(kind, body)| [&[kind as u8], body.as_bytes()].concat())
        .collect()
}
