//! Documents, the cluster manifest and rebalance steps on a simulated bucket that loses answers and delays writes.
//! Every test runs for several seeds and names the seed it fails with.

#![allow(clippy::unwrap_used)]

mod cluster;

use std::collections::BTreeSet;

use brainy_coordination::assignment::{AssignmentTable, Role};
use brainy_coordination::document::{self, Document, DocumentError, Update, Versioned};
use brainy_coordination::keys;
use brainy_coordination::manifest::{
    self, AliasChange, ClusterManifest, Collection, CollectionSpec, DenseParams, Distance,
    ManifestError, VectorSchema, check_collection_name, partition_index,
};
use brainy_coordination::rebalance;
use brainy_coordination::store::retry::Store;
use brainy_coordination::store::sim::{EffectKind, FaultPlan, SimBucket};
use brainy_coordination::types::Nonce;
use bytes::Bytes;
use cluster::{id, members, seeded_store};
use serde::{Deserialize, Serialize};

const SEEDS: std::ops::Range<u64> = 0..12;
const KEY: &str = "_brainy/register.json";

/// Names of who was here: adding a name is idempotent, as `update` asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Register {
    names: BTreeSet<String>,
}

impl Document for Register {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "register";
}

fn spec(partitions: u32) -> CollectionSpec {
    CollectionSpec {
        partitions,
        schema: VectorSchema::unnamed(DenseParams::new(8, Distance::Cosine)),
        extra: serde_json::json!({ "on_disk": true, "depth": [1, 2.5, null] }),
    }
}

