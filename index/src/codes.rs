//! The quantized codes of all rows, and their layout.
//!
//! ```text
//! header (64 bytes): u32 version, u32 rows, u32 bytes of the codec's parameters, zeros
//! the codec's parameters, padded to 64 bytes
//! codes: rows x stride bytes, padded to 64 bytes
//! factors: rows x factors x f32
//! ```
//! The same in memory, on disk and in a bucket. Codes begin at cache lines and factors are apart from them, so that a row's
//! code takes no more lines than it must.

use std::cell::RefCell;
use std::ops::Range;

use crate::dense::scan_by;
use crate::error::IndexError;
use crate::graph::space::Exact;
use crate::graph::walk::{self, Scorer};
use crate::measure::Measure;
use crate::near::{Near, TopK};
use crate::quantize::{CodeQuery, Codec, Quantization, Scratch};
use crate::storage::Storage;
use crate::vectors::Vectors;

/// Format version.
const VERSION: u32 = 1;
const HEADER: usize = 64;
const PART: &str = "codes";
/// Rows that a codec learns from: means and quantiles of so many are as good as those of all.
const SAMPLE: usize = 20_000;
/// Rows that a check of codes compares with, its searches of either kind, and what each of them is to find.
const CHECKED: usize = 20_000;
const CHECKS: usize = 24;
const NEAREST: usize = 10;

/// Codes of every row.
#[derive(Debug)]
pub(crate) struct Codes {
    storage: Storage,
    codec: Codec,
    codes: Range<usize>,
    factors: Range<usize>,
}

fn places(parameters: usize, rows: usize, codec: &Codec) -> Option<(Range<usize>, Range<usize>)> {
    let start = HEADER
        .checked_add(parameters)?
        .checked_next_multiple_of(64)?;
    let end = start.checked_add(rows.checked_mul(codec.stride())?)?;
    let factors = end.checked_next_multiple_of(64)?;
    let last = factors.checked_add(rows.checked_mul(codec.factors() * 4)?)?;
    Some((start..end, factors..last))
}

impl Codes {
    /// Learns from the rows and encodes them on `threads` threads.
    ///
    /// # Errors
    /// A measure that the method does not support, or [`IndexError::Memory`].
    pub(crate) fn encode(
        vectors: &Vectors,
        measure: Measure,
        method: Quantization,
        threads: usize,
    ) -> Result<Self, IndexError> {
        let rows = vectors.len();
        let step = rows.div_ceil(SAMPLE).max(1);
        let sample: Vec<&[f32]> = (0..rows)
            .step_by(step)
            .map(|row| vectors.row(row as u32))
            .collect();
        let codec = Codec::train(method, measure, vectors.dim(), &sample, 0)?;
        let parameters = codec.to_bytes();
        let memory = |bytes| {
            move |error| IndexError::Memory {
                what: "quantized codes",
                bytes,
                error,
            }
        };
        let Some((codes, factors)) = places(parameters.len(), rows, &codec) else {
            return Err(memory(usize::MAX)(std::io::ErrorKind::OutOfMemory.into()));
        };
        let mut storage = Storage::zeroed(factors.end).map_err(memory(factors.end))?;
        let bytes = storage.bytes_mut();
        let header = [VERSION, rows as u32, parameters.len() as u32];
        bytes[..12].copy_from_slice(bytemuck::cast_slice(&header));
        bytes[HEADER..HEADER + parameters.len()].copy_from_slice(&parameters);
        let (code_bytes, factor_bytes) = bytes.split_at_mut(factors.start);
        let code_bytes = &mut code_bytes[codes.clone()];
        let all_factors: &mut [f32] = bytemuck::cast_slice_mut(factor_bytes);
        let share = rows.div_ceil(threads.max(1)).max(1);
        std::thread::scope(|scope| {
            let mut code_shares = code_bytes.chunks_mut(share * codec.stride());
            let mut factor_shares = all_factors.chunks_mut((share * codec.factors()).max(1));
            for first in (0..rows).step_by(share) {
                let codes = code_shares.next().unwrap_or_default();
                let factors = factor_shares.next().unwrap_or_default();
                let codec = &codec;
                let mut work = move || encode_rows(codec, vectors, first, codes, factors);
                if first + share < rows {
                    scope.spawn(work);
                } else {
                    work();
                }
            }
        });
        Ok(Self {
            storage,
            codec,
            codes,
            factors,
        })
    }

