//! Every set against `scalar`.

use proptest::prelude::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const ROWS: u32 = 11;

fn picks(rng: &mut impl Rng, count: usize) -> Vec<u32> {
    (0..count).map(|_| rng.random_range(0..ROWS)).collect()
}

fn bytes(rng: &mut impl Rng, count: usize, below: u16, extremes: bool) -> Vec<u8> {
    let one = |rng: &mut _| {
        if extremes {
            [0, (below - 1) as u8][Rng::next_u32(rng) as usize % 2]
        } else {
            (Rng::next_u32(rng) % u32::from(below)) as u8
        }
    };
    (0..count).map(|_| one(rng)).collect()
}

fn as_signed(from: Vec<u8>) -> Vec<i8> {
    from.into_iter().map(u8::cast_signed).collect()
}

type Floats = (FloatRows, FloatPair);
type Batched<Q, E, O> = fn(&[Q], &[E], usize, &[u32], &mut [O]);

fn float_kernels(set: &Kernels) -> [Floats; 3] {
    [Measure::Dot, Measure::Euclid, Measure::Manhattan]
        .map(|measure| (set.rows(measure), set.pair(measure)))
}

fn run<Q, E, O: Default + Clone>(
    kernel: Batched<Q, E, O>,
    query: &[Q],
    base: &[E],
    stride: usize,
    rows: &[u32],
) -> Vec<O> {
    let mut out = vec![O::default(); rows.len()];
    kernel(query, base, stride, rows, &mut out);
    out
}

#[test]
fn the_chosen_set_is_the_first_supported_and_scalar_the_last() {
    let names: Vec<_> = supported().iter().map(|set| set.name).collect();
    assert_eq!(names.first(), Some(&kernels().name));
    assert_eq!(names.last(), Some(&"scalar"));
}

#[test]
fn scalar_floats_are_the_textbook_formulas() {
    let (mut a, mut b) = ([0f32; 16], [0f32; 16]);
    a[..3].copy_from_slice(&[1., -2., 3.]);
    b[..3].copy_from_slice(&[4., 5., -6.]);
    let set = &scalar::KERNELS;
    assert_eq!((set.dot_pair)(&a, &b), 24.);
    assert_eq!((set.euclid_pair)(&a, &b), 9. + 49. + 81.);
    assert_eq!((set.manhattan_pair)(&a, &b), 3. + 7. + 9.);
}

#[test]
fn scalar_codes_are_the_textbook_formulas() {
    let mut code = vec![0u8; 64];
    code[..2].copy_from_slice(&[0x5a, 0xff]);
    let set = &scalar::KERNELS;
    let mut query = vec![0i8; 128];
    query[..2].copy_from_slice(&[-3, 2]);
    query[64..66].copy_from_slice(&[7, -1]);
    assert_eq!(
        run(set.dot8, &query[..64], &code, 64, &[0]),
        [-3 * 0x5a + 2 * 0xff]
    );
    assert_eq!(run(set.dot4, &query, &code, 64, &[0]), [20]);
    let mut query = vec![0u8; 128];
    query[..2].copy_from_slice(&[3, 9]);
    query[64..66].copy_from_slice(&[7, 1]);
    assert_eq!(
        run(set.sad8, &query[..64], &code, 64, &[0]),
        [0x5a - 3 + 0xff - 9]
    );
    assert_eq!(run(set.sad4, &query, &code, 64, &[0]), [7 + 6 + 2 + 14]);
    // Two's complement of 3 bits: bit 0 of the code has 3 = 011, bit 1 has -4 = 100, bit 2 (not set) has -1 = 111.
    let planes = [
        [0b101u8, 0, 0, 0, 0, 0, 0, 0],
        [0b101, 0, 0, 0, 0, 0, 0, 0],
        [0b110, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(
        run(set.bits, &planes, &[0b011, 0, 0, 0, 0, 0, 0, 0], 8, &[0]),
        [3 - 4]
    );
}

proptest! {
    #[test]
    fn floats_equal_scalar(blocks in 1usize..60, count in 0usize..9, exponent in -20i32..20, seed: u64) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let stride = blocks * FLOATS;
        let scale = 10f32.powi(exponent / 2);
        let mut floats = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random_range(-1f32..1.) * scale).collect() };
        let (query, base) = (floats(stride), floats(stride * ROWS as usize));
        let rows = picks(rng, count);
        let sum = |term: fn(f64, f64) -> f64, row: u32| -> f64 {
            let row = &base[row as usize * stride..][..stride];
            query.iter().zip(row).map(|(a, b)| term(f64::from(*a), f64::from(*b))).sum()
        };
        // What the terms could sum to without cancelling: errors are relative to that.
        let sizes: [fn(f64, f64) -> f64; 3] = [|a, b| (a * b).abs(), |a, b| (a - b) * (a - b), |a, b| (a - b).abs()];
        for set in supported() {
            for (((kernel, pair), (expected, _)), size) in
                float_kernels(set).into_iter().zip(float_kernels(&scalar::KERNELS)).zip(sizes)
            {
                let found = run(kernel, &query, &base, stride, &rows);
                let expected = run(expected, &query, &base, stride, &rows);
                for ((found, expected), row) in found.iter().zip(&expected).zip(&rows) {
                    let most = 1e-5 * sum(size, *row);
                    prop_assert!(f64::from((found - expected).abs()) <= most, "{}: {found} {expected}", set.name);
                    let alone = pair(&query, &base[*row as usize * stride..][..stride]);
                    prop_assert_eq!(alone.to_bits(), found.to_bits(), "{}", set.name);
                }
            }
        }
    }

    #[test]
    fn codes_equal_scalar(blocks in 1usize..30, count in 0usize..20, extremes: bool, seed: u64) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let stride = blocks * 64;
        let base = bytes(rng, stride * ROWS as usize, 256, extremes);
        let signed = as_signed(if extremes { bytes(rng, stride * 2, 2, false).iter().map(|b| 127 + b).collect() } else { bytes(rng, stride * 2, 256, false) });
        let unsigned = bytes(rng, stride, 256, extremes);
        let small = bytes(rng, stride * 2, 16, extremes);
        let rows = picks(rng, count);
        let scalar = &scalar::KERNELS;
        for set in supported() {
            prop_assert_eq!(run(set.dot8, &signed[..stride], &base, stride, &rows), run(scalar.dot8, &signed[..stride], &base, stride, &rows), "{}", set.name);
            prop_assert_eq!(run(set.dot4, &signed, &base, stride, &rows), run(scalar.dot4, &signed, &base, stride, &rows), "{}", set.name);
            prop_assert_eq!(run(set.sad8, &unsigned, &base, stride, &rows), run(scalar.sad8, &unsigned, &base, stride, &rows), "{}", set.name);
            prop_assert_eq!(run(set.sad4, &small, &base, stride, &rows), run(scalar.sad4, &small, &base, stride, &rows), "{}", set.name);
        }
    }

    #[test]
    fn bits_equal_scalar(
        stride in prop_oneof![Just(8usize), Just(16), Just(32), (1usize..6).prop_map(|n| n * 64)],
        planes in 1usize..=8, count in 0usize..20, seed: u64,
    ) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let base = bytes(rng, stride * ROWS as usize, 256, false);
        let query = bytes(rng, stride * planes, 256, false);
        let rows = picks(rng, count);
        for set in supported() {
            prop_assert_eq!(run(set.bits, &query, &base, stride, &rows), run(scalar::KERNELS.bits, &query, &base, stride, &rows), "{}", set.name);
        }
    }
}

