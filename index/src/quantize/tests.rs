//! Codes against the distances that they approximate.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::kernels::{FLOATS, kernels};

/// All that exist.
fn kinds() -> impl Iterator<Item = (Quantization, Measure)> {
    let pairs = Quantization::ALL
        .into_iter()
        .flat_map(|q| Measure::ALL.map(|m| (q, m)));
    pairs.filter(|pair| *pair != (Quantization::Binary, Measure::Manhattan))
}

fn refs(vectors: &[Vec<f32>]) -> Vec<&[f32]> {
    vectors.iter().map(Vec::as_slice).collect()
}

fn normal(rng: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| rng.random_range(-0.5f32..0.5)).sum()
}

/// Vectors around centres, with dimensions of unequal spread and a common offset, as embeddings have.
fn clustered(rng: &mut ChaCha8Rng, count: usize, dim: usize, centres: usize) -> Vec<Vec<f32>> {
    let offset: Vec<f32> = (0..dim).map(|_| 0.5 * normal(rng)).collect();
    let spread: Vec<f32> = (0..dim).map(|_| 0.3 + normal(rng).abs()).collect();
    let centres: Vec<Vec<f32>> = (0..centres)
        .map(|_| (0..dim).map(|_| normal(rng)).collect())
        .collect();
    let around = |rng: &mut ChaCha8Rng| {
        let centre = &centres[rng.random_range(0..centres.len())];
        (0..dim)
            .map(|i| offset[i] + spread[i] * (centre[i] + 0.7 * normal(rng)))
            .collect()
    };
    (0..count).map(|_| around(rng)).collect()
}

fn unit(vectors: &mut [Vec<f32>]) {
    for vector in vectors {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
    }
}

struct Coded {
    codec: Codec,
    codes: Vec<u8>,
    factors: Vec<f32>,
    rows: Vec<u32>,
}

impl Coded {
    fn new(codec: Codec, vectors: &[Vec<f32>]) -> Self {
        let (mut codes, mut factors) = (
            vec![0; vectors.len() * codec.stride()],
            vec![0.; vectors.len() * codec.factors()],
        );
        let mut scratch = Scratch::default();
        for (row, vector) in vectors.iter().enumerate() {
            let code = &mut codes[row * codec.stride()..][..codec.stride()];
            let factors = &mut factors[row * codec.factors()..][..codec.factors()];
            codec.encode(vector, code, factors, &mut scratch);
        }
        Self {
            codec,
            codes,
            factors,
            rows: (0..vectors.len() as u32).collect(),
        }
    }

    fn trained(quantization: Quantization, measure: Measure, vectors: &[Vec<f32>]) -> Self {
        let sample: Vec<&[f32]> = vectors.iter().take(2000).map(Vec::as_slice).collect();
        let codec =
            Codec::train(quantization, measure, vectors[0].len(), &sample, 7).expect("a codec");
        Self::new(codec, vectors)
    }

    fn distances(&self, query: &[f32]) -> Vec<f32> {
        let mut out = vec![0.; self.rows.len()];
        self.codec.distances(
            &self.codec.query(query),
            &self.codes,
            &self.factors,
            &self.rows,
            &mut out,
        );
        out
    }
}

fn exact(measure: Measure, query: &[f32], vectors: &[Vec<f32>]) -> Vec<f32> {
    let padded = |vector: &[f32]| {
        let mut vector = vector.to_vec();
        vector.resize(vector.len().next_multiple_of(FLOATS), 0.);
        vector
    };
    let query = padded(query);
    vectors
        .iter()
        .map(|vector| kernels().pair(measure)(&query, &padded(vector)))
        .collect()
}

fn nearest(distances: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..distances.len()).collect();
    order.sort_by(|a, b| distances[*a].total_cmp(&distances[*b]));
    order.truncate(k);
    order
}

/// The share of the exact `k` nearest among the `candidates` nearest by codes, which is the recall after rescoring.
fn recall(quantization: Quantization, measure: Measure, k: usize, candidates: usize) -> f64 {
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    let mut vectors = clustered(rng, 4040, 120, 60);
    if measure == Measure::Cosine {
        unit(&mut vectors);
    }
    let queries = vectors.split_off(4000);
    let coded = Coded::trained(quantization, measure, &vectors);
    let mut found = 0;
    for query in &queries {
        let truth = nearest(&exact(measure, query, &vectors), k);
        let near = nearest(&coded.distances(query), candidates);
        found += truth.iter().filter(|row| near.contains(row)).count();
    }
    found as f64 / (queries.len() * k) as f64
}

