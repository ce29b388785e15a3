use brainy_coordination::manifest::{CollectionSpec, Distance};
use brainy_coordination::types::{CollectionUid, Nonce};
use serde_json::json;

use super::*;

fn collection(names: &[&str]) -> Collection {
    let dense = |name: &&str| ((*name).to_owned(), DenseParams::new(4, Distance::Dot));
    Collection {
        uid: CollectionUid::new("c-00000001").unwrap(),
        created: Nonce(1),
        spec: CollectionSpec {
            partitions: 1,
            schema: VectorSchema {
                vectors: names.iter().map(dense).collect(),
                ..VectorSchema::default()
            },
            extra: Value::Null,
        },
        payload_indexes: BTreeMap::new(),
    }
}

fn patch(patch: CollectionPatch) -> CollectionChange {
    CollectionChange::Patch(Box::new(patch))
}

#[test]
fn vectors_keep_what_they_have_of_their_own() {
    let mut c = collection(&["a", "b"]);
    let own = VectorPatch {
        hnsw: Some(Tuning {
            m: Some(8),
            ..Tuning::default()
        }),
        quantization: Some(Quantization::Binary),
    };
    patch(CollectionPatch {
        vectors: [("a".to_owned(), own)].into(),
        ..CollectionPatch::default()
    })
    .apply(&mut c)
    .unwrap();
    patch(CollectionPatch {
        tuning: Tuning {
            m: Some(32),
            ef_construct: Some(200),
            quantization: Some(Quantization::Int8),
        },
        ..CollectionPatch::default()
    })
    .apply(&mut c)
    .unwrap();
    let of = |c: &Collection, name: &str| {
        let params = c.spec.schema.vectors[name];
        (params.hnsw.m, params.hnsw.ef_construct, params.quantization)
    };
    assert_eq!(of(&c, "a"), (8, 200, Quantization::Binary));
    assert_eq!(of(&c, "b"), (32, 200, Quantization::Int8));
    // An empty object takes the graph's own parameters away.
    let none = VectorPatch {
        hnsw: Some(Tuning::default()),
        quantization: None,
    };
    patch(CollectionPatch {
        vectors: [("a".to_owned(), none)].into(),
        ..CollectionPatch::default()
    })
    .apply(&mut c)
    .unwrap();
    assert_eq!(of(&c, "a"), (32, 200, Quantization::Binary));
}

#[test]
fn a_collection_without_settings_keeps_its_parameters() {
    let mut c = collection(&["a", "b"]);
    c.spec.schema.vectors.get_mut("b").unwrap().hnsw.m = 7;
    let before = c.spec.schema.clone();
    patch(CollectionPatch::default()).apply(&mut c).unwrap();
    assert_eq!(c.spec.schema, before);
}

#[test]
fn metadata_is_merged_and_null_removes() {
    let mut c = collection(&[]);
    for (given, expected) in [
        (
            json!({"a": 1, "b": {"c": 2}}),
            json!({"a": 1, "b": {"c": 2}}),
        ),
        (
            json!({"a": null, "d": [null]}),
            json!({"b": {"c": 2}, "d": [null]}),
        ),
        (json!({"x": null}), json!({"b": {"c": 2}, "d": [null]})),
    ] {
        let change = patch(CollectionPatch {
            metadata: Some(given.as_object().unwrap().clone()),
            ..CollectionPatch::default()
        });
        for _repeated in 0..2 {
            change.apply(&mut c).unwrap();
            let settings = CollectionSettings::of(&c).unwrap();
            assert_eq!(Value::Object(settings.metadata.unwrap()), expected);
        }
    }
}

#[test]
fn an_added_vector_is_another_than_the_one_that_was_dropped() {
    let mut c = collection(&["a"]);
    let add = |size| CollectionChange::AddVector {
        name: "b".to_owned(),
        vector: NewVector::Dense(DenseParams::new(size, Distance::Cosine)),
    };
    add(4).apply(&mut c).unwrap();
    assert_eq!(c.spec.schema.since("b"), Some(1));
    c.spec.schema.version = 1;
    let before = c.clone();
    add(4).apply(&mut c).unwrap();
    assert_eq!(c, before, "repeating it changes nothing");
    assert_eq!(
        add(5).apply(&mut c),
        Err(ChangeError::NameTaken("b".into()))
    );
    let sparse = CollectionChange::AddVector {
        name: "b".to_owned(),
        vector: NewVector::Sparse(SparseParams::default()),
    };
    assert_eq!(
        sparse.apply(&mut c),
        Err(ChangeError::NameTaken("b".into()))
    );
    let drop = CollectionChange::DropVector {
        name: "b".to_owned(),
    };
    drop.apply(&mut c).unwrap();
    c.spec.schema.version = 2;
    sparse.apply(&mut c).unwrap();
    assert_eq!(c.spec.schema.since("b"), Some(3));
    let missing = CollectionChange::DropVector {
        name: "x".to_owned(),
    };
    let text = missing.apply(&mut c).unwrap_err().to_string();
    assert!(text.contains("'x'"), "{text}");
}