#[test]
fn extreme_codes_do_not_saturate() {
    let stride = 4096;
    for set in supported() {
        for (query, code) in [(-128i8, 255u8), (127, 255)] {
            let sum = i32::from(query) * 255 * stride as i32;
            assert_eq!(
                run(
                    set.dot8,
                    &vec![query; stride],
                    &vec![code; stride],
                    stride,
                    &[0]
                ),
                [sum],
                "{}",
                set.name
            );
            let sum = i32::from(query) * 15 * 2 * stride as i32;
            assert_eq!(
                run(
                    set.dot4,
                    &vec![query; 2 * stride],
                    &vec![code; stride],
                    stride,
                    &[0]
                ),
                [sum],
                "{}",
                set.name
            );
        }
        assert_eq!(
            run(set.sad8, &vec![0; stride], &vec![255; stride], stride, &[0]),
            [255 * stride as i32],
            "{}",
            set.name
        );
        assert_eq!(
            run(
                set.sad4,
                &vec![0; 2 * stride],
                &vec![255; stride],
                stride,
                &[0]
            ),
            [30 * stride as i32],
            "{}",
            set.name
        );
    }
}

#[test]
fn sums_that_overflow_are_infinitely_far_or_near_but_numbers() {
    let huge = [
        f32::MAX,
        -f32::MAX,
        f32::MAX,
        1.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
    ];
    let mixed = [
        f32::MAX,
        f32::MAX,
        -f32::MAX,
        1.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
        0.,
    ];
    for set in supported() {
        for (kernel, pair) in float_kernels(set) {
            let both = [huge, mixed].concat();
            let found = run(kernel, &huge, &both, 16, &[0, 1]);
            assert!(found.iter().all(|d| !d.is_nan()), "{}: {found:?}", set.name);
            assert!(!pair(&huge, &mixed).is_nan());
        }
        assert_eq!((set.dot_pair)(&huge, &mixed), f32::INFINITY, "{}", set.name);
        assert_eq!(
            (set.euclid_pair)(&huge, &mixed),
            f32::INFINITY,
            "{}",
            set.name
        );
        assert_eq!((set.euclid_pair)(&huge, &huge), 0., "{}", set.name);
    }
}

#[test]
#[should_panic(expected = "multiple of 16")]
fn a_query_of_another_length_is_refused() {
    run(kernels().dot, &[0.; 32], &[0.; 64], 16, &[0]);
}

#[test]
#[should_panic(expected = "out of range")]
fn a_row_outside_is_refused() {
    run(kernels().dot, &[0.; 16], &[0.; 64], 16, &[0, 4]);
}