    /// Whether searches by these codes find what searches by the floats do, of a sample of the rows: half of it at random, half
    /// the rows farthest from the mean, as a grid that fits most rows can cut off a few.
    pub(crate) fn can_be_trusted(&self, vectors: &Vectors, measure: Measure) -> bool {
        // As much as a search compares again, and what of the nearest must be in it.
        let (window, least) = match self.quantization() {
            Quantization::Int8 => (2 * NEAREST, 0.9),
            Quantization::Int4 => (3 * NEAREST, 0.9),
            Quantization::Binary => (10 * NEAREST, 0.6),
        };
        let step = vectors.len().div_ceil(CHECKED).max(1);
        let sample: Vec<u32> = (0..vectors.len() as u32).step_by(step).collect();
        let far = farthest(vectors, &sample);
        let step = sample.len().div_ceil(CHECKS).max(1);
        let random: Vec<u32> = sample.iter().copied().step_by(step).collect();
        [random, far].iter().all(|queries| {
            let mut wanted = 0;
            let mut hits = 0;
            for query in queries {
                let exact = Exact::new(vectors, measure, vectors.padded(*query));
                let nearest = scan_by(&exact, NEAREST, sample.iter().copied());
                let rough = self.scorer(vectors.row(*query));
                let found = scan_by(&rough, window, sample.iter().copied());
                wanted += nearest.len();
                let is_found = |near: &&Near| found.iter().any(|other| other.key == near.key);
                hits += nearest.iter().filter(is_found).count();
            }
            hits as f64 >= least * wanted as f64
        })
    }

    /// The codes whose bytes are `storage`, as [`Self::as_bytes`] gave them.
    ///
    /// # Errors
    /// [`IndexError::UnknownFormat`], or [`IndexError::Damaged`] with what does not fit.
    pub(crate) fn open(
        storage: Storage,
        rows: usize,
        dim: usize,
        measure: Measure,
    ) -> Result<Self, IndexError> {
        let damaged = |reason: String| IndexError::damaged(PART, reason);
        let mut header = [0u32; HEADER / 4];
        if storage
            .try_read_into(0, bytemuck::cast_slice_mut(&mut header))
            .is_err()
        {
            return Err(damaged("it is shorter than its header".into()));
        }
        let [version, stored_rows, parameters, ..] = header;
        if version != VERSION {
            return Err(IndexError::UnknownFormat {
                part: PART,
                found: version,
                supported: VERSION,
            });
        }
        if stored_rows as usize != rows {
            return Err(damaged(format!(
                "it has {stored_rows} rows, the segment has {rows}"
            )));
        }
        let ends_early = || damaged("it ends within its parameters".into());
        if HEADER.saturating_add(parameters as usize) > storage.len() {
            return Err(ends_early());
        }
        let mut bytes = vec![0; parameters as usize];
        storage
            .try_read_into(HEADER, &mut bytes)
            .map_err(|_| ends_early())?;
        let parameters = bytes;
        let codec = Codec::from_bytes(&parameters)?;
        if codec.dim() != dim || codec.measure() != measure {
            return Err(damaged(format!(
                "it is for {} dimensions by {:?}, the segment has {dim} by {measure:?}",
                codec.dim(),
                codec.measure()
            )));
        }
        match places(parameters.len(), rows, &codec) {
            Some((codes, factors)) if factors.end == storage.len() => Ok(Self {
                storage,
                codec,
                codes,
                factors,
            }),
            _ => Err(damaged("its length does not fit its header".into())),
        }
    }