#[test]
fn rescoring_few_candidates_finds_the_nearest() {
    for (quantization, measure) in kinds() {
        let (candidates, least) = match quantization {
            Quantization::Int8 => (20, 0.99),
            Quantization::Int4 => (30, 0.97),
            Quantization::Binary => (100, 0.9),
        };
        let found = recall(quantization, measure, 10, candidates);
        assert!(found >= least, "{quantization:?} {measure:?}: {found}");
    }
}

#[test]
fn eight_bits_rank_as_floats_do() {
    for measure in Measure::ALL {
        let found = recall(Quantization::Int8, measure, 10, 10);
        assert!(found >= 0.95, "{measure:?}: {found}");
    }
}

#[test]
fn errors_are_small_and_without_bias() {
    for dim in [100, 384] {
        let rng = &mut ChaCha8Rng::seed_from_u64(5);
        let mut vectors = clustered(rng, 1100, dim, 20);
        unit(&mut vectors);
        let queries = vectors.split_off(1000);
        for (quantization, measure) in kinds() {
            let coded = Coded::trained(quantization, measure, &vectors);
            let (mut sum, mut squares, mut size) = (0f64, 0f64, 0f64);
            for query in &queries {
                let (found, exact) = (coded.distances(query), exact(measure, query, &vectors));
                for (found, exact) in found.iter().zip(&exact) {
                    let error = f64::from(found - exact);
                    sum += error;
                    squares += error * error;
                    size += f64::from(exact.abs());
                }
            }
            let count = (queries.len() * vectors.len()) as f64;
            // Unit vectors: a product is at most 1, and the error of an estimate falls with the root of the dimensions.
            let (mean, deviation, size) = (sum / count, (squares / count).sqrt(), size / count);
            let relative = match (quantization, measure) {
                (Quantization::Int8, Measure::Manhattan) => 0.01 * size,
                (Quantization::Int4, Measure::Manhattan) => 0.1 * size,
                (Quantization::Int8, _) => 0.05 / (dim as f64).sqrt(),
                (Quantization::Int4, _) => 0.2 / (dim as f64).sqrt(),
                (Quantization::Binary, _) => 1.0 / (dim as f64).sqrt(),
            };
            let most = if measure == Measure::Euclid {
                2.0 * relative
            } else {
                relative
            };
            assert!(
                deviation < most,
                "{quantization:?} {measure:?} {dim}: {deviation}, not below {most}"
            );
            assert!(
                mean.abs() < most / 2.0,
                "{quantization:?} {measure:?} {dim}: bias {mean}, not below half of {most}"
            );
        }
    }
}

#[test]
fn a_vector_is_nearest_to_itself_and_nearly_at_its_distance() {
    let rng = &mut ChaCha8Rng::seed_from_u64(11);
    let vectors = clustered(rng, 300, 96, 30);
    for (quantization, measure) in
        kinds().filter(|(_, measure)| matches!(measure, Measure::Euclid | Measure::Manhattan))
    {
        let coded = Coded::trained(quantization, measure, &vectors);
        for (row, vector) in vectors.iter().enumerate() {
            let found = coded.distances(vector);
            let typical = found.iter().sum::<f32>() / found.len() as f32;
            assert_eq!(nearest(&found, 1), [row], "{quantization:?} {measure:?}");
            assert!(
                found[row].abs() < 0.05 * typical,
                "{quantization:?} {measure:?}: {} of {typical}",
                found[row]
            );
        }
    }
}

