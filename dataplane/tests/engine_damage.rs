//! Segment files that are not what was written: an error that names the file, never a panic, never wrong data.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use brainy_coordination::manifest::{
    DenseParams, Distance, HnswParams, Quantization, SparseParams, VectorSchema,
};
use brainy_coordination::partition::SegmentMeta;
use brainy_coordination::types::{LogPosition, SegmentId};
use brainy_dataplane::engine::{BuildOptions, EngineError, OpenOptions, Segment, SegmentBuilder};
use brainy_dataplane::model::{Point, PointId, SparseVector, Vectors};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

/// A vector that every point has, one that every third has, and terms.
fn schema(hnsw: HnswParams) -> Arc<VectorSchema> {
    let params = DenseParams {
        hnsw,
        quantization: Quantization::Int8,
        ..DenseParams::new(5, Distance::Cosine)
    };
    Arc::new(VectorSchema {
        vectors: BTreeMap::from([(String::new(), params), ("some".to_owned(), params)]),
        sparse_vectors: BTreeMap::from([("terms".to_owned(), SparseParams::default())]),
        ..VectorSchema::default()
    })
}

const HNSW: HnswParams = HnswParams {
    m: 8,
    ef_construct: 40,
};
const RESIDENT: OpenOptions = OpenOptions { resident: true };

fn build(dir: &Path, rows: u64) -> SegmentMeta {
    let mut rng = StdRng::seed_from_u64(7);
    let points = (0..rows)
        .map(|n| {
            let mut vector =
                || -> Vec<f32> { (0..5).map(|_| rng.random_range(-1.0f32..1.0)).collect() };
            let mut vectors = Vectors::unnamed(vector());
            if n % 3 == 1 {
                vectors.insert("some", vector().into());
                let terms = SparseVector::new(vec![1, n as u32 + 5], vec![0.5, 2.0]).unwrap();
                vectors.insert("terms", terms.into());
            }
            let point = Point {
                id: PointId::Num(n),
                vectors,
                payload: json!({"n": n}).as_object().unwrap().clone(),
            };
            (point, LogPosition::new(1, n + 1))
        })
        .collect();
    let tombstones = vec![(PointId::Num(9_999), LogPosition::new(2, 1))];
    SegmentBuilder::build(
        SegmentId::generate(1),
        points,
        tombstones,
        schema(HNSW),
        dir,
        BuildOptions::default(),
    )
    .unwrap()
}

/// The checksum as the writer of these bytes would have recorded it.
fn recorded(meta: &SegmentMeta, name: &str, bytes: &[u8]) -> SegmentMeta {
    let mut meta = meta.clone();
    for file in meta.files.iter_mut().filter(|f| f.name == name) {
        file.bytes = bytes.len() as u64;
        file.crc32c = crc32c::crc32c(bytes);
    }
    meta
}

#[test]
fn whole_segments_open_and_say_what_they_hold() {
    // Rows, payloads, the vectors, their graph and codes; vectors and slots of every third row, terms and their index.
    for (rows, files) in [(0, 2), (1, 3), (511, 7), (512, 9), (1600, 11)] {
        let dir = tempfile::tempdir().unwrap();
        let meta = build(dir.path(), rows);
        assert_eq!(
            (meta.rows, meta.tombstones, meta.files.len()),
            (rows, 1, files)
        );
        assert_eq!(meta.newest, LogPosition::new(2, 1));
        for file in &meta.files {
            assert_eq!(
                fs::metadata(dir.path().join(&file.name)).unwrap().len(),
                file.bytes
            );
        }
        let segment = Segment::open(dir.path(), &meta, RESIDENT).unwrap();
        assert_eq!(segment.has_graph(), files > 7);
        assert_eq!(segment.rows() as u64, rows);
        assert!(segment.memory_bytes() > 0);
        let mapped = Segment::open(dir.path(), &meta, OpenOptions { resident: false }).unwrap();
        assert_eq!(mapped.has_graph(), segment.has_graph());
        assert!(mapped.memory_bytes() < segment.memory_bytes() || rows == 0);
    }
}

