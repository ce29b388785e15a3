//! Searches of segments by what their vectors are: coded, lists, missing from some points, merged.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::sync::Arc;

use brainy_coordination::manifest::{DenseParams, Distance, Quantization, VectorSchema};
use brainy_coordination::types::{LogPosition, SegmentId};
use brainy_dataplane::engine::{BuildOptions, Change, OpenOptions, PartitionState, Segment};
use brainy_dataplane::model::{
    CodeUse, MultiVector, Point, PointId, ScoredPoint, SearchRequest, Vector, Vectors,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

const SEED: u64 = 20_261_122;

/// Vectors around 30 centres.
struct Clusters {
    rng: StdRng,
    centres: Vec<Vec<f32>>,
}

impl Clusters {
    fn new(size: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(SEED);
        let mut centre = || (0..size).map(|_| rng.random_range(-1.0f32..1.0)).collect();
        let centres = (0..30).map(|_| centre()).collect();
        Self { rng, centres }
    }

    fn vector(&mut self) -> Vec<f32> {
        let centre = &self.centres[self.rng.random_range(0..self.centres.len())];
        let rng = &mut self.rng;
        centre
            .iter()
            .map(|c| c + rng.random_range(-0.4f32..0.4))
            .collect()
    }

    fn list(&mut self, rows: usize) -> Vector {
        let rows: Vec<Vec<f32>> = (0..rows).map(|_| self.vector()).collect();
        MultiVector::new(&rows).unwrap().into()
    }
}

/// A partition and the files of its segments.
struct Partition {
    state: PartitionState,
    dir: TempDir,
    next: LogPosition,
}

impl Partition {
    fn new(schema: VectorSchema) -> Self {
        Self {
            state: PartitionState::new(schema),
            dir: tempfile::tempdir().unwrap(),
            next: LogPosition::new(1, 1),
        }
    }

    fn write(&mut self, changes: &[Change]) {
        self.state.apply(self.next, changes).unwrap();
        self.next = self.next.next();
    }

    fn put(&mut self, points: impl IntoIterator<Item = (u64, Vectors)>) {
        let put = |(id, vectors)| {
            Change::Put(Point {
                id: PointId::Num(id),
                vectors,
                payload: serde_json::Map::new(),
            })
        };
        let changes: Vec<Change> = points.into_iter().map(put).collect();
        self.write(&changes);
    }

    fn open(&self, meta: &brainy_coordination::partition::SegmentMeta, resident: bool) -> Segment {
        let dir = self.dir.path().join(meta.id.as_str());
        Segment::open(&dir, meta, OpenOptions { resident }).unwrap()
    }

    /// What was written becomes a segment.
    fn flush(&self, resident: bool) {
        let frozen = self.state.freeze().unwrap();
        let id = SegmentId::generate(1);
        let dir = self.dir.path().join(id.as_str());
        let meta = frozen.build(id, &dir, BuildOptions::default()).unwrap();
        let mut segments = self.state.segments();
        segments.push(Arc::new(self.open(&meta, resident)));
        self.state.install(segments, frozen.position()).unwrap();
    }

    /// All segments become one.
    fn merge(&self) {
        let inputs: Vec<_> = self
            .state
            .segments()
            .iter()
            .map(|s| s.id().clone())
            .collect();
        let id = SegmentId::generate(1);
        let dir = self.dir.path().join(id.as_str());
        let options = BuildOptions::default();
        let meta = self.state.merge(&inputs, id, &dir, options).unwrap();
        let merged = self.open(&meta.unwrap(), true);
        assert!(merged.has_graph());
        let applied = self.state.applied();
        self.state.install(vec![Arc::new(merged)], applied).unwrap();
    }

    fn search(&self, request: &SearchRequest) -> Vec<ScoredPoint> {
        self.state.search(request).unwrap()
    }

    /// Share of the exact answers that `request` finds for each of `queries`.
    fn recall(&self, queries: &[Vector], request: &SearchRequest) -> f64 {
        let (mut hits, mut wanted) = (0, 0);
        for vector in queries {
            let request = SearchRequest {
                query: vector.clone().into(),
                ..request.clone()
            };
            let exact = SearchRequest {
                exact: true,
                ..request.clone()
            };
            let ids = |found: Vec<ScoredPoint>| -> Vec<PointId> {
                found.iter().map(|p| p.record.id).collect()
            };
            let (exact, found) = (ids(self.search(&exact)), ids(self.search(&request)));
            assert_eq!(found.len(), exact.len());
            wanted += exact.len();
            hits += exact.iter().filter(|id| found.contains(id)).count();
        }
        hits as f64 / wanted as f64
    }
}

fn unnamed(request: Vec<f32>, limit: usize) -> SearchRequest {
    SearchRequest {
        // Narrow: of segments as small as these a wider search would be a scan.
        ef: Some(40),
        ..SearchRequest::new(request, limit)
    }
}

#[test]
fn codes_find_what_full_vectors_rank() {
    const SIZE: usize = 128;
    const ROWS: u64 = 4000;
    for (quantization, distance, oversampling) in [
        (Quantization::Int8, Distance::Cosine, None),
        (Quantization::Int8, Distance::Manhattan, None),
        (Quantization::Int4, Distance::Euclid, None),
        (Quantization::Binary, Distance::Dot, Some(4.0)),
    ] {
        let mut clusters = Clusters::new(SIZE);
        let params = DenseParams {
            quantization,
            ..DenseParams::new(SIZE as u32, distance)
        };
        let mut partition = Partition::new(VectorSchema::unnamed(params));
        partition.put((0..ROWS).map(|id| (id, Vectors::unnamed(clusters.vector()))));
        partition.flush(true);
        let queries: Vec<Vector> = (0..30).map(|_| clusters.vector().into()).collect();
        let codes = CodeUse {
            oversampling,
            ..CodeUse::default()
        };
        let request = SearchRequest {
            codes,
            ..unnamed(vec![], 10)
        };
        let recall = partition.recall(&queries, &request);
        println!("{quantization:?} {distance:?}: recall {recall:.3} (seed {SEED})");
        let expected = if quantization == Quantization::Binary {
            0.75
        } else {
            0.97
        };
        assert!(
            recall >= expected,
            "{quantization:?}: {recall} (seed {SEED})"
        );
        // Floats are in the file: what is held is the code, the links and the table of rows.
        let held = partition.state.stats().memory_bytes;
        assert!(
            held < ROWS as usize * SIZE * 3,
            "{quantization:?}: {held} bytes"
        );

        let request = |codes| SearchRequest {
            query: queries[0].clone().into(),
            codes,
            ..unnamed(vec![], 10)
        };
        let scores = |codes| -> Vec<f32> {
            partition
                .search(&request(codes))
                .iter()
                .map(|p| p.score)
                .collect()
        };
        let full = CodeUse {
            ignore: true,
            ..CodeUse::default()
        };
        let rough = CodeUse {
            rescore: Some(false),
            ..CodeUse::default()
        };
        assert_ne!(
            scores(full),
            scores(rough),
            "scores by codes are approximate"
        );
        let exact = SearchRequest {
            exact: true,
            ..request(full)
        };
        assert_eq!(scores(full)[0], partition.search(&exact)[0].score);
    }
}

#[test]
fn lists_are_found_by_the_sum_of_their_best() {
    let lists = DenseParams {
        multivector: true,
        ..DenseParams::new(24, Distance::Cosine)
    };
    let mut partition = Partition::new(VectorSchema {
        vectors: BTreeMap::from([("pages".to_owned(), lists)]),
        ..VectorSchema::default()
    });
    let mut clusters = Clusters::new(24);
    let points: Vec<_> = (0..3000u64)
        .map(|id| {
            let mut vectors = Vectors::default();
            // Some points have no list; the others have one to four vectors.
            if id % 10 != 3 {
                vectors.insert("pages", clusters.list(1 + id as usize % 4));
            }
            (id, vectors)
        })
        .collect();
    partition.put(points);
    partition.flush(true);
    let queries: Vec<Vector> = (0..30).map(|n| clusters.list(1 + n % 3)).collect();
    let request = SearchRequest {
        using: "pages".to_owned(),
        ..unnamed(vec![], 10)
    };
    let recall = partition.recall(&queries, &request);
    println!("recall {recall:.3} (seed {SEED})");
    assert!(recall >= 0.97, "recall {recall} (seed {SEED})");
    let all = SearchRequest {
        query: queries[0].clone().into(),
        exact: true,
        limit: 5000,
        ..request
    };
    assert_eq!(partition.search(&all).len(), 2700);
}

#[test]
fn points_without_the_vector_are_no_results_and_cost_no_slot() {
    let schema = VectorSchema {
        vectors: BTreeMap::from(
            ["a", "b"].map(|name| (name.to_owned(), DenseParams::new(16, Distance::Euclid))),
        ),
        ..VectorSchema::default()
    };
    let mut partition = Partition::new(schema);
    let mut clusters = Clusters::new(16);
    let points: Vec<_> = (0..4000u64)
        .map(|id| {
            let mut vectors = Vectors::default();
            vectors.insert(
                if id % 4 == 0 { "a" } else { "b" },
                clusters.vector().into(),
            );
            (id, vectors)
        })
        .collect();
    partition.put(points);
    partition.flush(true);
    let queries: Vec<Vector> = (0..30).map(|_| clusters.vector().into()).collect();
    for (using, count) in [("a", 1000), ("b", 3000)] {
        let request = SearchRequest {
            using: using.to_owned(),
            ef: Some(20),
            ..SearchRequest::new(vec![], 10)
        };
        let recall = partition.recall(&queries, &request);
        assert!(recall >= 0.9, "'{using}': recall {recall} (seed {SEED})");
        let all = SearchRequest {
            query: queries[0].clone().into(),
            limit: 5000,
            ..request
        };
        assert_eq!(partition.search(&all).len(), count, "'{using}'");
    }
}

#[test]
fn merged_graphs_lead_to_rows_of_every_input_and_to_no_deleted_one() {
    for resident in [true, false] {
        let params = DenseParams {
            quantization: Quantization::Int8,
            ..DenseParams::new(64, Distance::Cosine)
        };
        let mut partition = Partition::new(VectorSchema::unnamed(params));
        let mut clusters = Clusters::new(64);
        let vectors = |clusters: &mut Clusters| Vectors::unnamed(clusters.vector());
        // The largest first, and with ids in between those of the others.
        partition.put((0..3000).map(|n| (n * 3, vectors(&mut clusters))));
        partition.flush(resident);
        partition.put((0..800).map(|n| (n * 5 + 1, vectors(&mut clusters))));
        partition.flush(resident);
        let gone: Vec<_> = (0..600)
            .map(|n| Change::Delete(PointId::Num(n * 6)))
            .collect();
        partition.write(&gone);
        partition.flush(resident);
        partition.merge();
        let stats = partition.state.stats();
        assert_eq!((stats.segments, stats.hidden_rows), (1, 0));
        let queries: Vec<Vector> = (0..40).map(|_| clusters.vector().into()).collect();
        let recall = partition.recall(&queries, &unnamed(vec![], 10));
        println!("resident {resident}: recall {recall:.3} (seed {SEED})");
        assert!(recall >= 0.97, "recall {recall} (seed {SEED})");
        for query in &queries {
            let request = SearchRequest {
                query: query.clone().into(),
                ..unnamed(vec![], 50)
            };
            for found in partition.search(&request) {
                let PointId::Num(id) = found.record.id else {
                    panic!("{:?}", found.record.id)
                };
                let deleted = id.is_multiple_of(6) && id < 3600;
                assert!(!deleted, "{id} was deleted");
            }
        }
    }
}
