//! AVX-512 F, BW and VNNI. [`super::supported`] alone hands these functions out, where the processor has the features.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx2;
use crate::kernels::batch::{bit_kernel, code_kernel, float_kernels, number};
use crate::kernels::{FLOATS, Kernels};

pub(super) static KERNELS: Kernels = Kernels {
    name: "avx512",
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
    bits: avx2::BITS,
};

/// Also needs VPOPCNTDQ.
pub(super) static WITH_POPCOUNT: Kernels = Kernels {
    name: "avx512-vpopcntdq",
    bits,
    ..KERNELS
};

float_kernels!("avx512f");
code_kernel!(dot8 = dot8_row(i8), 1, "avx512f,avx512bw,avx512vnni");
code_kernel!(sad8 = sad8_row(u8), 1, "avx512f,avx512bw");
code_kernel!(dot4 = dot4_row(i8), 2, "avx512f,avx512bw,avx512vnni");
code_kernel!(sad4 = sad4_row(u8), 2, "avx512f,avx512bw");
bit_kernel!(bits = bits_row, "avx512f,avx512vpopcntdq,popcnt");

#[inline]
#[target_feature(enable = "avx512f")]
fn floats(from: &[f32; FLOATS]) -> __m512 {
    // SAFETY: an unaligned load of the 64 bytes behind a valid reference.
    unsafe { _mm512_loadu_ps(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn bytes(from: &[u8; 64]) -> __m512i {
    // SAFETY: an unaligned load of the 64 bytes behind a valid reference.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn signed(from: &[i8; 64]) -> __m512i {
    // SAFETY: an unaligned load of the 64 bytes behind a valid reference.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// `$name(a, b)`: the sum over floats of `$step(sum, a, b)`, in four parts to hide the latency of an addition.
macro_rules! float_row {
    ($name:ident, |$sum:ident, $a:ident, $b:ident| $step:expr, |$total:ident| $end:expr) => {
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn $name(a: &[f32], b: &[f32]) -> f32 {
            let mut sums = [_mm512_setzero_ps(); 4];
            let (a, b) = (a.as_chunks::<FLOATS>().0, b.as_chunks::<FLOATS>().0);
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
            let $total = _mm512_reduce_add_ps(_mm512_add_ps(
                _mm512_add_ps(sums[0], sums[1]),
                _mm512_add_ps(sums[2], sums[3]),
            ));
            number($end)
        }
    };
}

float_row!(dot_row, |sum, a, b| _mm512_fmadd_ps(a, b, sum), |total| {
    -total
});
float_row!(
    euclid_row,
    |sum, a, b| {
        let difference = _mm512_sub_ps(a, b);
        _mm512_fmadd_ps(difference, difference, sum)
    },
    |total| total
);
float_row!(
    manhattan_row,
    |sum, a, b| _mm512_add_ps(sum, _mm512_abs_ps(_mm512_sub_ps(a, b))),
    |total| total
);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot8_row(query: &[i8], code: &[u8]) -> i32 {
    let mut sums = [_mm512_setzero_si512(); 2];
    let (q, c) = (query.as_chunks::<64>().0, code.as_chunks::<64>().0);
    let ((q2, q1), (c2, c1)) = (q.as_chunks::<2>(), c.as_chunks::<2>());
    for (q, c) in q2.iter().zip(c2) {
        sums[0] = _mm512_dpbusd_epi32(sums[0], bytes(&c[0]), signed(&q[0]));
        sums[1] = _mm512_dpbusd_epi32(sums[1], bytes(&c[1]), signed(&q[1]));
    }
    for (q, c) in q1.iter().zip(c1) {
        sums[0] = _mm512_dpbusd_epi32(sums[0], bytes(c), signed(q));
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]))
}

/// Each 64-bit lane of a `vpsadbw` is below 2^11, so its low half is the lane, and 32-bit sums are sums of lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn sad8_row(query: &[u8], code: &[u8]) -> i32 {
    let mut sum = _mm512_setzero_si512();
    for (q, c) in query
        .as_chunks::<64>()
        .0
        .iter()
        .zip(code.as_chunks::<64>().0)
    {
        sum = _mm512_add_epi32(sum, _mm512_sad_epu8(bytes(q), bytes(c)));
    }
    _mm512_reduce_add_epi32(sum)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn nibbles(code: &[u8; 64]) -> (__m512i, __m512i) {
    let (code, low) = (bytes(code), _mm512_set1_epi8(15));
    (
        _mm512_and_si512(code, low),
        _mm512_and_si512(_mm512_srli_epi16::<4>(code), low),
    )
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot4_row(query: &[i8], code: &[u8]) -> i32 {
    let (q_low, q_high) = query.split_at(code.len());
    let (q_low, q_high) = (q_low.as_chunks::<64>().0, q_high.as_chunks::<64>().0);
    let mut sums = [_mm512_setzero_si512(); 2];
    for ((q_low, q_high), c) in q_low.iter().zip(q_high).zip(code.as_chunks::<64>().0) {
        let (low, high) = nibbles(c);
        sums[0] = _mm512_dpbusd_epi32(sums[0], low, signed(q_low));
        sums[1] = _mm512_dpbusd_epi32(sums[1], high, signed(q_high));
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn sad4_row(query: &[u8], code: &[u8]) -> i32 {
    let (q_low, q_high) = query.split_at(code.len());
    let (q_low, q_high) = (q_low.as_chunks::<64>().0, q_high.as_chunks::<64>().0);
    let mut sum = _mm512_setzero_si512();
    for ((q_low, q_high), c) in q_low.iter().zip(q_high).zip(code.as_chunks::<64>().0) {
        let (low, high) = nibbles(c);
        sum = _mm512_add_epi32(sum, _mm512_sad_epu8(bytes(q_low), low));
        sum = _mm512_add_epi32(sum, _mm512_sad_epu8(bytes(q_high), high));
    }
    _mm512_reduce_add_epi32(sum)
}

/// Horner's rule per 64 bytes, from the top plane, which counts negative, down. Shorter rows are faster without.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq,popcnt")]
fn bits_row(planes: &[u8], code: &[u8]) -> i32 {
    let stride = code.len();
    if stride < 64 {
        return avx2::bits_row(planes, code);
    }
    let mut total = _mm512_setzero_si512();
    for (i, code) in code.as_chunks::<64>().0.iter().enumerate() {
        let code = bytes(code);
        let mut counts =
            planes
                .chunks_exact(stride)
                .rev()
                .map(|plane| match plane.as_chunks::<64>().0.get(i) {
                    Some(plane) => _mm512_popcnt_epi64(_mm512_and_si512(bytes(plane), code)),
                    None => _mm512_setzero_si512(),
                });
        let mut sum = _mm512_setzero_si512();
        if let Some(top) = counts.next() {
            sum = _mm512_sub_epi64(sum, top);
        }
        for count in counts {
            sum = _mm512_add_epi64(_mm512_add_epi64(sum, sum), count);
        }
        total = _mm512_add_epi64(total, sum);
    }
    _mm512_reduce_add_epi64(total) as i32
}
