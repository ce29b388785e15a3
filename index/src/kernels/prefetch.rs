//! Telling the processor which memory comes next.
#![allow(unsafe_code)]

/// Bytes fetched at once.
const LINE: usize = 64;
/// At most so much of one row is fetched ahead: 1,024 floats. Not tuned.
const MOST_LINES: usize = 64;

/// Starts fetching the first bytes of `data` into the nearest cache. A hint: it changes no result and cannot fail.
#[inline(always)]
pub fn prefetch<T>(data: &[T]) {
    line(data.as_ptr().cast());
}

/// Starts fetching row `row` of a matrix with rows of `stride` elements. A row outside of `base` is no error.
#[inline(always)]
pub(super) fn prefetch_row<T>(base: &[T], stride: usize, row: u32) {
    let first = base
        .as_ptr()
        .wrapping_add(row as usize * stride)
        .cast::<u8>();
    let bytes = stride * size_of::<T>();
    let mut at = 0;
    while at < bytes.min(MOST_LINES * LINE) {
        line(first.wrapping_add(at));
        at += LINE;
    }
}

#[inline(always)]
fn line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, whatever the address; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: PRFM never faults, whatever the address, and writes neither memory nor registers nor flags.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}
