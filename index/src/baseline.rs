//! The crate [hnsw_rs](https://crates.io/crates/hnsw_rs) as its users use it: its own memory, graph and search.
//!
//! It is not stored: its loader ends the process on files that it does not like, and a point of it takes several allocations.
//! To have segments built by it, choose [`crate::dense::GraphBuilder::HnswRs`], which keeps its links in the native layout.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hnsw_rs::anndists::dist::distances::{DistDot, DistL1, DistL2, Distance};
use hnsw_rs::hnsw::Hnsw;

use crate::dense::{Params, Search};
use crate::error::IndexError;
use crate::graph::MAX_LAYERS;
use crate::measure::Measure;
use crate::near::Near;
use crate::segment_index::SegmentIndex;
use crate::vectors::Vectors;

/// An index of the crate.
pub struct HnswRs(Kind);

enum Kind {
    Cosine(Hnsw<'static, f32, DistDot>),
    Euclid(Hnsw<'static, f32, DistL2>),
    Manhattan(Hnsw<'static, f32, DistL1>),
}

impl HnswRs {
    /// Builds it; `params.quantization` has no meaning here. On several threads it takes as many as the variable
    /// RAYON_NUM_THREADS says. Points that it inserts at the same time can miss each other, and then no search finds them
    /// (hnswlib-rs #32).
    ///
    /// # Errors
    /// Parameters out of range, [`IndexError::Baseline`] for the dot product, of which it takes vectors of unit length only, or
    /// if the crate panics.
    pub fn build(vectors: &Vectors, params: &Params, threads: usize) -> Result<Self, IndexError> {
        params.validate(vectors.len())?;
        // The crate asserts what it relies on and has no other way to tell.
        let built = catch_unwind(AssertUnwindSafe(|| {
            Some(Self(match params.measure {
                Measure::Cosine => Kind::Cosine(build_by(vectors, params, threads, DistDot)),
                Measure::Euclid => Kind::Euclid(build_by(vectors, params, threads, DistL2)),
                Measure::Manhattan => Kind::Manhattan(build_by(vectors, params, threads, DistL1)),
                Measure::Dot => return None,
            }))
        }));
        match built {
            Ok(Some(index)) => Ok(index),
            Ok(None) => Err(IndexError::Baseline(
                "it has no dot product of vectors of any length",
            )),
            Err(_) => Err(IndexError::Baseline("it panicked while building")),
        }
    }
}

fn build_by<D: Distance<f32> + Send + Sync>(
    vectors: &Vectors,
    params: &Params,
    threads: usize,
    distance: D,
) -> Hnsw<'static, f32, D> {
    let rows = vectors.len();
    let mut hnsw = Hnsw::new(params.m, rows, MAX_LAYERS, params.ef_construct, distance);
    let all = (0..rows).map(|row| (vectors.row(row as u32), row));
    if threads > 1 {
        hnsw.parallel_insert_slice(&all.collect());
    } else {
        all.for_each(|row| hnsw.insert_slice(row));
    }
    hnsw.set_searching_mode(true);
    hnsw
}

fn search_by<D: Distance<f32> + Send + Sync>(
    hnsw: &Hnsw<'static, f32, D>,
    query: &[f32],
    search: &Search,
    accept: Option<&dyn Fn(u32) -> bool>,
    convert: impl Fn(f32) -> f32,
) -> Vec<Near> {
    let ef = search.ef.max(search.k);
    let found = match accept {
        None => hnsw.search(query, search.k, ef),
        Some(accept) => {
            let by_id = |id: &usize| accept(*id as u32);
            hnsw.search_filter(query, search.k, ef, Some(&by_id))
        }
    };
    let near = found.iter().map(|neighbour| Near {
        distance: convert(neighbour.distance),
        key: neighbour.d_id as u32,
    });
    near.collect()
}

impl SegmentIndex for HnswRs {
    /// The budget and codes have no meaning here. A filtered search of the crate can panic: then `None`.
    fn search_within(
        &self,
        _: &Vectors,
        query: &[f32],
        search: &Search,
        accept: Option<&dyn Fn(u32) -> bool>,
    ) -> Option<Vec<Near>> {
        let find = || match &self.0 {
            // The crate gives 1 - a . b and the length of a - b.
            Kind::Cosine(hnsw) => search_by(hnsw, query, search, accept, |d| d - 1.0),
            Kind::Euclid(hnsw) => search_by(hnsw, query, search, accept, |d| d * d),
            Kind::Manhattan(hnsw) => search_by(hnsw, query, search, accept, |d| d),
        };
        catch_unwind(AssertUnwindSafe(find)).ok()
    }

    fn memory_bytes(&self) -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense::{BuildOptions, Index, scan};
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    #[test]
    fn both_indexes_answer_alike_through_the_trait() {
        let mut rng = StdRng::seed_from_u64(1);
        let data: Vec<Vec<f32>> = (0..1500)
            .map(|_| {
                let row: Vec<f32> = (0..24).map(|_| rng.random_range(-1.0f32..1.0)).collect();
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                row.iter().map(|x| x / length).collect()
            })
            .collect();
        let vectors = Vectors::from_rows(24, data.iter().map(Vec::as_slice)).unwrap();
        for measure in [Measure::Cosine, Measure::Euclid, Measure::Manhattan] {
            let params = Params {
                measure,
                m: 16,
                ef_construct: 100,
                quantization: None,
            };
            let native = Index::build(&vectors, &params, BuildOptions::default()).unwrap();
            let baseline = HnswRs::build(&vectors, &params, 1).unwrap();
            let even = |row: u32| row.is_multiple_of(2);
            let both: [&dyn SegmentIndex; 2] = [&native, &baseline];
            for index in both {
                let mut hits = 0;
                for query in &data[..40] {
                    let search = Search::new(10, 200);
                    let exact = scan(&vectors, measure, query, 10, 0..1500);
                    let found = index.search_within(&vectors, query, &search, None).unwrap();
                    for near in &found {
                        let same = exact.iter().find(|e| e.key == near.key);
                        hits += usize::from(same.is_some());
                        assert!(same.is_none_or(|e| (e.distance - near.distance).abs() < 1e-4));
                    }
                    let accepted = index.search_within(&vectors, query, &search, Some(&even));
                    assert!(accepted.unwrap().iter().all(|near| even(near.key)));
                }
                assert!(hits >= 390, "{measure:?}: {hits} of 400");
            }
        }
        let dot = Params {
            measure: Measure::Dot,
            m: 16,
            ef_construct: 100,
            quantization: None,
        };
        assert!(HnswRs::build(&vectors, &dot, 1).is_err());
    }
}
