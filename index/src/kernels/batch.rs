//! What the batched kernels of all sets share: checked lengths, the walk over the rows, fetching ahead.

use super::FLOATS;

/// Rows of floats fetched ahead.
pub(super) const FLOAT_ROWS_AHEAD: usize = 2;
/// Rows of codes fetched ahead: they are smaller, so more of them are needed to cover the same latency.
pub(super) const CODE_ROWS_AHEAD: usize = 6;

/// One row of a matrix.
#[inline(always)]
pub(super) fn row_of<T>(base: &[T], stride: usize, row: u32) -> &[T] {
    &base[row as usize * stride..][..stride]
}

/// The promise of [`super::FloatRows`]: a distance is never NaN.
#[inline(always)]
pub(super) fn number(distance: f32) -> f32 {
    if distance.is_nan() {
        f32::INFINITY
    } else {
        distance
    }
}

#[inline]
pub(super) fn check_floats(query: usize, stride: usize) {
    assert!(
        query == stride && stride.is_multiple_of(FLOATS),
        "a query of {query} floats for rows of {stride}: both must be one multiple of {FLOATS}"
    );
}

#[inline]
pub(super) fn check_codes(query: usize, stride: usize, per_byte: usize) {
    assert!(
        query == stride * per_byte && stride.is_multiple_of(64),
        "a query of {query} numbers for codes of {stride} bytes with {per_byte} numbers each: codes must be a multiple of 64 bytes"
    );
}

#[inline]
pub(super) fn check_bits(query: usize, stride: usize) {
    let whole = matches!(stride, 8 | 16 | 32) || (stride > 0 && stride.is_multiple_of(64));
    assert!(
        whole && query.is_multiple_of(stride) && (1..=8).contains(&(query / stride)),
        "a query of {query} bytes for codes of {stride}: codes must be 8, 16, 32 or a multiple of 64 bytes, planes 1 to 8"
    );
}

/// Defines `fn $name(query, base, stride, rows, out)` from `$row(query, row) -> out`, which is compiled, inlined, with the
/// same processor features. The module that uses this hands out its functions only where the processor has `$features`.
macro_rules! batched {
    ($name:ident = $row:ident($query:ty, $element:ty) -> $out:ty, $check:expr, $ahead:expr $(, $features:literal)?) => {
        fn $name(query: &[$query], base: &[$element], stride: usize, rows: &[u32], out: &mut [$out]) {
            $(#[target_feature(enable = $features)])?
            fn walk(query: &[$query], base: &[$element], stride: usize, rows: &[u32], out: &mut [$out]) {
                for row in rows.iter().take($ahead) {
                    $crate::kernels::prefetch::prefetch_row(base, stride, *row);
                }
                for (i, (row, out)) in rows.iter().zip(out).enumerate() {
                    if let Some(ahead) = rows.get(i + $ahead) {
                        $crate::kernels::prefetch::prefetch_row(base, stride, *ahead);
                    }
                    *out = $row(query, $crate::kernels::batch::row_of(base, stride, *row));
                }
            }
            let check: fn(usize, usize) = $check;
            check(query.len(), stride);
            assert_eq!(rows.len(), out.len(), "one place per row");
            $crate::kernels::batch::batched!(@call $($features)? => walk(query, base, stride, rows, out))
        }
    };
    (@call => $call:expr) => { $call };
    (@call $features:literal => $call:expr) => {
        // SAFETY: this module hands out its functions only where the processor has these features.
        unsafe { $call }
    };
}

/// Defines `fn $name(a, b) -> f32` from the same `$row` as the batched kernel.
macro_rules! pair {
    ($name:ident = $row:ident $(, $features:literal)?) => {
        fn $name(a: &[f32], b: &[f32]) -> f32 {
            $crate::kernels::batch::check_floats(a.len(), b.len());
            $crate::kernels::batch::batched!(@call $($features)? => $row(a, b))
        }
    };
}

/// Defines the float kernels and the table's functions for them.
macro_rules! float_kernels {
    ($($features:literal)?) => {
        $crate::kernels::batch::float_kernels!(@one dot, dot_pair, dot_row $(, $features)?);
        $crate::kernels::batch::float_kernels!(@one euclid, euclid_pair, euclid_row $(, $features)?);
        $crate::kernels::batch::float_kernels!(@one manhattan, manhattan_pair, manhattan_row $(, $features)?);
    };
    (@one $name:ident, $pair:ident, $row:ident $(, $features:literal)?) => {
        $crate::kernels::batch::batched!($name = $row(f32, f32) -> f32, $crate::kernels::batch::check_floats,
            $crate::kernels::batch::FLOAT_ROWS_AHEAD $(, $features)?);
        $crate::kernels::batch::pair!($pair = $row $(, $features)?);
    };
}

/// Defines one kernel over codes of `$per_byte` numbers a byte.
macro_rules! code_kernel {
    ($name:ident = $row:ident($query:ty), $per_byte:literal $(, $features:literal)?) => {
        $crate::kernels::batch::batched!($name = $row($query, u8) -> i32,
            |query, stride| $crate::kernels::batch::check_codes(query, stride, $per_byte),
            $crate::kernels::batch::CODE_ROWS_AHEAD $(, $features)?);
    };
}

/// Defines the kernel over bits.
macro_rules! bit_kernel {
    ($name:ident = $row:ident $(, $features:literal)?) => {
        $crate::kernels::batch::batched!($name = $row(u8, u8) -> i32, $crate::kernels::batch::check_bits,
            $crate::kernels::batch::CODE_ROWS_AHEAD $(, $features)?);
    };
}

pub(super) use {batched, bit_kernel, code_kernel, float_kernels, pair};
