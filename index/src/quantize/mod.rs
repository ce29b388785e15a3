//! Small codes in place of vectors, for approximate distances that a few exact ones then correct.
//!
//! | | bytes per dimension | how | factors per row |
//! |---|---|---|---|
//! | [`Quantization::Int8`] | 1 | the mean taken off, one grid for all dimensions | Euclid 1, else 0 |
//! | [`Quantization::Int4`] | 1/2 | the mean taken off, rotated, one grid per row (extended RaBitQ, arXiv:2409.09913); Manhattan: not rotated, one grid | 2; Manhattan 0 |
//! | [`Quantization::Binary`] | 1/8 | the mean taken off, rotated, signs (RaBitQ, arXiv:2405.12497) | 2 |
//!
//! Codes are a matrix of [`Codec::stride`] bytes per row; what else a row needs are [`Codec::factors`] floats, in a matrix of
//! their own so that codes stay aligned. Distances approximate those of the measure itself, constants included: they can be
//! compared with exact ones.

mod bytes;
mod grid;
mod query;
mod rotated;
mod rotation;

#[cfg(test)]
mod tests;

use crate::kernels::prefetch;
use crate::measure::Measure;

use grid::Grid;
pub use query::CodeQuery;
use rotated::Rotated;

/// Sums over more dimensions could leave 32 bits.
pub const MOST_DIMENSIONS: usize = 65_536;

/// How vectors become codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// 8 bits per dimension.
    Int8,
    /// 4 bits per dimension.
    Int4,
    /// 1 bit per dimension.
    Binary,
}

impl Quantization {
    /// All of them, most exact first.
    pub const ALL: [Self; 3] = [Self::Int8, Self::Int4, Self::Binary];
}

/// Why there is no codec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantizeError {
    /// Signs say nothing about sums of absolute differences.
    #[error(
        "binary quantization does not support the Manhattan distance: use 8 or 4 bits, or none"
    )]
    BinaryManhattan,
    /// Out of range.
    #[error("vectors of {0} dimensions cannot be quantized: use 1 to {MOST_DIMENSIONS}")]
    Dimensions(usize),
    /// Nothing to learn from.
    #[error("a codec is trained on vectors: give at least one")]
    NoSample,
    /// The sample holds NaN or an infinity.
    #[error("a codec is trained on finite numbers: the sample has others")]
    NotFinite,
    /// Stored parameters that no codec wrote.
    #[error("the parameters of a codec are damaged: {0}; restore the segment or build it anew")]
    Damaged(&'static str),
    /// Stored parameters of another version.
    #[error(
        "the parameters of a codec have format {found}, this version reads {supported}: use the version that wrote it, or a newer one"
    )]
    UnknownFormat {
        /// What was found.
        found: u8,
        /// What can be read.
        supported: u8,
    },
}

/// Turns vectors of one segment into codes and compares queries with them. Immutable.
#[derive(Clone, Debug)]
pub struct Codec {
    quantization: Quantization,
    measure: Measure,
    dim: usize,
    method: Method,
}

#[derive(Clone, Debug)]
enum Method {
    Grid(Grid),
    Rotated(Rotated),
}

/// Buffers of [`Codec::encode`], for any codec, to be used again.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    values: Vec<f32>,
}

/// What a distance is made of, besides the constants of a query; says what a row's factors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `base + t`
    Plain,
    /// `base + factor + t`
    Added,
    /// `base + factor[0] + factor[1] * t`
    Scaled,
}

impl Codec {
    /// Learns from a sample of the vectors to be encoded; some thousands are enough. Equal input gives an equal codec.
    ///
    /// Each vector has `dim` numbers; what is behind them (padding) is not read. `seed` is of the random rotation.
    ///
    /// # Errors
    /// Binary with Manhattan, `dim` out of range, an empty sample, numbers that are not finite.
    ///
    /// # Panics
    /// If a vector has less than `dim` numbers.
    pub fn train(
        quantization: Quantization,
        measure: Measure,
        dim: usize,
        sample: &[&[f32]],
        seed: u64,
    ) -> Result<Self, QuantizeError> {
        check(quantization, measure, dim)?;
        if sample.is_empty() {
            return Err(QuantizeError::NoSample);
        }
        if !sample
            .iter()
            .all(|vector| vector[..dim].iter().all(|x| x.is_finite()))
        {
            return Err(QuantizeError::NotFinite);
        }
        let mean = mean(dim, sample);
        let method = match (quantization, measure) {
            (Quantization::Int8, _) => Method::Grid(Grid::train(8, measure, &mean, sample)),
            (Quantization::Int4, Measure::Manhattan) => {
                Method::Grid(Grid::train(4, measure, &mean, sample))
            }
            (Quantization::Int4, _) => Method::Rotated(Rotated::new(4, measure, &mean, seed)),
            (Quantization::Binary, _) => Method::Rotated(Rotated::new(1, measure, &mean, seed)),
        };
        Ok(Self {
            quantization,
            measure,
            dim,
            method,
        })
    }

    /// How it encodes.
    #[must_use]
    pub fn quantization(&self) -> Quantization {
        self.quantization
    }

    /// The measure it was trained for.
    #[must_use]
    pub fn measure(&self) -> Measure {
        self.measure
    }

    /// Dimensions of a vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Bytes of a row of codes: a multiple of 64, or, for [`Quantization::Binary`], also 8, 16 or 32.
    #[must_use]
    pub fn stride(&self) -> usize {
        match &self.method {
            Method::Grid(grid) => grid.stride(),
            Method::Rotated(rotated) => rotated.stride(),
        }
    }

