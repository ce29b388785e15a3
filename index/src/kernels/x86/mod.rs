//! Kernels for x86-64, and which of them the processor can run.

#![allow(unsafe_code)]

mod avx2;
mod avx512;

use super::Kernels;

/// The sets that this machine can run, fastest first.
pub(super) fn supported() -> impl Iterator<Item = &'static Kernels> {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("popcnt");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni");
    [
        (
            avx512 && is_x86_feature_detected!("avx512vpopcntdq"),
            &avx512::WITH_POPCOUNT,
        ),
        (avx512, &avx512::KERNELS),
        (
            avx2 && is_x86_feature_detected!("avxvnni"),
            &avx2::WITH_VNNI,
        ),
        (avx2, &avx2::KERNELS),
    ]
    .into_iter()
    .filter_map(|(runs, kernels)| runs.then_some(kernels))
}

/// See [`crate::kernels::vectorized`].
#[inline]
pub(super) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    #[target_feature(enable = "avx2")]
    fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
        work()
    }
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        unsafe { with_avx2(work) }
    } else {
        work()
    }
}
