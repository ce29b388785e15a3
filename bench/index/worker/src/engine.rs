//! What is measured of an engine.

use std::path::Path;

use brainy_index::dense::Search;
use brainy_index::quantize::Quantization;
use brainy_index::vectors::Vectors;

use crate::engines::{self, Built};
use crate::error::Error;
use crate::npy;
use crate::protocol::{Answer, Engine, Metric};
use crate::usage::{Watch, memory};

/// How an index is built.
#[derive(Clone, Copy)]
pub(crate) struct Build {
    pub(crate) metric: Metric,
    pub(crate) m: usize,
    pub(crate) ef_construction: usize,
    pub(crate) threads: usize,
}

/// The mapped data.
pub(crate) struct Data {
    base: Vectors,
    queries: Vectors,
    metric: Metric,
}

impl Data {
    /// Maps them.
    ///
    /// # Errors
    /// Those of [`npy::map`]; [`Error::Data`] if the two do not fit.
    pub(crate) fn load(base: &Path, queries: &Path, metric: Metric) -> Result<Self, Error> {
        let data = Self {
            base: npy::map(base)?,
            queries: npy::map(queries)?,
            metric,
        };
        if data.base.dim() == data.queries.dim() && !data.queries.is_empty() {
            return Ok(data);
        }
        Err(Error::Data {
            path: queries.to_owned(),
            reason: format!("needs rows of {} columns", data.base.dim()),
        })
    }

    pub(crate) fn loaded(&self) -> Answer {
        Answer::Loaded {
            rows: self.base.len(),
            dim: self.base.dim(),
        }
    }

    /// Builds the index of an engine.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) fn build(
        &self,
        engine: Engine,
        m: usize,
        ef_construction: usize,
        threads: usize,
    ) -> Result<(Built, Answer), Error> {
        let build = Build {
            metric: self.metric,
            m,
            ef_construction,
            threads,
        };
        let before = memory()?;
        let watch = Watch::start();
        let native = |codes| engines::native(&self.base, &build, codes);
        let built = match engine {
            Engine::NativeF32 => native(None),
            Engine::NativeInt8 => native(Some(Quantization::Int8)),
            Engine::NativeInt4 => native(Some(Quantization::Int4)),
            Engine::NativeBinary => native(Some(Quantization::Binary)),
            Engine::HnswRs => engines::hnsw_rs(&self.base, &build),
        }?;
        let (wall, cpu) = watch.read();
        let answer = Answer::Built {
            wall,
            cpu,
            before,
            after: memory()?,
            exact_bytes: built.exact_bytes(),
        };
        Ok((built, answer))
    }

    /// Searches for all queries on this thread. The rows found are kept only if `ids` names a file for them.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn search(
        &self,
        built: &Built,
        k: usize,
        ef: usize,
        warmup: usize,
        ids: Option<&Path>,
    ) -> Result<Answer, Error> {
        let queries = self.queries.len();
        let vectors = built.floats.as_ref().unwrap_or(&self.base);
        let parameters = Search::new(k, ef);
        let mut found: Vec<i64> = Vec::with_capacity(queries * k);
        let mut search = |query: usize| {
            let end = found.len() + k;
            let query = self.queries.row(query as u32);
            let near = built.index.search_within(vectors, query, &parameters, None);
            found.extend(near.iter().flatten().map(|near| i64::from(near.key)));
            found.resize(end, -1);
        };
        (0..warmup.min(queries)).for_each(&mut search);
        let watch = Watch::start();
        (0..queries).for_each(&mut search);
        let (wall, cpu) = watch.read();
        if let Some(path) = ids {
            let bytes: Vec<u8> = found[warmup.min(queries) * k..]
                .iter()
                .flat_map(|id| id.to_le_bytes())
                .collect();
            std::fs::write(path, bytes).map_err(Error::file(path))?;
        }
        Ok(Answer::Searched { wall, cpu, queries })
    }
}
