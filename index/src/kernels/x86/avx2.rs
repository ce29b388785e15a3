//! AVX2 with FMA and POPCNT. [`super::supported`] alone hands these functions out, where the processor has the features.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use crate::kernels::batch::{bit_kernel, code_kernel, float_kernels, number};
use crate::kernels::{Kernels, scalar};

pub(super) static KERNELS: Kernels = Kernels {
    name: "avx2",
    dot,
    euclid,
    manhattan,
    dot_pair,
    euclid_pair,
    manhattan_pair,
    dot8,
    sad8,
    dot4,
    sad4,
    bits,
};

/// Also needs AVX-VNNI.
pub(super) static WITH_VNNI: Kernels = Kernels {
    name: "avx2-vnni",
    dot8: dot8_vnni,
    dot4: dot4_vnni,
    ..KERNELS
};

float_kernels!("avx2,fma");
code_kernel!(dot8 = dot8_row(i8), 1, "avx2");
code_kernel!(sad8 = sad8_row(u8), 1, "avx2");
code_kernel!(dot4 = dot4_row(i8), 2, "avx2");
code_kernel!(sad4 = sad4_row(u8), 2, "avx2");
code_kernel!(dot8_vnni = dot8_vnni_row(i8), 1, "avx2,avxvnni");
code_kernel!(dot4_vnni = dot4_vnni_row(i8), 2, "avx2,avxvnni");
bit_kernel!(bits = bits_row, "popcnt");

#[inline]
#[target_feature(enable = "avx2")]
fn floats(from: &[f32; 8]) -> __m256 {
    // SAFETY: an unaligned load of the 32 bytes behind a valid reference.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn bytes(from: &[u8; 32]) -> __m256i {
    // SAFETY: an unaligned load of the 32 bytes behind a valid reference.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn signed(from: &[i8; 32]) -> __m256i {
    // SAFETY: an unaligned load of the 32 bytes behind a valid reference.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_floats(x: __m256) -> f32 {
    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
}

/// Of eight 32-bit numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn add_words(x: __m256i) -> i32 {
    let x = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    let x = _mm_add_epi32(x, _mm_shuffle_epi32::<0b_11_10_11_10>(x));
    _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32::<0b_01_01_01_01>(x)))
}

/// `$name(a, b)`: the sum over floats of `$step(sum, a, b)`, in four parts to hide the latency of an addition.
macro_rules! float_row {
    ($name:ident, |$sum:ident, $a:ident, $b:ident| $step:expr, |$total:ident| $end:expr) => {
        #[inline]
        #[target_feature(enable = "avx2,fma")]
        fn $name(a: &[f32], b: &[f32]) -> f32 {
            let mut sums = [_mm256_setzero_ps(); 4];
            let (a, b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
            let ((a4, a1), (b4, b1)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
            for (a, b) in a4.iter().zip(b4) {
                for i in 0..4 {
                    let ($sum, $a, $b) = (sums[i], floats(&a[i]), floats(&b[i]));
                    sums[i] = $step;
                }
            }
            for (i, (a, b)) in a1.iter().zip(b1).take(3).enumerate() {
                let ($sum, $a, $b) = (sums[i], floats(a), floats(b));
                sums[i] = $step;
            }
            let $total = add_floats(_mm256_add_ps(
                _mm256_add_ps(sums[0], sums[1]),
                _mm256_add_ps(sums[2], sums[3]),
            ));
            number($end)
        }
    };
}

float_row!(dot_row, |sum, a, b| _mm256_fmadd_ps(a, b, sum), |total| {
    -total
});
float_row!(
    euclid_row,
    |sum, a, b| {
        let difference = _mm256_sub_ps(a, b);
        _mm256_fmadd_ps(difference, difference, sum)
    },
    |total| total
);
float_row!(
    manhattan_row,
    |sum, a, b| {
        let sign = _mm256_set1_ps(-0.0);
        _mm256_add_ps(sum, _mm256_andnot_ps(sign, _mm256_sub_ps(a, b)))
    },
    |total| total
);

/// `vpmaddubsw` would saturate for codes above 127, so even and odd bytes are widened to 16 bits: sums of two products of at
/// most 255 * 128 fit 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn dot8_row(query: &[i8], code: &[u8]) -> i32 {
    let even = _mm256_set1_epi16(0x00ff);
    let mut sums = [_mm256_setzero_si256(); 2];
    for (q, c) in query
        .as_chunks::<32>()
        .0
        .iter()
        .zip(code.as_chunks::<32>().0)
    {
        let (q, c) = (signed(q), bytes(c));
        let (q_even, q_odd) = (
            _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(q)),
            _mm256_srai_epi16::<8>(q),
        );
        let (c_even, c_odd) = (_mm256_and_si256(c, even), _mm256_srli_epi16::<8>(c));
        sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(q_even, c_even));
        sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(q_odd, c_odd));
    }
    add_words(_mm256_add_epi32(sums[0], sums[1]))
}

