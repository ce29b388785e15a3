//! NEON, which every AArch64 with an operating system has; it is detected all the same.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::batch::{bit_kernel, code_kernel, float_kernels, number};
use super::{FLOATS, Kernels};

static KERNELS: Kernels = Kernels {
    name: "neon",
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

/// The sets that this machine can run.
pub(super) fn supported() -> Option<&'static Kernels> {
    std::arch::is_aarch64_feature_detected!("neon").then_some(&KERNELS)
}

float_kernels!("neon");
code_kernel!(dot8 = dot8_row(i8), 1, "neon");
code_kernel!(sad8 = sad8_row(u8), 1, "neon");
code_kernel!(dot4 = dot4_row(i8), 2, "neon");
code_kernel!(sad4 = sad4_row(u8), 2, "neon");
bit_kernel!(bits = bits_row, "neon");

#[inline]
#[target_feature(enable = "neon")]
fn floats(from: &[f32; 4]) -> float32x4_t {
    // SAFETY: a load of the 16 bytes behind a valid reference.
    unsafe { vld1q_f32(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn bytes(from: &[u8; 16]) -> uint8x16_t {
    // SAFETY: a load of the 16 bytes behind a valid reference.
    unsafe { vld1q_u8(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn signed(from: &[i8; 16]) -> int8x16_t {
    // SAFETY: a load of the 16 bytes behind a valid reference.
    unsafe { vld1q_s8(from.as_ptr()) }
}

/// `$name(a, b)`: the sum over floats of `$step(sum, a, b)`, in four parts to hide the latency of an addition.
macro_rules! float_row {
    ($name:ident, |$sum:ident, $a:ident, $b:ident| $step:expr, |$total:ident| $end:expr) => {
        #[inline]
        #[target_feature(enable = "neon")]
        fn $name(a: &[f32], b: &[f32]) -> f32 {
            let mut sums = [vdupq_n_f32(0.0); 4];
            for (a, b) in a
                .as_chunks::<FLOATS>()
                .0
                .iter()
                .zip(b.as_chunks::<FLOATS>().0)
            {
                let (a, b) = (a.as_chunks::<4>().0, b.as_chunks::<4>().0);
                for i in 0..4 {
                    let ($sum, $a, $b) = (sums[i], floats(&a[i]), floats(&b[i]));
                    sums[i] = $step;
                }
            }
            let $total = vaddvq_f32(vaddq_f32(
                vaddq_f32(sums[0], sums[1]),
                vaddq_f32(sums[2], sums[3]),
            ));
            number($end)
        }
    };
}

float_row!(dot_row, |sum, a, b| vfmaq_f32(sum, a, b), |total| -total);
float_row!(
    euclid_row,
    |sum, a, b| {
        let difference = vsubq_f32(a, b);
        vfmaq_f32(sum, difference, difference)
    },
    |total| total
);
float_row!(
    manhattan_row,
    |sum, a, b| vaddq_f32(sum, vabdq_f32(a, b)),
    |total| total
);

/// Products of signed bytes, added in pairs to 32-bit sums.
#[inline]
#[target_feature(enable = "neon")]
fn add_products(sum: int32x4_t, q: int8x16_t, c: int8x16_t) -> int32x4_t {
    let sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(q), vget_low_s8(c)));
    vpadalq_s16(sum, vmull_high_s8(q, c))
}

/// Codes become signed by taking 128 off, which the sum of the query gives back.
#[inline]
#[target_feature(enable = "neon")]
fn dot8_row(query: &[i8], code: &[u8]) -> i32 {
    let top = vdupq_n_u8(0x80);
    let (mut sum, mut queries) = (vdupq_n_s32(0), vdupq_n_s32(0));
    for (q, c) in query
        .as_chunks::<16>()
        .0
        .iter()
        .zip(code.as_chunks::<16>().0)
    {
        let q = signed(q);
        sum = add_products(sum, q, vreinterpretq_s8_u8(veorq_u8(bytes(c), top)));
        queries = vpadalq_s16(queries, vpaddlq_s8(q));
    }
    vaddvq_s32(vaddq_s32(sum, vshlq_n_s32::<7>(queries)))
}

#[inline]
#[target_feature(enable = "neon")]
fn sad8_row(query: &[u8], code: &[u8]) -> i32 {
    let mut sum = vdupq_n_u32(0);
    for (q, c) in query
        .as_chunks::<16>()
        .0
        .iter()
        .zip(code.as_chunks::<16>().0)
    {
        sum = vpadalq_u16(sum, vpaddlq_u8(vabdq_u8(bytes(q), bytes(c))));
    }
    vaddvq_u32(sum).cast_signed()
}

#[inline]
#[target_feature(enable = "neon")]
fn nibbles(code: &[u8; 16]) -> (uint8x16_t, uint8x16_t) {
    let code = bytes(code);
    (vandq_u8(code, vdupq_n_u8(15)), vshrq_n_u8::<4>(code))
}

#[inline]
#[target_feature(enable = "neon")]
fn dot4_row(query: &[i8], code: &[u8]) -> i32 {
    let (q_low, q_high) = query.split_at(code.len());
    let (q_low, q_high) = (q_low.as_chunks::<16>().0, q_high.as_chunks::<16>().0);
    let mut sums = [vdupq_n_s32(0); 2];
    for ((q_low, q_high), c) in q_low.iter().zip(q_high).zip(code.as_chunks::<16>().0) {
        let (low, high) = nibbles(c);
        sums[0] = add_products(sums[0], signed(q_low), vreinterpretq_s8_u8(low));
        sums[1] = add_products(sums[1], signed(q_high), vreinterpretq_s8_u8(high));
    }
    vaddvq_s32(vaddq_s32(sums[0], sums[1]))
}

#[inline]
#[target_feature(enable = "neon")]
fn sad4_row(query: &[u8], code: &[u8]) -> i32 {
    let (q_low, q_high) = query.split_at(code.len());
    let (q_low, q_high) = (q_low.as_chunks::<16>().0, q_high.as_chunks::<16>().0);
    let mut sum = vdupq_n_u32(0);
    for ((q_low, q_high), c) in q_low.iter().zip(q_high).zip(code.as_chunks::<16>().0) {
        let (low, high) = nibbles(c);
        // Two differences of at most 15 each fit a byte.
        let both = vaddq_u8(vabdq_u8(bytes(q_low), low), vabdq_u8(bytes(q_high), high));
        sum = vpadalq_u16(sum, vpaddlq_u8(both));
    }
    vaddvq_u32(sum).cast_signed()
}

/// Bits that two rows of bytes have in common.
#[inline]
#[target_feature(enable = "neon")]
fn common(plane: &[u8], code: &[u8]) -> i32 {
    let ((p16, p8), (c16, c8)) = (plane.as_chunks::<16>(), code.as_chunks::<16>());
    let mut sum = vdupq_n_u32(0);
    for (p, c) in p16.iter().zip(c16) {
        sum = vpadalq_u16(sum, vpaddlq_u8(vcntq_u8(vandq_u8(bytes(p), bytes(c)))));
    }
    let rest: u32 = p8.iter().zip(c8).map(|(p, c)| (p & c).count_ones()).sum();
    (vaddvq_u32(sum) + rest).cast_signed()
}

#[inline]
#[target_feature(enable = "neon")]
fn bits_row(planes: &[u8], code: &[u8]) -> i32 {
    let mut planes = planes.chunks_exact(code.len()).rev();
    let mut sum = 0;
    if let Some(top) = planes.next() {
        sum -= common(top, code);
    }
    for plane in planes {
        sum = 2 * sum + common(plane, code);
    }
    sum
}
