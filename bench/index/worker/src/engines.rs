//! The engines: Brainy's own index and the crate hnsw_rs, behind one trait.

use brainy_index::baseline::HnswRs;
use brainy_index::dense::{BuildOptions, Index, Params};
use brainy_index::measure::Measure;
use brainy_index::quantize::Quantization;
use brainy_index::segment_index::SegmentIndex;
use brainy_index::vectors::Vectors;

use crate::engine::Build;
use crate::error::Error;
use crate::protocol::Metric;

/// A finished index and what it is searched with.
pub(crate) struct Built {
    pub(crate) index: Box<dyn SegmentIndex>,
    /// Floats in memory, as the peers have them. With codes there are none: they stay in the mapped file.
    pub(crate) floats: Option<Vectors>,
}

impl Built {
    /// Bytes that it says it holds.
    pub(crate) fn exact_bytes(&self) -> Option<u64> {
        let floats = self.floats.as_ref().map_or(0, Vectors::memory_bytes);
        Some((self.index.memory_bytes()? + floats) as u64)
    }
}

fn params(build: &Build, quantization: Option<Quantization>) -> Params {
    Params {
        measure: match build.metric {
            Metric::Cosine => Measure::Cosine,
            Metric::Euclid => Measure::Euclid,
        },
        m: build.m,
        ef_construct: build.ef_construction,
        quantization,
    }
}

/// Builds the native index.
///
/// # Errors
/// [`Error::Index`].
pub(crate) fn native(
    base: &Vectors,
    build: &Build,
    quantization: Option<Quantization>,
) -> Result<Built, Error> {
    let floats = match quantization {
        Some(_) => None,
        None => {
            let rows = (0..base.len() as u32).map(|row| base.row(row));
            Some(Vectors::from_rows(base.dim(), rows)?)
        }
    };
    let options = BuildOptions {
        threads: build.threads,
        ..BuildOptions::default()
    };
    let params = params(build, quantization);
    let index = Index::build(floats.as_ref().unwrap_or(base), &params, options)?;
    Ok(Built {
        index: Box::new(index),
        floats,
    })
}

/// Builds that of hnsw_rs. On several threads it takes as many as RAYON_NUM_THREADS says, which must be those of `build`.
///
/// # Errors
/// [`Error::Index`].
pub(crate) fn hnsw_rs(base: &Vectors, build: &Build) -> Result<Built, Error> {
    let index = HnswRs::build(base, &params(build, None), build.threads)?;
    Ok(Built {
        index: Box::new(index),
        floats: None,
    })
}