    /// What is stored.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.storage.as_bytes()
    }

    /// Whether they are not in memory.
    pub(crate) fn is_paged(&self) -> bool {
        self.storage.is_paged()
    }

    /// Bytes that this process holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.storage.memory_bytes()
    }

    pub(crate) fn quantization(&self) -> Quantization {
        self.codec.quantization()
    }

    /// Approximate distances from `query`, which has as many components as rows have.
    pub(crate) fn scorer(&self, query: &[f32]) -> Approximate<'_> {
        let query = self.codec.query(query);
        if self.storage.is_paged() {
            return Approximate {
                codec: &self.codec,
                query,
                codes: &[],
                factors: &[],
                paged: Some((self, RefCell::default())),
            };
        }
        let bytes = self.storage.as_bytes();
        Approximate {
            codec: &self.codec,
            query,
            codes: &bytes[self.codes.clone()],
            factors: bytemuck::cast_slice(&bytes[self.factors.clone()]),
            paged: None,
        }
    }
}

/// The rows of `sample` that are farthest from its mean.
fn farthest(vectors: &Vectors, sample: &[u32]) -> Vec<u32> {
    let mut mean = vec![0f32; vectors.stride()];
    let share = 1.0 / sample.len().max(1) as f32;
    for row in sample {
        for (mean, x) in mean.iter_mut().zip(vectors.padded(*row)) {
            *mean += x * share;
        }
    }
    let from_mean = Exact::new(vectors, Measure::Euclid, &mean);
    let mut distances = vec![0.0; sample.len()];
    from_mean.distances(sample, &mut distances);
    let mut top = TopK::new(CHECKS);
    for (row, distance) in sample.iter().zip(distances) {
        top.push(Near {
            distance: -distance,
            key: *row,
        });
    }
    top.into_sorted().iter().map(|near| near.key).collect()
}

fn encode_rows(
    codec: &Codec,
    vectors: &Vectors,
    first: usize,
    codes: &mut [u8],
    factors: &mut [f32],
) {
    let mut scratch = Scratch::default();
    let per_row = codec.factors();
    for (i, code) in codes.chunks_mut(codec.stride()).enumerate() {
        let factors = &mut factors[i * per_row..(i + 1) * per_row];
        codec.encode(vectors.row((first + i) as u32), code, factors, &mut scratch);
    }
}

/// Distances by codes.
pub(crate) struct Approximate<'c> {
    codec: &'c Codec,
    query: CodeQuery,
    codes: &'c [u8],
    factors: &'c [f32],
    /// Codes that are not in memory, and where they are copied to.
    paged: Option<(&'c Codes, RefCell<Gathered>)>,
}

/// Copies of the codes and factors of some rows, and their numbers in it.
#[derive(Default)]
struct Gathered {
    codes: Vec<u8>,
    factors: Vec<f32>,
    numbers: Vec<u32>,
}

impl Gathered {
    fn read(&mut self, all: &Codes, rows: &[u32]) {
        let (stride, per_row) = (all.codec.stride(), all.codec.factors());
        self.codes.resize(rows.len() * stride, 0);
        self.factors.resize(rows.len() * per_row, 0.0);
        for (i, row) in rows.iter().enumerate() {
            let row = *row as usize;
            let code = &mut self.codes[i * stride..][..stride];
            all.storage.read_into(all.codes.start + row * stride, code);
            let factors = &mut self.factors[i * per_row..][..per_row];
            if per_row > 0 {
                let at = all.factors.start + row * per_row * 4;
                all.storage.read_into(at, bytemuck::cast_slice_mut(factors));
            }
        }
        self.numbers.clear();
        self.numbers.extend(0..rows.len() as u32);
    }
}

impl Approximate<'_> {
    #[cold]
    fn gather(&self, all: &Codes, gathered: &mut Gathered, rows: &[u32], out: &mut [f32]) {
        gathered.read(all, rows);
        let Gathered {
            codes,
            factors,
            numbers,
        } = gathered;
        self.codec
            .distances(&self.query, codes, factors, numbers, out);
    }
}

impl Scorer for Approximate<'_> {
    #[inline]
    fn distances(&self, rows: &[u32], out: &mut [f32]) {
        if let Some((all, gathered)) = &self.paged {
            return self.gather(all, &mut gathered.borrow_mut(), rows, out);
        }
        self.codec
            .distances(&self.query, self.codes, self.factors, rows, out);
    }

    #[inline]
    fn prefetch(&self, row: u32) {
        if self.paged.is_some() {
            return;
        }
        let stride = self.codec.stride();
        walk::prefetch(&self.codes[row as usize * stride..][..stride]);
    }
}
