//! Files of a segment that are not what was written, although their checksums hold: changed by a defect, or made by somebody.
//!
//! An input is a list of changes to the files of a good segment: which file (1 byte), what (1 byte: cut, or else overwrite),
//! where (4 bytes), how many bytes follow (1 byte), and these.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use brainy_coordination::manifest::{
    DenseParams, Distance, HnswParams, Quantization, SparseParams, VectorSchema,
};
use brainy_coordination::partition::SegmentMeta;
use brainy_coordination::types::{LogPosition, SegmentId};
use brainy_dataplane::engine::payload_index::{FieldKind, PayloadSchema};
use brainy_dataplane::engine::{BuildOptions, Change, OpenOptions, PartitionState, Segment};
use brainy_dataplane::model::{
    Condition, CountRequest, FieldCondition, Filter, MatchValue, PayloadSelector, Point, PointId,
    Range, Scalar, ScrollRequest, SearchRequest, SparseVector, Vector, VectorSelector, Vectors,
};
use serde_json::json;

const ROWS: u64 = 600;

struct Good {
    meta: SegmentMeta,
    files: BTreeMap<String, Vec<u8>>,
}

fn schema() -> Arc<VectorSchema> {
    let params = DenseParams {
        hnsw: HnswParams {
            m: 4,
            ef_construct: 16,
        },
        quantization: Quantization::Int8,
        ..DenseParams::new(3, Distance::Cosine)
    };
    Arc::new(VectorSchema {
        vectors: BTreeMap::from([(String::new(), params), ("some".to_owned(), params)]),
        sparse_vectors: BTreeMap::from([("terms".to_owned(), SparseParams::default())]),
        ..VectorSchema::default()
    })
}

fn payload_schema() -> PayloadSchema {
    let fields = [
        ("n", FieldKind::Integer),
        ("word", FieldKind::Keyword),
        ("text", FieldKind::Text),
    ];
    fields
        .into_iter()
        .map(|(f, kind)| (f.to_owned(), kind))
        .collect()
}

fn row(n: u64) -> (Point, LogPosition) {
    let vector = |salt: u64| -> Vec<f32> {
        let component = |i: u64| ((n * 31 + salt * 17 + i * 7) % 23) as f32 - 11.0;
        let raw = [component(1), component(2), 1.0];
        let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
        raw.iter().map(|x| x / length).collect()
    };
    let mut vectors = Vectors::unnamed(vector(0));
    if n % 3 == 1 {
        vectors.insert("some", vector(5).into());
        let terms = SparseVector::new(vec![1, n as u32 + 5], vec![0.5, 2.0]).unwrap();
        vectors.insert("terms", terms.into());
    }
    let payload =
        json!({"n": n, "word": format!("w{}", n % 10), "text": format!("row number {n}")});
    let point = Point {
        id: PointId::Num(n),
        vectors,
        payload: payload.as_object().unwrap().clone(),
    };
    (point, LogPosition::new(1, n + 1))
}

fn good() -> &'static Good {
    static GOOD: OnceLock<Good> = OnceLock::new();
    GOOD.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let state = PartitionState::with_payload_schema((*schema()).clone(), payload_schema());
        for (point, version) in (0..ROWS).map(row) {
            state.apply(version, &[Change::Put(point)]).unwrap();
        }
        let frozen = state.freeze().unwrap();
        let meta = frozen
            .build(SegmentId::generate(1), dir.path(), BuildOptions::default())
            .unwrap();
        let read = |name: &String| std::fs::read(dir.path().join(name)).unwrap();
        let files = meta.files.iter().map(|f| (f.name.clone(), read(&f.name)));
        Good {
            files: files.collect(),
            meta: meta.clone(),
        }
    })
}

/// Opens the segment with its files changed. If it opens, every kind of read comes back.
pub fn run(bytes: &[u8]) {
    let Good { meta, files } = good();
    let mut files = files.clone();
    let mut rest = bytes;
    while let Some((change, after)) = rest.split_first_chunk::<7>() {
        let [file, what, a, b, c, d, count] = *change;
        let (fill, after) = after.split_at(after.len().min(count.into()));
        rest = after;
        let index = usize::from(file) % files.len();
        if let Some(contents) = files.values_mut().nth(index) {
            // Not the first bytes of the header: those are compared, and that is that.
            let at = 12 + u32::from_le_bytes([a, b, c, d]) as usize % (contents.len() - 12).max(1);
            if what % 8 == 0 {
                contents.truncate(at.max(64));
            } else {
                let end = contents.len().min(at + fill.len());
                contents[at..end].copy_from_slice(&fill[..end - at]);
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut meta = meta.clone();
    for file in &mut meta.files {
        let contents = &files[&file.name];
        file.bytes = contents.len() as u64;
        file.crc32c = crc32c::crc32c(contents);
        std::fs::write(dir.path().join(&file.name), contents).unwrap();
    }
    for resident in [true, false] {
        open(dir.path(), &meta, OpenOptions { resident });
    }
}

fn open(dir: &Path, meta: &SegmentMeta, options: OpenOptions) {
    let Ok(segment) = Segment::open(dir, meta, options) else {
        return;
    };
    let state = PartitionState::with_payload_schema((*schema()).clone(), payload_schema());
    if state.install(vec![Arc::new(segment)], meta.newest).is_ok() {
        read(&state);
    }
}

fn read(state: &PartitionState) {
    let is = |key: &str, test| {
        Condition::Field(FieldCondition {
            key: key.to_owned(),
            test,
        })
    };
    let range = Range {
        gt: None,
        gte: Some(10.0),
        lt: Some(300.0),
        lte: None,
    };
    let word = MatchValue::Value(Scalar::Text("w3".to_owned()));
    let filters = [
        None,
        Some(is("n", MatchValue::Range(range))),
        Some(is("word", word)),
    ];
    for condition in filters {
        let filter = condition.map(|condition| Filter {
            must: vec![condition],
            ..Filter::default()
        });
        let count = CountRequest {
            filter: filter.clone(),
        };
        // An error is as good as an answer.
        drop(state.count(&count));
        drop(state.scroll(&ScrollRequest {
            filter: filter.clone(),
            limit: 700,
            offset: None,
            with_payload: PayloadSelector::All,
            with_vector: VectorSelector::All,
        }));
        let terms = SparseVector::new(vec![1, 9], vec![1.0, 1.0]).unwrap();
        let queries: [(&str, Vector); 3] = [
            ("", vec![1.0, 0.0, 0.0].into()),
            ("some", vec![0.0, 0.0, 1.0].into()),
            ("terms", terms.into()),
        ];
        for (using, vector) in queries {
            for exact in [false, true] {
                let mut search = SearchRequest::new(vector.clone(), 20);
                search.using = using.to_owned();
                search.filter.clone_from(&filter);
                search.exact = exact;
                search.with_payload = PayloadSelector::All;
                search.with_vector = VectorSelector::All;
                drop(state.search(&search));
            }
        }
    }
}

/// No change, and small ones to each file.
pub fn seeds() -> Vec<Vec<u8>> {
    let overwrite = |file: u8, at: u32, value: u32| {
        let mut change = vec![file, 1];
        change.extend(at.to_le_bytes());
        change.push(4);
        change.extend(value.to_le_bytes());
        change
    };
    let cut = |file: u8| vec![file, 0, 200, 0, 0, 0, 0];
    let mut seeds = vec![Vec::new()];
    for file in 0..12 {
        seeds.push(overwrite(file, 52, u32::MAX));
        seeds.push(overwrite(file, 120, 1 << 20));
        seeds.push(cut(file));
    }
    seeds
}
