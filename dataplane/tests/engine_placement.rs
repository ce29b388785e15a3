//! Where the parts of a segment are changes no answer.

#![allow(clippy::unwrap_used)]

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use brainy_coordination::manifest::{DenseParams, Distance, Quantization, VectorSchema};
use brainy_coordination::partition::SegmentMeta;
use brainy_coordination::types::{LogPosition, SegmentId};
use brainy_dataplane::engine::{
    BuildOptions, Change, Files, Guard, Part, PartitionState, Placement, Segment, open_file,
};
use brainy_dataplane::model::{
    Condition, CountRequest, FieldCondition, Filter, MatchValue, PayloadSelector, Point, PointId,
    RetrieveRequest, Scalar, ScrollRequest, SearchRequest, VectorSelector, Vectors,
};
use brainy_index::storage::Source;
use serde_json::json;

const DIM: usize = 64;
const ROWS: u64 = 1500;

/// Files of a directory, and an account of what is held of them.
struct Account {
    dir: PathBuf,
    left: AtomicU64,
}

impl Files for Account {
    fn source(&self, name: &str) -> io::Result<(Arc<dyn Source>, u64)> {
        open_file(&self.dir.join(name))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.dir.join(name))
    }

    fn hold(&self, bytes: u64) -> Option<Guard> {
        let take = |left: u64| left.checked_sub(bytes);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .ok()?;
        Some(Box::new(()))
    }

    fn hold_fixed(&self, _bytes: u64) -> Guard {
        Box::new(())
    }
}

fn vector(id: u64) -> Vec<f32> {
    let mut state = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..DIM)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect()
}

fn point(id: u64) -> Change {
    let payload = json!({"n": id, "kind": if id.is_multiple_of(3) { "a" } else { "b" }});
    Change::Put(Point {
        id: PointId::Num(id),
        vectors: Vectors::unnamed(vector(id)),
        payload: payload.as_object().unwrap().clone(),
    })
}

/// A partition with two segments, the files of which are in the directory.
struct Partition {
    state: PartitionState,
    dir: tempfile::TempDir,
    next: LogPosition,
}

impl Partition {
    fn new(quantization: Quantization) -> Self {
        let params = DenseParams {
            quantization,
            ..DenseParams::new(DIM as u32, Distance::Euclid)
        };
        let mut partition = Self {
            state: PartitionState::new(VectorSchema::unnamed(params)),
            dir: tempfile::tempdir().unwrap(),
            next: LogPosition::new(1, 1),
        };
        for ids in [0..ROWS, ROWS - 100..2 * ROWS] {
            partition.write(&ids.map(point).collect::<Vec<_>>());
            partition.flush(Placement::ALL);
        }
        partition
    }

    fn write(&mut self, changes: &[Change]) {
        self.state.apply(self.next, changes).unwrap();
        self.next = self.next.next();
    }

    fn files(&self, meta: &SegmentMeta, left: u64) -> Account {
        Account {
            dir: self.dir.path().join(meta.id.as_str()),
            left: AtomicU64::new(left),
        }
    }

    fn open(&self, meta: &SegmentMeta, wish: Placement) -> Arc<Segment> {
        let files = self.files(meta, u64::MAX);
        Arc::new(Segment::open_from(&files, meta, wish, true).unwrap())
    }

    fn flush(&self, wish: Placement) {
        let frozen = self.state.freeze().unwrap();
        let id = SegmentId::generate(1);
        let dir = self.dir.path().join(id.as_str());
        let meta = frozen.build(id, &dir, BuildOptions::default()).unwrap();
        let mut segments = self.state.segments();
        segments.push(self.open(&meta, wish));
        self.state.install(segments, frozen.position()).unwrap();
    }

    fn place(&self, wish: Placement) {
        for segment in self.state.segments() {
            let files = self.files(segment.meta(), u64::MAX);
            let placed = Arc::new(segment.placed(&files, wish, false).unwrap());
            assert_eq!(placed.placement(), expected(&segment, wish));
            assert!(self.state.replace_segment(&placed).unwrap());
        }
    }

    /// What a client could ask, in words.
    fn answers(&self) -> Vec<String> {
        let filter: Filter = Filter {
            must: vec![Condition::Field(FieldCondition {
                key: "kind".to_owned(),
                test: MatchValue::Value(Scalar::Text("a".to_owned())),
            })],
            ..Filter::default()
        };
        let mut answers = Vec::new();
        for id in (0..2 * ROWS).step_by(211) {
            for filter in [None, Some(filter.clone())] {
                for exact in [false, true] {
                    let request = SearchRequest {
                        filter: filter.clone(),
                        exact,
                        with_payload: PayloadSelector::All,
                        with_vector: VectorSelector::All,
                        ..SearchRequest::new(vector(id), 7)
                    };
                    answers.push(format!("{:?}", self.state.search(&request).unwrap()));
                }
            }
        }
        let count = CountRequest {
            filter: Some(filter.clone()),
        };
        answers.push(self.state.count(&count).unwrap().to_string());
        let scroll = ScrollRequest {
            filter: Some(filter),
            limit: 20,
            offset: Some(PointId::Num(ROWS - 30)),
            with_payload: PayloadSelector::All,
            with_vector: VectorSelector::All,
        };
        answers.push(format!("{:?}", self.state.scroll(&scroll).unwrap()));
        answers
    }
}

