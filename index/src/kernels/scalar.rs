//! Kernels without vector instructions of their own: what the other sets are tested against. Sums are kept in as many parts
//! as a cache line has floats, so that the compiler may use what the target guarantees.

use super::batch::{bit_kernel, code_kernel, float_kernels, number};
use super::{FLOATS, Kernels};

pub(super) static KERNELS: Kernels = Kernels {
    name: "scalar",
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

float_kernels!();
code_kernel!(dot8 = dot8_row(i8), 1);
code_kernel!(sad8 = sad8_row(u8), 1);
code_kernel!(dot4 = dot4_row(i8), 2);
code_kernel!(sad4 = sad4_row(u8), 2);
bit_kernel!(bits = bits_row);

#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut parts = [0f32; FLOATS];
    for (a, b) in a
        .as_chunks::<FLOATS>()
        .0
        .iter()
        .zip(b.as_chunks::<FLOATS>().0)
    {
        for i in 0..FLOATS {
            parts[i] += term(a[i], b[i]);
        }
    }
    parts.iter().sum()
}

#[inline]
fn dot_row(query: &[f32], row: &[f32]) -> f32 {
    number(-sum(query, row, |a, b| a * b))
}

#[inline]
fn euclid_row(query: &[f32], row: &[f32]) -> f32 {
    number(sum(query, row, |a, b| (a - b) * (a - b)))
}

#[inline]
fn manhattan_row(query: &[f32], row: &[f32]) -> f32 {
    number(sum(query, row, |a, b| (a - b).abs()))
}

#[inline]
fn dot8_row(query: &[i8], code: &[u8]) -> i32 {
    query
        .iter()
        .zip(code)
        .map(|(q, c)| i32::from(*q) * i32::from(*c))
        .sum()
}

#[inline]
fn sad8_row(query: &[u8], code: &[u8]) -> i32 {
    query
        .iter()
        .zip(code)
        .map(|(q, c)| i32::from(q.abs_diff(*c)))
        .sum()
}

#[inline]
fn dot4_row(query: &[i8], code: &[u8]) -> i32 {
    let (low, high) = query.split_at(code.len());
    let halves = low.iter().zip(high).zip(code);
    halves
        .map(|((low, high), c)| {
            i32::from(*low) * i32::from(c & 15) + i32::from(*high) * i32::from(c >> 4)
        })
        .sum()
}

#[inline]
fn sad4_row(query: &[u8], code: &[u8]) -> i32 {
    let (low, high) = query.split_at(code.len());
    let halves = low.iter().zip(high).zip(code);
    halves
        .map(|((low, high), c)| i32::from(low.abs_diff(c & 15)) + i32::from(high.abs_diff(c >> 4)))
        .sum()
}

/// Also compiled with other features by other sets.
#[inline(always)]
pub(super) fn bits_row(planes: &[u8], code: &[u8]) -> i32 {
    let common = |plane: &[u8]| -> i32 {
        let words = plane.as_chunks::<8>().0.iter().zip(code.as_chunks::<8>().0);
        words
            .map(|(p, c)| (u64::from_le_bytes(*p) & u64::from_le_bytes(*c)).count_ones() as i32)
            .sum()
    };
    let mut planes = planes.chunks_exact(code.len()).rev();
    let top = planes.next().map_or(0, common);
    planes.fold(-top, |sum, plane| 2 * sum + common(plane))
}