#[test]
fn vectors_without_spread_are_compared_all_the_same() {
    for (quantization, measure) in kinds() {
        for dim in [1, 2, 17] {
            for value in [0f32, 1., -2.5, 1e15, 1e-30, f32::MAX] {
                let same = vec![vec![value; dim]; 5];
                let coded = Coded::trained(quantization, measure, &same);
                for query in [vec![value; dim], vec![0.; dim], vec![-value; dim]] {
                    let (found, exact) = (coded.distances(&query), exact(measure, &query, &same));
                    assert!(
                        found.iter().all(|d| !d.is_nan() && *d == found[0]),
                        "{quantization:?} {measure:?} {found:?}"
                    );
                    // Rows at the mean are exact but for the grid of a query, which has nothing to go by here.
                    let on_a_grid = measure == Measure::Manhattan
                        || (quantization == Quantization::Int8 && measure == Measure::Euclid);
                    if value.abs() < 1e16 && !on_a_grid {
                        let most = 1e-5 * exact[0].abs();
                        assert!(
                            (found[0] - exact[0]).abs() <= most,
                            "{quantization:?} {measure:?} {found:?} {exact:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn one_dimension_keeps_its_order() {
    let vectors: Vec<Vec<f32>> = (0..20).map(|i| vec![i as f32]).collect();
    for quantization in [Quantization::Int8, Quantization::Int4] {
        let coded = Coded::trained(quantization, Measure::Euclid, &vectors);
        for (row, vector) in vectors.iter().enumerate() {
            let found = nearest(&coded.distances(vector), 3);
            assert!(found.contains(&row), "{quantization:?}: {row} {found:?}");
        }
    }
}

#[test]
fn constant_dimensions_and_outliers_do_not_spoil_the_rest() {
    let rng = &mut ChaCha8Rng::seed_from_u64(13);
    let mut vectors = clustered(rng, 1010, 64, 20);
    for vector in &mut vectors {
        vector[..10].fill(1e4);
    }
    vectors[17][20] = 1e15;
    let queries = vectors.split_off(1000);
    for quantization in Quantization::ALL {
        // The mean, too, is drawn far off by the outlier: it must not be in the sample for a query to be near anything.
        let sample = refs(&vectors[100..]);
        let codec = Codec::train(quantization, Measure::Euclid, 64, &sample, 1).expect("a codec");
        let coded = Coded::new(codec, &vectors);
        let mut hits = 0;
        for query in &queries {
            let found = coded.distances(query);
            assert!(found.iter().all(|d| !d.is_nan()));
            let truth = nearest(&exact(Measure::Euclid, query, &vectors), 1)[0];
            hits += usize::from(nearest(&found, 100).contains(&truth));
            assert!(!nearest(&found, 100).contains(&17), "{quantization:?}");
        }
        assert!(hits >= 9, "{quantization:?}: {hits}");
    }
}

#[test]
fn an_outlier_in_the_sample_costs_the_grid_no_resolution() {
    let rng = &mut ChaCha8Rng::seed_from_u64(17);
    let mut vectors = clustered(rng, 500, 64, 20);
    let without = Grid::train(8, Measure::Dot, &[0.; 64], &refs(&vectors)).step();
    vectors[3][5] = 1e12;
    let with = Grid::train(8, Measure::Dot, &[0.; 64], &refs(&vectors)).step();
    assert!((0.5..2.0).contains(&(with / without)), "{with} {without}");
}

#[test]
fn padding_of_vectors_is_not_read() {
    for (quantization, measure) in kinds() {
        let sample: Vec<Vec<f32>> = (0..9).map(|i| vec![i as f32, 1., f32::NAN]).collect();
        let codec = Codec::train(quantization, measure, 2, &refs(&sample), 1).expect("a codec");
        let coded = Coded::new(codec, &sample);
        assert!(
            coded
                .distances(&[1., 2., f32::NAN])
                .iter()
                .all(|d| d.is_finite()),
            "{quantization:?} {measure:?}"
        );
    }
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let vector = [1f32, 2.];
    let train =
        |q, m, dim, sample: &[&[f32]]| Codec::train(q, m, dim, sample, 0).expect_err("refused");
    let sample: [&[f32]; 1] = [&vector];
    assert_eq!(
        train(Quantization::Binary, Measure::Manhattan, 2, &sample),
        QuantizeError::BinaryManhattan
    );
    assert_eq!(
        train(Quantization::Int8, Measure::Dot, 0, &sample),
        QuantizeError::Dimensions(0)
    );
    assert_eq!(
        train(
            Quantization::Int8,
            Measure::Dot,
            MOST_DIMENSIONS + 1,
            &sample
        ),
        QuantizeError::Dimensions(MOST_DIMENSIONS + 1)
    );
    assert_eq!(
        train(Quantization::Int8, Measure::Dot, 2, &[]),
        QuantizeError::NoSample
    );
    assert_eq!(
        train(Quantization::Int8, Measure::Dot, 2, &[&[1., f32::INFINITY]]),
        QuantizeError::NotFinite
    );
}

#[test]
fn the_most_dimensions_do_not_overflow() {
    let vectors = [vec![1f32; MOST_DIMENSIONS], vec![-1f32; MOST_DIMENSIONS]].to_vec();
    for (quantization, measure) in kinds() {
        let coded = Coded::trained(quantization, measure, &vectors);
        let (found, exact) = (
            coded.distances(&vectors[0]),
            exact(measure, &vectors[0], &vectors),
        );
        for (found, exact) in found.iter().zip(&exact) {
            let scale = MOST_DIMENSIONS as f32;
            assert!(
                (found - exact).abs() < 0.02 * scale,
                "{quantization:?} {measure:?}: {found} {exact}"
            );
        }
    }
}

#[test]
fn stored_parameters_give_the_same_codes_and_distances() {
    let rng = &mut ChaCha8Rng::seed_from_u64(19);
    let vectors = clustered(rng, 40, 70, 3);
    for (quantization, measure) in kinds() {
        let coded = Coded::trained(quantization, measure, &vectors);
        let bytes = coded.codec.to_bytes();
        let again = Coded::new(Codec::from_bytes(&bytes).expect("a codec"), &vectors);
        assert_eq!(again.codec.to_bytes(), bytes);
        assert_eq!(
            (&again.codes, &again.factors),
            (&coded.codes, &coded.factors)
        );
        assert_eq!(again.distances(&vectors[0]), coded.distances(&vectors[0]));
        assert!(matches!(
            Codec::from_bytes(&bytes[..bytes.len() - 1]),
            Err(QuantizeError::Damaged(_))
        ));
        let mut newer = bytes;
        newer[3] = 2;
        assert!(matches!(
            Codec::from_bytes(&newer),
            Err(QuantizeError::UnknownFormat {
                found: 2,
                supported: 1
            })
        ));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), valid_start: bool, kind in 0usize..11, changed: (usize, u8)) {
        if valid_start {
            let (quantization, measure) = kinds().nth(kind).expect("a kind");
            bytes = Codec::train(quantization, measure, 5, &[&[1., 2., 3., 4., 5.], &[0.; 5]], 1).expect("a codec").to_bytes();
            let at = changed.0 % bytes.len();
            bytes[at] = changed.1;
        }
        if let Ok(codec) = Codec::from_bytes(&bytes) {
            prop_assert_eq!(codec.to_bytes(), bytes);
            let vector = vec![1.5; codec.dim()];
            prop_assert!(Coded::new(codec, std::slice::from_ref(&vector)).distances(&vector).iter().all(|d| !d.is_nan()));
        }
    }

    #[test]
    fn any_finite_numbers_give_numbers(
        vectors in proptest::collection::vec(proptest::collection::vec(-f32::MAX..f32::MAX, 6), 2..8), kind in 0usize..11, exponent in 0i32..45,
    ) {
        let (quantization, measure) = kinds().nth(kind).expect("a kind");
        let scaled: Vec<Vec<f32>> = vectors.iter().map(|v| v.iter().map(|x| x / 10f32.powi(exponent)).collect()).collect();
        let coded = Coded::trained(quantization, measure, &scaled);
        prop_assert!(coded.distances(&scaled[0]).iter().all(|d| !d.is_nan()));
        prop_assert!(coded.distances(&vectors[1]).iter().all(|d| !d.is_nan()));
    }

    #[test]
    fn distances_do_not_depend_on_the_other_rows(picks in proptest::collection::vec(0u32..30, 0..20), kind in 0usize..11) {
        let (quantization, measure) = kinds().nth(kind).expect("a kind");
        let vectors = clustered(&mut ChaCha8Rng::seed_from_u64(23), 30, 40, 4);
        let coded = Coded::trained(quantization, measure, &vectors);
        let all = coded.distances(&vectors[2]);
        let mut out = vec![0.; picks.len()];
        coded.codec.distances(&coded.codec.query(&vectors[2]), &coded.codes, &coded.factors, &picks, &mut out);
        for (out, row) in out.iter().zip(&picks) {
            prop_assert_eq!(out.to_bits(), all[*row as usize].to_bits());
        }
    }
}