#[test]
fn every_kind_of_damage_to_every_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let meta = build(dir.path(), 600);
    assert_eq!(meta.files.len(), 9);
    for file in &meta.files {
        let path = dir.path().join(&file.name);
        let good = fs::read(&path).unwrap();
        let refused = |bytes: Option<&[u8]>, what: &str| {
            match bytes {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let error = Segment::open(dir.path(), &meta, RESIDENT).unwrap_err();
            assert!(
                matches!(error, EngineError::Damaged { .. }),
                "{what}: {error}"
            );
            assert!(error.to_string().contains(&file.name), "{what}: {error}");
        };
        for at in (0..good.len())
            .step_by(1 + good.len() / 40)
            .chain([good.len() - 1])
        {
            let mut flipped = good.clone();
            flipped[at] ^= 0x10;
            refused(Some(&flipped), &format!("{} flipped at {at}", file.name));
        }
        for length in [0, 1, 63, 64, good.len() / 2, good.len() - 1] {
            refused(
                Some(&good[..length]),
                &format!("{} cut to {length}", file.name),
            );
        }
        refused(Some(&vec![0; good.len()]), "zeros");
        refused(Some(&[good.clone(), vec![0]].concat()), "extended");
        refused(None, "missing");
        fs::write(&path, &good).unwrap();
    }
    Segment::open(dir.path(), &meta, RESIDENT).unwrap();
}

#[test]
fn other_formats_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let meta = build(dir.path(), 600);
    for file in &meta.files {
        let path = dir.path().join(&file.name);
        let good = fs::read(&path).unwrap();
        let mut newer = good.clone();
        newer[8] = 7;
        fs::write(&path, &newer).unwrap();
        let error =
            Segment::open(dir.path(), &recorded(&meta, &file.name, &newer), RESIDENT).unwrap_err();
        assert!(
            matches!(error, EngineError::UnknownFormat { found: 7, .. }),
            "{error}"
        );
        assert!(error.to_string().contains(&file.name), "{error}");
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn contents_that_contradict_each_other_are_errors_even_with_a_good_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let meta = build(dir.path(), 600);
    let mut rng = StdRng::seed_from_u64(11);
    for file in &meta.files {
        let path = dir.path().join(&file.name);
        let good = fs::read(&path).unwrap();
        for length in [64, 65, 68, good.len() / 2, good.len() - 4] {
            let cut = &good[..length];
            fs::write(&path, cut).unwrap();
            let opened = Segment::open(dir.path(), &recorded(&meta, &file.name, cut), RESIDENT);
            assert!(opened.is_err(), "{} cut to {length}", file.name);
        }
        for _ in 0..60 {
            let mut altered = good.clone();
            let at = rng.random_range(16..altered.len());
            altered[at] = rng.random();
            fs::write(&path, &altered).unwrap();
            // Another value may be just as valid: what matters is that opening comes back.
            let opened =
                Segment::open(dir.path(), &recorded(&meta, &file.name, &altered), RESIDENT);
            assert!(opened.is_err() || opened.is_ok_and(|s| s.rows() == 600));
        }
        fs::write(&path, &good).unwrap();
    }
    let mut fewer = meta.clone();
    fewer.rows = 599;
    assert!(Segment::open(dir.path(), &fewer, RESIDENT).is_err());
    let mut unlisted = meta.clone();
    unlisted.files.retain(|f| f.name != "vectors-0.f32");
    let error = Segment::open(dir.path(), &unlisted, RESIDENT).unwrap_err();
    assert!(error.to_string().contains("vectors-0.f32"), "{error}");
}

#[test]
fn parameters_and_rows_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for hnsw in [
        HnswParams { m: 1, ..HNSW },
        HnswParams { m: 257, ..HNSW },
        HnswParams {
            ef_construct: 3,
            ..HNSW
        },
    ] {
        assert!(SegmentBuilder::create(SegmentId::generate(1), schema(hnsw), dir.path()).is_err());
    }
    let point = |n: u64, vector: Vec<f32>| {
        let point = Point {
            id: PointId::Num(n),
            vectors: Vectors::unnamed(vector),
            payload: serde_json::Map::new(),
        };
        (point, LogPosition::new(1, 1))
    };
    let build = |points| {
        let id = SegmentId::generate(1);
        let options = BuildOptions::default();
        SegmentBuilder::build(id, points, vec![], schema(HNSW), dir.path(), options)
    };
    assert!(build(vec![point(5, vec![0.0; 5])]).is_ok());
    assert!(build(vec![point(5, vec![0.0; 5]), point(5, vec![0.0; 5])]).is_err());
    assert!(build(vec![point(6, vec![0.0; 4])]).is_err());
    let path = dir.path().join("rows.bin/impossible");
    fs::write(dir.path().join("rows.bin"), b"").unwrap();
    let error = SegmentBuilder::create(SegmentId::generate(1), schema(HNSW), &path)
        .err()
        .unwrap();
    assert!(matches!(error, EngineError::Io { .. }), "{error}");
}
