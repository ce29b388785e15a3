//! Distance kernels: the one place where vector instructions are.
//!
//! A graph walk asks for the distances from one query to the neighbours of one node, so the entry points take many rows: one
//! indirect call per expanded node, everything behind it inlined, the memory of the rows ahead fetched inside.
//!
//! | set | where |
//! |---|---|
//! | `avx512-vpopcntdq` | x86-64 with AVX-512 F, BW, VNNI, VPOPCNTDQ (Ice Lake, Zen 4) |
//! | `avx512` | x86-64 with AVX-512 F, BW, VNNI (Cascade Lake) |
//! | `avx2-vnni` | x86-64 with AVX2, FMA, POPCNT, AVX-VNNI (Alder Lake, Sierra Forest) |
//! | `avx2` | x86-64 with AVX2, FMA, POPCNT (Haswell; also AVX-512 without VNNI) |
//! | `neon` | AArch64 |
//! | `scalar` | everywhere; the others are tested against it |
//!
//! Integer kernels give the same result in every set. Float kernels sum in another order per set, so their results differ in
//! the last bits; within a set a row's result does not depend on the other rows asked for.

mod batch;
#[cfg(target_arch = "aarch64")]
mod neon;
mod prefetch;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use crate::measure::Measure;

pub use prefetch::prefetch;

/// What every row of a float matrix and every float query is padded to with zeros: floats in 64 bytes.
pub const FLOATS: usize = 16;

/// Distances from `query` to `rows` of a float matrix: `(query, base, stride, rows, out)`.
///
/// `base` holds rows of `stride` floats each, `stride` is a multiple of [`FLOATS`] and `query` has as many. `out` has one
/// place per row asked for. Lower is nearer; never NaN for finite input: what overflows to no number is `+inf`.
///
/// # Panics
/// On other lengths, and on a row outside of `base`.
pub type FloatRows = fn(&[f32], &[f32], usize, &[u32], &mut [f32]);

/// The distance of two vectors of one length, a multiple of [`FLOATS`]: what [`FloatRows`] gives, to the bit.
///
/// # Panics
/// On other lengths.
pub type FloatPair = fn(&[f32], &[f32]) -> f32;

/// Dot products of a signed query with `rows` of unsigned codes: `(query, base, stride, rows, out)`.
///
/// `base` holds rows of `stride` bytes, a multiple of 64. No sum may leave `i32`.
///
/// # Panics
/// On other lengths, and on a row outside of `base`.
pub type DotRows = fn(&[i8], &[u8], usize, &[u32], &mut [i32]);

/// As [`DotRows`], for an unsigned query: sums of absolute differences, or counts of common bits.
pub type ByteRows = fn(&[u8], &[u8], usize, &[u32], &mut [i32]);

/// One set of kernels.
#[derive(Debug)]
pub struct Kernels {
    /// Which set.
    pub name: &'static str,
    /// Negated dot product, for [`Measure::Cosine`] and [`Measure::Dot`].
    pub dot: FloatRows,
    /// Squared Euclidean distance.
    pub euclid: FloatRows,
    /// Sum of absolute differences.
    pub manhattan: FloatRows,
    /// `dot` of two vectors.
    pub dot_pair: FloatPair,
    /// `euclid` of two vectors.
    pub euclid_pair: FloatPair,
    /// `manhattan` of two vectors.
    pub manhattan_pair: FloatPair,
    /// `sum q[i] * c[i]` over bytes; the query has `stride` numbers.
    pub dot8: DotRows,
    /// `sum abs(q[i] - c[i])` over bytes; the query has `stride` numbers.
    pub sad8: ByteRows,
    /// `sum q[i] * n[i]` over nibbles. The low nibbles of a row are its first `stride` numbers, the high ones the next; the
    /// query has `2 * stride`.
    pub dot4: DotRows,
    /// `sum abs(q[i] - n[i])` over nibbles laid out as for `dot4`; the query's numbers are below 16.
    pub sad4: ByteRows,
    /// `sum q[i]` over the bits set in a row. The query is `query.len() / stride` planes of `stride` bytes, lowest bit first,
    /// of numbers in two's complement: the last plane counts negative. Here `stride` is a power of two from 8 to 32, or a
    /// multiple of 64; at most 8 planes.
    pub bits: ByteRows,
}

impl Kernels {
    /// The batched float kernel of a measure.
    #[inline]
    #[must_use]
    pub fn rows(&self, measure: Measure) -> FloatRows {
        match measure {
            Measure::Cosine | Measure::Dot => self.dot,
            Measure::Euclid => self.euclid,
            Measure::Manhattan => self.manhattan,
        }
    }

    /// The float kernel of a measure for two vectors.
    #[inline]
    #[must_use]
    pub fn pair(&self, measure: Measure) -> FloatPair {
        match measure {
            Measure::Cosine | Measure::Dot => self.dot_pair,
            Measure::Euclid => self.euclid_pair,
            Measure::Manhattan => self.manhattan_pair,
        }
    }
}

/// The fastest set that this machine has; found out once.
#[must_use]
pub fn kernels() -> &'static Kernels {
    static CHOSEN: OnceLock<&'static Kernels> = OnceLock::new();
    CHOSEN.get_or_init(|| supported().first().copied().unwrap_or(&scalar::KERNELS))
}

/// Runs `work`, plain loops, compiled for wider vectors where the machine has them. Only what the compiler inlines gains from
/// it. The results are the same: Rust's float operations are neither reordered nor fused.
#[inline]
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    return x86::vectorized(work);
    #[cfg(not(target_arch = "x86_64"))]
    work()
}

/// All sets that run on this machine, fastest first, `scalar` last.
#[must_use]
pub fn supported() -> Vec<&'static Kernels> {
    let mut sets = Vec::new();
    #[cfg(target_arch = "x86_64")]
    sets.extend(x86::supported());
    #[cfg(target_arch = "aarch64")]
    sets.extend(neon::supported());
    sets.push(&scalar::KERNELS);
    sets
}
