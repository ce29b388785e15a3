//! The crate hnsw_rs as its users use it: its own graph, its own search.

use std::panic::{AssertUnwindSafe, catch_unwind};

use brainy_index::vectors::Vectors;
use hnsw_rs::anndists::dist::distances::{DistDot, DistL2, Distance};
use hnsw_rs::hnsw::Hnsw;

use crate::engine::{Build, Built};
use crate::error::Error;
use crate::protocol::Metric;

/// All the layers that the crate has room for.
const LAYERS: usize = 16;
/// With more links it ends the process.
const MOST_LINKS: usize = 256;

struct Baseline<D: Distance<f32> + Send + Sync>(Hnsw<'static, f32, D>);

/// Builds it. On several threads it takes as many as RAYON_NUM_THREADS says, which must be those of `build`.
///
/// # Errors
/// [`Error::HnswRs`] if the crate would end the process, or panics.
pub(crate) fn build(base: &Vectors, build: &Build) -> Result<Box<dyn Built>, Error> {
    if build.m > MOST_LINKS {
        return Err(Error::HnswRs(format!(
            "m is {}, {MOST_LINKS} at most",
            build.m
        )));
    }
    // It asserts what it relies on, and has no other way to tell.
    let made = catch_unwind(AssertUnwindSafe(|| -> Box<dyn Built> {
        match build.metric {
            Metric::Cosine => Box::new(build_by(base, build, DistDot)),
            Metric::Euclid => Box::new(build_by(base, build, DistL2)),
        }
    }));
    made.map_err(|_| Error::HnswRs("it panicked while building: see stderr".into()))
}

fn build_by<D: Distance<f32> + Send + Sync>(
    base: &Vectors,
    build: &Build,
    distance: D,
) -> Baseline<D> {
    let mut hnsw = Hnsw::new(build.m, base.len(), LAYERS, build.ef_construction, distance);
    if build.threads > 1 {
        let all = (0..base.len()).map(|row| (base.row(row as u32), row));
        hnsw.parallel_insert_slice(&all.collect());
    } else {
        for row in 0..base.len() {
            hnsw.insert_slice((base.row(row as u32), row));
        }
    }
    hnsw.set_searching_mode(true);
    Baseline(hnsw)
}

impl<D: Distance<f32> + Send + Sync> Built for Baseline<D> {
    fn search(&self, _: &Vectors, query: &[f32], k: usize, ef: usize, ids: &mut Vec<i64>) {
        let found = self.0.search(query, k, ef);
        ids.extend(found.iter().map(|near| near.d_id as i64));
    }

    fn exact_bytes(&self) -> Option<u64> {
        None
    }
}