#[tokio::test(start_paused = true)]
async fn no_update_is_lost_and_versions_count_changes() {
    for seed in SEEDS {
        let bucket = SimBucket::new(seed);
        bucket.set_faults(FaultPlan::harsh());
        let writers = (0..4).map(|writer| {
            let store = seeded_store(&bucket, &format!("writer-{writer}"), seed + writer);
            async move {
                for round in 0..5 {
                    let name = format!("{writer}/{round}");
                    document::update(&store, KEY, |current: Option<&Versioned<Register>>| {
                        let mut next = current.map(|c| c.body.clone()).unwrap_or_default();
                        Ok::<_, DocumentError>(if next.names.insert(name.clone()) {
                            Update::Write(next, ())
                        } else {
                            Update::Keep(())
                        })
                    })
                    .await
                    .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                }
            }
        });
        futures::future::join_all(writers).await;
        bucket.deliver_late_writes();
        bucket.set_faults(FaultPlan::default());
        let store = seeded_store(&bucket, "judge", seed);
        let end = document::load::<Register>(&store, KEY)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(end.names.len(), 20, "seed {seed}");
        assert_eq!(
            end.version, 20,
            "seed {seed}: each name was added by one change"
        );
        let tags: Vec<_> = bucket
            .history()
            .into_iter()
            .filter_map(|e| e.etag)
            .collect();
        let distinct: BTreeSet<_> = tags.iter().map(|t| t.0.clone()).collect();
        assert_eq!(distinct.len(), tags.len(), "seed {seed}: a tag repeated");
        let conditional = bucket.history().iter().all(|e| e.kind != EffectKind::Put);
        assert!(conditional, "seed {seed}: an unconditional write");
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_format_and_damage_are_refused_by_name_and_left_alone() {
    let bucket = SimBucket::new(1);
    let store = seeded_store(&bucket, "node", 1);
    let touch = |store: brainy_coordination::store::retry::Store| async move {
        document::update(&store, KEY, |_: Option<&Versioned<Register>>| {
            Ok::<_, DocumentError>(Update::Write(Register::default(), ()))
        })
        .await
    };
    for (content, expected) in [
        (
            r#"{"format":2,"revision":"of another shape"}"#,
            "register '_brainy/register.json' was written by a newer Brainy: format 2, this binary knows 1. Upgrade this process",
        ),
        (
            r#"{"format":1,"version":1,"nonce":"zz","names":[]}"#,
            "cannot be read",
        ),
        (
            r#"{"format":1,"version":1"#,
            "restore an earlier version of this object",
        ),
        ("", "cannot be read"),
    ] {
        store.put(KEY, Bytes::from(content)).await.unwrap();
        let error = touch(store.clone()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(bucket.snapshot()[KEY], content, "it was overwritten");
    }
}

#[tokio::test(start_paused = true)]
async fn the_wire_form_is_one_flat_object() {
    let bucket = SimBucket::new(1);
    let store = seeded_store(&bucket, "node", 1);
    manifest::create_collection(&store, "films", &spec(4), Nonce(7))
        .await
        .unwrap();
    let json: serde_json::Value =
        serde_json::from_slice(&bucket.snapshot()[keys::MANIFEST]).unwrap();
    assert_eq!((&json["format"], &json["version"]), (&3.into(), &2.into()));
    assert_eq!(json["nonce"].as_str().unwrap().len(), 32);
    assert_eq!(
        json["collections"]["films"],
        serde_json::json!({
            "uid": "films-00000007",
            "created": "00000000000000000000000000000007",
            "partitions": 4,
            "vectors": {
                "": {
                    "size": 8,
                    "distance": "Cosine",
                    "multivector": false,
                    "hnsw": { "m": 16, "ef_construct": 100 },
                    "quantization": "disabled",
                },
            },
            "sparse_vectors": {},
            "extra": { "on_disk": true, "depth": [1, 2.5, null] },
        })
    );
    let unchanged = document::load::<ClusterManifest>(&store, keys::MANIFEST)
        .await
        .unwrap()
        .unwrap();
    let again =
        document::load_if_changed::<ClusterManifest>(&store, keys::MANIFEST, &unchanged.etag);
    assert!(again.await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn of_competing_creators_one_wins_and_repeats_recognise_themselves() {
    for seed in SEEDS {
        let bucket = SimBucket::new(seed);
        bucket.set_faults(FaultPlan::harsh());
        let creators = (0..4u64).map(|n| {
            let store = seeded_store(&bucket, &format!("node-{n}"), seed + n);
            let created = Nonce(u128::from(n + 1));
            async move {
                let first = manifest::create_collection(&store, "films", &spec(4), created).await;
                let again = manifest::create_collection(&store, "films", &spec(4), created).await;
                (first, again)
            }
        });
        let mut winners = 0;
        for (first, again) in futures::future::join_all(creators).await {
            match (first, again) {
                (Ok(first), Ok(again)) => {
                    assert_eq!(first, again, "seed {seed}");
                    winners += 1;
                }
                (
                    Err(ManifestError::AlreadyExists { .. }),
                    Err(ManifestError::AlreadyExists { .. }),
                ) => {}
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        assert_eq!(winners, 1, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn indexed_fields_are_set_replaced_and_taken_back_whatever_gets_lost() {
    for seed in SEEDS {
        let bucket = SimBucket::new(seed);
        let store = seeded_store(&bucket, "node", seed);
        manifest::create_collection(&store, "c", &spec(1), Nonce(1))
            .await
            .unwrap();
        bucket.set_faults(FaultPlan::harsh());
        let keyword = serde_json::json!("keyword");
        let text = serde_json::json!({"type": "text", "lowercase": true});
        for (field, schema, changes) in [
            ("a", Some(&keyword), true),
            ("b.c", Some(&keyword), true),
            ("a", Some(&keyword), false),
            ("a", Some(&text), true),
            ("b.c", None, true),
            ("b.c", None, false),
        ] {
            let set = manifest::set_payload_index(&store, "c", field, schema).await;
            match set {
                // A lost answer: the store may have been changed by an attempt before the one that was answered.
                Ok(changed) => assert!(changes || !changed, "seed {seed}: {field}"),
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        let stored = manifest::load_or_create(&store).await.unwrap();
        assert_eq!(
            stored.body.collections["c"].payload_indexes,
            [("a".to_owned(), text.clone())].into(),
            "seed {seed}"
        );
        let absent = manifest::set_payload_index(&store, "d", "a", Some(&keyword)).await;
        assert!(matches!(absent, Err(ManifestError::NotFound { .. })));
    }
}

fn alias(collection: &str, alias: &str) -> AliasChange {
    AliasChange::Create {
        collection: collection.to_owned(),
        alias: alias.to_owned(),
    }
}

fn renamed(from: &str, to: &str) -> AliasChange {
    AliasChange::Rename {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

fn unalias(alias: &str) -> AliasChange {
    AliasChange::Delete {
        alias: alias.to_owned(),
    }
}

async fn aliases(store: &Store) -> Vec<(String, String)> {
    let manifest = manifest::load_or_create(store).await.unwrap();
    manifest.body.aliases.into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn aliases_change_together_or_not_at_all() {
    let bucket = SimBucket::new(1);
    let store = seeded_store(&bucket, "node", 1);
    for (n, name) in ["a", "b"].into_iter().enumerate() {
        let created = Nonce(n as u128 + 1);
        manifest::create_collection(&store, name, &spec(1), created)
            .await
            .unwrap();
    }
    let change = async |changes: &[AliasChange]| manifest::change_aliases(&store, changes).await;
    change(&[alias("a", "x"), alias("a", "y")]).await.unwrap();
    // The switch: gone from one collection and there at the other.
    change(&[unalias("x"), alias("b", "x"), renamed("y", "z")])
        .await
        .unwrap();
    let expected = [("x", "b"), ("z", "a")].map(|(a, c)| (a.to_owned(), c.to_owned()));
    assert_eq!(aliases(&store).await, expected);
    change(&[unalias("none")]).await.unwrap();
    for (changes, error) in [
        (
            vec![unalias("x"), alias("none", "w")],
            "no collection 'none'",
        ),
        (
            vec![unalias("x"), alias("a", "b")],
            "collection 'b' already exists",
        ),
        (vec![unalias("x"), renamed("none", "w")], "no alias 'none'"),
        (
            vec![unalias("x"), renamed("z", "a")],
            "collection 'a' already exists",
        ),
        (vec![unalias("x"), alias("x", "w")], "no collection 'x'"),
        (vec![unalias("x"), alias("a", "b/c")], "alias"),
    ] {
        let text = change(&changes).await.unwrap_err().to_string();
        assert!(text.contains(error), "{text}");
        assert_eq!(aliases(&store).await, expected);
    }
    let taken = manifest::create_collection(&store, "x", &spec(1), Nonce(9)).await;
    assert!(matches!(taken, Err(ManifestError::NameIsAlias { .. })));
    assert_eq!(manifest::drop_collection(&store, "x").await.unwrap(), None);
    manifest::drop_collection(&store, "b").await.unwrap();
    assert_eq!(aliases(&store).await, expected[1..]);
    let loaded = manifest::load_or_create(&store).await.unwrap();
    let resolved = |name| loaded.resolve(name).map(|(own, _)| own.to_owned());
    assert_eq!(resolved("z"), Some("a".to_owned()));
    assert_eq!(resolved("a"), Some("a".to_owned()));
    assert_eq!(resolved("x"), None);
}

/// Renaming is not idempotent by itself: a change whose answer was lost must be recognised.
#[tokio::test(start_paused = true)]
async fn aliases_change_once_whatever_answers_are_lost() {
    for seed in SEEDS {
        let bucket = SimBucket::new(seed);
        let store = seeded_store(&bucket, "node", seed);
        manifest::create_collection(&store, "c", &spec(1), Nonce(1))
            .await
            .unwrap();
        manifest::change_aliases(&store, &[alias("c", "0")])
            .await
            .unwrap();
        bucket.set_faults(FaultPlan::harsh());
        let busy = seeded_store(&bucket, "other", seed + 100);
        let rename = async {
            for n in 0..5 {
                let (from, to) = (n.to_string(), (n + 1).to_string());
                manifest::change_aliases(&store, &[renamed(&from, &to)])
                    .await
                    .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            }
        };
        let others = async {
            for n in 0..5 {
                manifest::change_aliases(&busy, &[alias("c", &format!("other-{n}"))])
                    .await
                    .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            }
        };
        futures::future::join(rename, others).await;
        bucket.set_faults(FaultPlan::default());
        let names: Vec<String> = aliases(&store).await.into_iter().map(|(a, _)| a).collect();
        let expected = ["5", "other-0", "other-1", "other-2", "other-3", "other-4"];
        assert_eq!(names, expected, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn changes_of_vectors_are_numbered() {
    let bucket = SimBucket::new(1);
    let store = seeded_store(&bucket, "node", 1);
    manifest::create_collection(&store, "c", &spec(1), Nonce(1))
        .await
        .unwrap();
    let version = async |edit: fn(&mut Collection)| {
        let changed = manifest::change_collection(&store, "c", |c| {
            edit(c);
            Ok::<_, ManifestError>(())
        });
        changed.await.map(|c| c.spec.schema.version)
    };
    assert_eq!(version(|_| {}).await.unwrap(), 0);
    let settings = |c: &mut Collection| c.spec.extra = serde_json::json!({"a": 1});
    assert_eq!(version(settings).await.unwrap(), 0);
    let drop = |c: &mut Collection| c.spec.schema.vectors.clear();
    assert_eq!(version(drop).await.unwrap(), 1);
    assert_eq!(version(drop).await.unwrap(), 1);
    let wrong = |c: &mut Collection| {
        let params = DenseParams::new(0, Distance::Dot);
        c.spec.schema = VectorSchema::unnamed(params);
    };
    let error = version(wrong).await.unwrap_err();
    assert!(matches!(error, ManifestError::Invalid { .. }), "{error}");
    let absent = manifest::change_collection(&store, "d", |_| Ok::<_, ManifestError>(())).await;
    assert!(matches!(absent, Err(ManifestError::NotFound { .. })));
}

/// Manifests of before there were aliases.
#[tokio::test(start_paused = true)]
async fn a_manifest_of_the_format_before_is_read_and_becomes_a_new_one() {
    let store = seeded_store(&SimBucket::new(1), "node", 1);
    let old = r#"{"format":2,"version":4,"nonce":"00000000000000000000000000000001",
        "cluster":"00000000000000000000000000000002","collections":{},"dropped":{}}"#;
    store.put(keys::MANIFEST, Bytes::from(old)).await.unwrap();
    assert_eq!(aliases(&store).await, []);
    manifest::create_collection(&store, "c", &spec(1), Nonce(1))
        .await
        .unwrap();
    let object = store.get(keys::MANIFEST).await.unwrap().unwrap();
    let written: serde_json::Value = serde_json::from_slice(&object.body).unwrap();
    assert_eq!(
        (&written["format"], &written["version"]),
        (&3.into(), &5.into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_collection_has_only_so_many_indexed_fields() {
    let bucket = SimBucket::new(1);
    let store = seeded_store(&bucket, "node", 1);
    manifest::create_collection(&store, "c", &spec(1), Nonce(1))
        .await
        .unwrap();
    let keyword = serde_json::json!("keyword");
    for n in 0..manifest::MAX_INDEXED_FIELDS {
        manifest::set_payload_index(&store, "c", &format!("f{n}"), Some(&keyword))
            .await
            .unwrap();
    }
    let more = manifest::set_payload_index(&store, "c", "more", Some(&keyword)).await;
    assert!(matches!(more, Err(ManifestError::TooManyIndexes { .. })));
    let text = serde_json::json!("text");
    let replaced = manifest::set_payload_index(&store, "c", "f0", Some(&text)).await;
    assert!(replaced.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_uid_stays_listed_and_a_new_collection_gets_another() {
    let bucket = SimBucket::new(1);
    let store = seeded_store(&bucket, "node", 1);
    let first = manifest::create_collection(&store, "a.b", &spec(2), Nonce(7))
        .await
        .unwrap();
    assert_eq!(first.uid.as_str(), "a_b-00000007");
    assert_eq!(
        manifest::drop_collection(&store, "a.b").await.unwrap(),
        Some(first.uid.clone())
    );
    assert_eq!(
        manifest::drop_collection(&store, "a.b").await.unwrap(),
        None
    );
    let repeated = manifest::create_collection(&store, "a.b", &spec(2), Nonce(7)).await;
    assert!(matches!(
        repeated,
        Err(ManifestError::DroppedMeanwhile { .. })
    ));
    // The same low 32 bits: the uid of the dropped one is avoided.
    let second = manifest::create_collection(&store, "a.b", &spec(2), Nonce(7 | 9 << 32))
        .await
        .unwrap();
    assert_eq!(second.uid.as_str(), "a_b-00000009");
    assert!(manifest::forget_dropped(&store, &first.uid).await.unwrap());
    assert!(!manifest::forget_dropped(&store, &first.uid).await.unwrap());
    let end = manifest::load_or_create(&store).await.unwrap();
    assert!(end.dropped.is_empty());
    assert_eq!(end.partitions().count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_schema_out_of_range_is_refused_by_field() {
    let bucket = SimBucket::new(1);
    let store = seeded_store(&bucket, "node", 1);
    let mut bad = spec(0);
    let error = manifest::create_collection(&store, "c", &bad, Nonce(1))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "collection 'c': partitions is 0, it must be from 1 to 16384"
    );
    bad = spec(1);
    bad.schema = VectorSchema::unnamed(DenseParams::new(70_000, Distance::Dot));
    let error = manifest::create_collection(&store, "c", &bad, Nonce(1))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("vectors.size is 70000"),
        "{error}"
    );
    assert!(
        bucket.history().is_empty(),
        "nothing is written before the check"
    );
    for bad in [
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "a b",
        "\u{e9}t\u{e9}",
        &"x".repeat(129),
    ] {
        assert!(check_collection_name(bad).is_err(), "{bad:?}");
    }
    for good in ["a", "A-b_c.9", "-", &"x".repeat(128)] {
        assert!(check_collection_name(good).is_ok(), "{good:?}");
    }
}

/// Part of the stored format: a change here sends points to other partitions than the ones they are in.
#[tokio::test(start_paused = true)]
async fn golden_partition_of_a_point() {
    assert_eq!(partition_index(0, 7), 0);
    assert_eq!(partition_index(u64::MAX, 7), 6);
    assert_eq!(partition_index(1 << 63, 8), 4);
    assert_eq!(partition_index(u64::MAX, 0), 0);
    let store = seeded_store(&SimBucket::new(1), "node", 1);
    let collection = manifest::create_collection(&store, "c", &spec(16), Nonce(1))
        .await
        .unwrap();
    let of = |id: &[u8]| collection.partition_of(id).index;
    let golden = [
        of(b""),
        of(b"a"),
        of(&1u64.to_be_bytes()),
        of(&2u64.to_be_bytes()),
    ];
    assert_eq!(golden, GOLDEN_PARTITIONS);
}

const GOLDEN_PARTITIONS: [u32; 4] = [2, 14, 15, 3];

#[tokio::test(start_paused = true)]
async fn steps_from_several_nodes_agree_and_follow_the_manifest() {
    for seed in SEEDS {
        let bucket = SimBucket::new(seed);
        bucket.set_faults(FaultPlan::harsh());
        let nodes = (0..3usize).map(|n| {
            let store = seeded_store(&bucket, &id(n).to_string(), seed + n as u64);
            async move {
                let me = members(3, Role::Hybrid).remove(&id(n)).unwrap();
                rebalance::step(&store, |edit| {
                    edit.members.insert(id(n), me.clone());
                })
                .await
                .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                let name = format!("c{n}");
                let nonce = Nonce(u128::from(seed) * 100 + n as u128);
                manifest::create_collection(&store, &name, &spec(10), nonce)
                    .await
                    .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                let step = rebalance::step(&store, |_| {}).await.unwrap();
                // Whatever others did since: what was created before the step is in the table after it.
                let mine = step
                    .table
                    .partitions
                    .keys()
                    .filter(|p| p.collection.as_str().starts_with(&name));
                assert_eq!(mine.count(), 10, "seed {seed}");
            }
        });
        futures::future::join_all(nodes).await;
        let store = seeded_store(&bucket, "operator", seed);
        for round in 0.. {
            let step = rebalance::step(&store, |_| {}).await.unwrap();
            if step.status.is_settled() {
                assert!(
                    (step.status.max_over_mean - 1.0).abs() < 1e-9,
                    "seed {seed}"
                );
                let idle = rebalance::step(&store, |_| {}).await.unwrap();
                assert!(!idle.changed, "seed {seed}: a step at rest wrote");
                assert_eq!(idle.table.epoch, step.table.epoch);
                break;
            }
            assert!(round < 40, "seed {seed}: {:?}", step.status);
            let progress = |current: Option<&Versioned<AssignmentTable>>| {
                let mut table = current.expect("a table").body.clone();
                let moves: Vec<_> = table
                    .partitions
                    .iter()
                    .filter_map(|(p, e)| Some((p.clone(), e.handoff.as_ref()?.to.clone())))
                    .collect();
                for (partition, to) in &moves {
                    table.complete_handoff(partition, to);
                }
                let all: Vec<_> = table.partitions.keys().cloned().collect();
                for n in 0..3 {
                    table.reader_serving(&all, &id(n));
                }
                Ok::<_, DocumentError>(Update::Write(table, ()))
            };
            document::update(&store, keys::ASSIGNMENTS, progress)
                .await
                .unwrap();
        }
    }
}