#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn dot8_vnni_row(query: &[i8], code: &[u8]) -> i32 {
    let mut sums = [_mm256_setzero_si256(); 2];
    for (q, c) in query
        .as_chunks::<64>()
        .0
        .iter()
        .zip(code.as_chunks::<64>().0)
    {
        for (sum, (q, c)) in sums
            .iter_mut()
            .zip(q.as_chunks::<32>().0.iter().zip(c.as_chunks::<32>().0))
        {
            *sum = _mm256_dpbusd_avx_epi32(*sum, bytes(c), signed(q));
        }
    }
    add_words(_mm256_add_epi32(sums[0], sums[1]))
}

/// Each 64-bit lane of a `vpsadbw` is below 2^11, so its low half is the lane, and 32-bit sums are sums of lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn sad8_row(query: &[u8], code: &[u8]) -> i32 {
    let mut sum = _mm256_setzero_si256();
    for (q, c) in query
        .as_chunks::<32>()
        .0
        .iter()
        .zip(code.as_chunks::<32>().0)
    {
        sum = _mm256_add_epi32(sum, _mm256_sad_epu8(bytes(q), bytes(c)));
    }
    add_words(sum)
}

#[inline]
#[target_feature(enable = "avx2")]
fn nibbles(code: &[u8; 32]) -> (__m256i, __m256i) {
    let (code, low) = (bytes(code), _mm256_set1_epi8(15));
    (
        _mm256_and_si256(code, low),
        _mm256_and_si256(_mm256_srli_epi16::<4>(code), low),
    )
}

/// Nibbles are below 16: two pairs of products stay below 4 * 15 * 128, which fits 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn dot4_row(query: &[i8], code: &[u8]) -> i32 {
    let (q_low, q_high) = query.split_at(code.len());
    let (q_low, q_high) = (q_low.as_chunks::<32>().0, q_high.as_chunks::<32>().0);
    let ones = _mm256_set1_epi16(1);
    let mut sum = _mm256_setzero_si256();
    for ((q_low, q_high), c) in q_low.iter().zip(q_high).zip(code.as_chunks::<32>().0) {
        let (low, high) = nibbles(c);
        let pairs = _mm256_add_epi16(
            _mm256_maddubs_epi16(low, signed(q_low)),
            _mm256_maddubs_epi16(high, signed(q_high)),
        );
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    }
    add_words(sum)
}

#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn dot4_vnni_row(query: &[i8], code: &[u8]) -> i32 {
    let (q_low, q_high) = query.split_at(code.len());
    let (q_low, q_high) = (q_low.as_chunks::<32>().0, q_high.as_chunks::<32>().0);
    let mut sums = [_mm256_setzero_si256(); 2];
    for ((q_low, q_high), c) in q_low.iter().zip(q_high).zip(code.as_chunks::<32>().0) {
        let (low, high) = nibbles(c);
        sums[0] = _mm256_dpbusd_avx_epi32(sums[0], low, signed(q_low));
        sums[1] = _mm256_dpbusd_avx_epi32(sums[1], high, signed(q_high));
    }
    add_words(_mm256_add_epi32(sums[0], sums[1]))
}

#[inline]
#[target_feature(enable = "avx2")]
fn sad4_row(query: &[u8], code: &[u8]) -> i32 {
    let (q_low, q_high) = query.split_at(code.len());
    let (q_low, q_high) = (q_low.as_chunks::<32>().0, q_high.as_chunks::<32>().0);
    let mut sum = _mm256_setzero_si256();
    for ((q_low, q_high), c) in q_low.iter().zip(q_high).zip(code.as_chunks::<32>().0) {
        let (low, high) = nibbles(c);
        sum = _mm256_add_epi32(sum, _mm256_sad_epu8(bytes(q_low), low));
        sum = _mm256_add_epi32(sum, _mm256_sad_epu8(bytes(q_high), high));
    }
    add_words(sum)
}

/// One `popcnt` per 8 bytes and plane.
#[inline]
#[target_feature(enable = "popcnt")]
pub(super) fn bits_row(planes: &[u8], code: &[u8]) -> i32 {
    scalar::bits_row(planes, code)
}

/// For AVX-512 without VPOPCNTDQ, too.
pub(super) const BITS: crate::kernels::ByteRows = bits;