    /// Floats of a row besides its code: 0, 1 or 2.
    #[must_use]
    pub fn factors(&self) -> usize {
        match self.form() {
            Form::Plain => 0,
            Form::Added => 1,
            Form::Scaled => 2,
        }
    }

    fn form(&self) -> Form {
        match (&self.method, self.measure) {
            (Method::Rotated(_), _) => Form::Scaled,
            (Method::Grid(_), Measure::Euclid) => Form::Added,
            (Method::Grid(_), _) => Form::Plain,
        }
    }

    /// Writes the code and the factors of a vector of at least [`Codec::dim`] numbers, all of them finite.
    ///
    /// # Panics
    /// If `code` has not [`Codec::stride`] bytes, `factors` not [`Codec::factors`] floats, or `vector` is shorter.
    pub fn encode(
        &self,
        vector: &[f32],
        code: &mut [u8],
        factors: &mut [f32],
        scratch: &mut Scratch,
    ) {
        assert_eq!(
            (code.len(), factors.len()),
            (self.stride(), self.factors()),
            "places for a code and its factors"
        );
        let vector = &vector[..self.dim];
        match &self.method {
            Method::Grid(grid) => grid.encode(vector, code, factors),
            Method::Rotated(rotated) => rotated.encode(vector, code, factors, &mut scratch.values),
        }
    }

    /// Makes `query` the query for a vector of at least [`Codec::dim`] numbers, all of them finite. Its buffers are used again.
    ///
    /// # Panics
    /// If `vector` is shorter.
    pub fn query_into(&self, vector: &[f32], query: &mut CodeQuery) {
        let vector = &vector[..self.dim];
        match &self.method {
            Method::Grid(grid) => grid.query(vector, query),
            Method::Rotated(rotated) => rotated.query(vector, query),
        }
    }

    /// The query for a vector, see [`Codec::query_into`].
    ///
    /// # Panics
    /// If `vector` is shorter than [`Codec::dim`].
    #[must_use]
    pub fn query(&self, vector: &[f32]) -> CodeQuery {
        let mut query = CodeQuery::default();
        self.query_into(vector, &mut query);
        query
    }

    /// Approximate distances from `query` to `rows` of a matrix of codes and its matrix of factors, never NaN.
    ///
    /// # Panics
    /// If a row is outside of either matrix, `out` has not one place per row, or `query` is of another kind of codec.
    pub fn distances(
        &self,
        query: &CodeQuery,
        codes: &[u8],
        factors: &[f32],
        rows: &[u32],
        out: &mut [f32],
    ) {
        let form = self.form();
        match form {
            Form::Plain => {}
            Form::Added => rows
                .iter()
                .for_each(|row| prefetch(factors.get(*row as usize..).unwrap_or_default())),
            Form::Scaled => rows
                .iter()
                .for_each(|row| prefetch(factors.get(2 * *row as usize..).unwrap_or_default())),
        }
        // The kernels write integers to the places where distances will be.
        let numbers = bytemuck::cast_slice_mut::<f32, i32>(out);
        match &self.method {
            Method::Grid(grid) => grid.compare(query, codes, rows, numbers),
            Method::Rotated(rotated) => rotated.compare(query, codes, rows, numbers),
        }
        match form {
            Form::Plain => {
                for out in out {
                    *out = number(query.base + query.term(*out));
                }
            }
            Form::Added => {
                for (out, row) in out.iter_mut().zip(rows) {
                    *out = number(query.base + factors[*row as usize] + query.term(*out));
                }
            }
            Form::Scaled => {
                for (out, row) in out.iter_mut().zip(rows) {
                    let [added, scale] = factors.as_chunks::<2>().0[*row as usize];
                    *out = number(query.base + added + scale * query.term(*out));
                }
            }
        }
    }
}

/// Whether there is such a codec.
fn check(quantization: Quantization, measure: Measure, dim: usize) -> Result<(), QuantizeError> {
    if !(1..=MOST_DIMENSIONS).contains(&dim) {
        return Err(QuantizeError::Dimensions(dim));
    }
    if (quantization, measure) == (Quantization::Binary, Measure::Manhattan) {
        return Err(QuantizeError::BinaryManhattan);
    }
    Ok(())
}

fn mean(dim: usize, sample: &[&[f32]]) -> Vec<f32> {
    let mut sums = vec![0f64; dim];
    for vector in sample {
        for (sum, x) in sums.iter_mut().zip(*vector) {
            *sum += f64::from(*x);
        }
    }
    sums.into_iter()
        .map(|sum| (sum / sample.len() as f64) as f32)
        .collect()
}

/// Of numbers so large that sums overflow: far away, but a number.
#[inline]
fn number(distance: f32) -> f32 {
    if distance.is_nan() {
        f32::INFINITY
    } else {
        distance
    }
}

/// A finite number in place of an overflow.
fn finite(x: f32) -> f32 {
    x.clamp(-f32::MAX, f32::MAX)
}

/// The largest magnitude.
fn max_abs(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut most = [0f32; 16];
    for chunk in chunks {
        for (most, x) in most.iter_mut().zip(chunk) {
            *most = if x.abs() > *most { x.abs() } else { *most };
        }
    }
    most.iter()
        .chain(rest)
        .fold(0f32, |most, x| most.max(x.abs()))
}
