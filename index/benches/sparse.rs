//! Sparse search against plain accumulation.
//!
//! ```text
//! cargo bench -p brainy-index --bench sparse                 100,000 synthetic documents
//! TEXTS=file cargo bench -p brainy-index --bench sparse      also BM25 over the lines of a file, every 500th line a query
//! ```
//!
//! `index` is [`SparseIndex::search`]; `accumulate` adds all postings of the query's terms into one array with a place for
//! each row and picks the best from it. Both give the same rows.

use brainy_index::near::{Near, TopK};
use brainy_index::sparse::{SparseBuilder, SparseIndex, SparseVector};
use brainy_index::text::{Bm25, idf};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;

/// Documents and queries.
struct Corpus {
    name: String,
    documents: Vec<SparseVector>,
    queries: Vec<SparseVector>,
}

/// Documents of 5 to 30 words of a Zipf distribution over 50,000, and queries of 2 to 8 of the same.
fn synthetic() -> Corpus {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let weights: Vec<f64> = (1..=50_000).map(|rank| 1.0 / f64::from(rank)).collect();
    let cumulative: Vec<f64> = weights
        .iter()
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect();
    let total = cumulative.last().copied().unwrap_or_default();
    let mut text = |range: std::ops::RangeInclusive<u32>| {
        let words = rng.random_range(range);
        let ranks = (0..words).map(|_| {
            let at = rng.random::<f64>() * total;
            cumulative.partition_point(|sum| *sum < at).to_string()
        });
        ranks.collect::<Vec<_>>().join(" ")
    };
    let documents: Vec<String> = (0..100_000).map(|_| text(5..=30)).collect();
    let queries: Vec<String> = (0..200).map(|_| text(2..=8)).collect();
    corpus("synthetic", &documents, &queries)
}

fn from_file(path: &str) -> Corpus {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let documents: Vec<String> = text.lines().map(str::to_owned).collect();
    let queries: Vec<String> = documents.iter().step_by(500).cloned().collect();
    corpus(path, &documents, &queries)
}

fn corpus(name: &str, documents: &[String], queries: &[String]) -> Corpus {
    let words: usize = documents
        .iter()
        .map(|text| Bm25::default().tokenizer.tokens(text).len())
        .sum();
    let bm25 = Bm25 {
        avg_len: words as f64 / documents.len() as f64,
        ..Bm25::default()
    };
    let documents: Vec<SparseVector> = documents
        .iter()
        .map(|text| bm25.document(text).unwrap_or_default())
        .collect();
    let mut frequencies: HashMap<u32, u64> = HashMap::new();
    for term in documents.iter().flat_map(|vector| vector.indices()) {
        *frequencies.entry(*term).or_default() += 1;
    }
    let weight = |term: u32| {
        idf(
            documents.len() as u64,
            frequencies.get(&term).copied().unwrap_or(0),
        )
    };
    let queries = queries
        .iter()
        .map(|text| bm25.query(text).weighted(weight))
        .collect();
    Corpus {
        name: name.to_owned(),
        documents,
        queries,
    }
}

/// What the index is measured against.
struct Accumulation {
    postings: BTreeMap<u32, Vec<(u32, f32)>>,
    sums: Vec<f32>,
}

impl Accumulation {
    fn new(documents: &[SparseVector]) -> Self {
        let mut postings: BTreeMap<u32, Vec<(u32, f32)>> = BTreeMap::new();
        for (row, vector) in (0..).zip(documents) {
            for (term, value) in vector.iter() {
                postings.entry(term).or_default().push((row, value));
            }
        }
        Self {
            postings,
            sums: vec![0.0; documents.len()],
        }
    }

    fn search(&mut self, query: &SparseVector, k: usize) -> Vec<Near> {
        self.sums.fill(0.0);
        for (term, weight) in query.iter() {
            for (row, value) in self.postings.get(&term).into_iter().flatten() {
                self.sums[*row as usize] += weight * value;
            }
        }
        let mut top = TopK::new(k);
        for (row, sum) in (0..).zip(&self.sums) {
            if *sum > 0.0 && top.improves(-sum) {
                top.push(Near {
                    distance: -sum,
                    key: row,
                });
            }
        }
        top.into_sorted()
    }
}

fn search(criterion: &mut Criterion) {
    let corpora = [
        Some(synthetic()),
        std::env::var("TEXTS").ok().map(|path| from_file(&path)),
    ];
    for corpus in corpora.into_iter().flatten() {
        let mut builder = SparseBuilder::new();
        for (row, vector) in (0..).zip(&corpus.documents) {
            builder
                .push(row, vector)
                .unwrap_or_else(|error| panic!("{error}"));
        }
        let bytes = builder.finish().unwrap_or_else(|error| panic!("{error}"));
        let index = SparseIndex::open(bytes).unwrap_or_else(|error| panic!("{error}"));
        let mut accumulation = Accumulation::new(&corpus.documents);

        let mut group = criterion.benchmark_group(&corpus.name);
        for k in [10, 100] {
            // One iteration is one query, the next of the corpus.
            let mut queries = corpus.queries.iter().cycle();
            group.bench_function(BenchmarkId::new("index", k), |bencher| {
                bencher.iter(|| {
                    queries
                        .next()
                        .map(|query| black_box(index.search(query, k, None)))
                });
            });
            let mut queries = corpus.queries.iter().cycle();
            group.bench_function(BenchmarkId::new("accumulate", k), |bencher| {
                bencher.iter(|| {
                    queries
                        .next()
                        .map(|query| black_box(accumulation.search(query, k)))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, search);
criterion_main!(benches);
