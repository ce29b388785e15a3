//! Brainy's own index.

use brainy_index::dense::{BuildOptions, Index, Params, Search};
use brainy_index::measure::Measure;
use brainy_index::quantize::Quantization;
use brainy_index::vectors::Vectors;

use crate::engine::{Build, Built};
use crate::error::Error;
use crate::protocol::Metric;

pub(crate) struct Native {
    index: Index,
    /// Floats in memory, as the peers have them. With codes there are none: they stay in the mapped file.
    floats: Option<Vectors>,
}

/// Builds it.
///
/// # Errors
/// [`Error::Index`].
pub(crate) fn build(
    base: &Vectors,
    build: &Build,
    quantization: Option<Quantization>,
) -> Result<Native, Error> {
    let floats = match quantization {
        Some(_) => None,
        None => {
            let rows = (0..base.len() as u32).map(|row| base.row(row));
            Some(Vectors::from_rows(base.dim(), rows)?)
        }
    };
    let params = Params {
        measure: match build.metric {
            Metric::Cosine => Measure::Cosine,
            Metric::Euclid => Measure::Euclid,
        },
        m: build.m,
        ef_construct: build.ef_construction,
        quantization,
    };
    let options = BuildOptions {
        threads: build.threads,
        ..BuildOptions::default()
    };
    let index = Index::build(floats.as_ref().unwrap_or(base), &params, options)?;
    Ok(Native { index, floats })
}

impl Built for Native {
    fn search(&self, base: &Vectors, query: &[f32], k: usize, ef: usize, ids: &mut Vec<i64>) {
        let vectors = self.floats.as_ref().unwrap_or(base);
        let found = self.index.search(vectors, query, &Search::new(k, ef), None);
        ids.extend(found.iter().map(|near| i64::from(near.key)));
    }

    fn exact_bytes(&self) -> Option<u64> {
        let floats = self.floats.as_ref().map_or(0, Vectors::memory_bytes);
        Some((self.index.memory_bytes() + floats) as u64)
    }
}