/// Graph and codes that a segment does not have are nowhere, which counts as held.
fn expected(segment: &Segment, wish: Placement) -> Placement {
    let has = |part| segment.part_uses().iter().any(|used| used.part == part);
    Part::ALL.into_iter().fold(wish, |all, part| {
        all.with(part, wish.holds(part) || !has(part))
    })
}

#[test]
fn answers_are_the_same_wherever_the_parts_are() {
    for quantization in [Quantization::Int8, Quantization::Disabled] {
        let mut partition = Partition::new(quantization);
        let wanted = partition.answers();
        let held: u64 = partition.state.stats().memory_bytes as u64;
        assert!(partition.state.is_in_memory());
        for part in Part::ALL {
            partition.place(Placement::NONE.with(part, true));
            assert_eq!(partition.answers(), wanted, "{quantization:?} {part:?}");
            partition.place(Placement::ALL.with(part, false));
            assert_eq!(partition.answers(), wanted, "{quantization:?} {part:?}");
        }
        partition.place(Placement::NONE);
        assert!(!partition.state.is_in_memory());
        assert_eq!(partition.answers(), wanted);
        assert!((partition.state.stats().memory_bytes as u64) < held / 2);

        // Marks of what was superseded are those of the segment, wherever it is.
        partition.write(&[Change::Delete(PointId::Num(3)), point(ROWS)]);
        let after = partition.answers();
        assert_ne!(after, wanted);
        partition.place(Placement::ALL);
        assert_eq!(partition.answers(), after);

        // And merges read parts from wherever they are.
        partition.place(Placement::NONE);
        let inputs: Vec<SegmentId> = partition
            .state
            .segments()
            .iter()
            .map(|s| s.id().clone())
            .collect();
        let id = SegmentId::generate(1);
        let dir = partition.dir.path().join(id.as_str());
        let merged = partition
            .state
            .merge(&inputs, id, &dir, BuildOptions::default());
        let merged = partition.open(&merged.unwrap().unwrap(), Placement::NONE);
        assert_eq!(merged.rows() as u64, 2 * ROWS);
        let old = partition.state.segments();
        partition
            .state
            .install(vec![merged], partition.state.applied())
            .unwrap();
        let exact = |answers: &[String]| -> Vec<String> {
            answers.iter().skip(1).step_by(2).cloned().collect()
        };
        assert_eq!(exact(&partition.answers()), exact(&after));
        // What is not installed any more is not put back.
        assert!(!partition.state.replace_segment(&old[0]).unwrap());
    }
}

#[test]
fn what_there_is_no_memory_for_stays_in_its_file() {
    let partition = Partition::new(Quantization::Int8);
    let segment = partition.state.segments().remove(0);
    let uses = segment.part_uses();
    let codes = uses.iter().find(|used| used.part == Part::Codes).unwrap();
    let files = partition.files(segment.meta(), codes.bytes + 10);
    let wish = Placement::NONE
        .with(Part::Codes, true)
        .with(Part::Graph, true);
    let placed = Segment::open_from(&files, segment.meta(), wish, true).unwrap();
    let placement = placed.placement();
    assert!(placement.holds(Part::Codes) != placement.holds(Part::Graph));
    assert!(!placement.holds(Part::Vectors) && !placement.holds(Part::Payloads));
    assert!(files.left.load(Ordering::Relaxed) < codes.bytes);
}

#[test]
fn a_file_that_is_cut_while_it_is_read_gives_an_error_and_no_answer() {
    let partition = Partition::new(Quantization::Int8);
    partition.place(Placement::NONE);
    for segment in partition.state.segments() {
        let dir = partition.dir.path().join(segment.id().as_str());
        let file = dir.join("codes-0.bin");
        std::fs::OpenOptions::new()
            .write(true)
            .open(file)
            .unwrap()
            .set_len(100)
            .unwrap();
    }
    let request = SearchRequest::new(vector(1), 3);
    let error = partition.state.search(&request).unwrap_err().to_string();
    assert!(error.contains("cannot read"), "{error}");
    // The next request of the same thread is not blamed for it.
    let retrieve = RetrieveRequest {
        ids: vec![PointId::Num(5)],
        with_payload: PayloadSelector::All,
        with_vector: VectorSelector::All,
    };
    assert_eq!(partition.state.retrieve(&retrieve).unwrap().len(), 1);
}
