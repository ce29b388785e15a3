//! The index against brute force, and against damaged bytes.

use super::*;
use crate::near::Near;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// What a random segment is like.
#[derive(Clone, Debug)]
struct Shape {
    seed: u64,
    rows: u32,
    /// Rows lie up to this far apart.
    gap: u32,
    terms: u32,
    /// Values are multiples of a quarter from this to the next.
    values: (i32, i32),
}

fn shape(lowest: i32) -> impl Strategy<Value = Shape> {
    (any::<u64>(), 0u32..900, 1u32..12, 1u32..60, 1i32..12).prop_map(
        move |(seed, rows, gap, terms, highest)| Shape {
            seed,
            rows,
            gap,
            terms,
            values: (lowest, highest),
        },
    )
}

/// Few terms are in many rows, many in few.
fn vector(rng: &mut ChaCha8Rng, len: usize, shape: &Shape) -> SparseVector {
    let (low, high) = shape.values;
    let map: BTreeMap<u32, f32> = (0..len)
        .map(|_| {
            let term = (f64::from(shape.terms) * rng.random::<f64>().powi(3)) as u32;
            (
                term.wrapping_mul(0x9e37_79b1),
                rng.random_range(low..=high) as f32 / 4.0,
            )
        })
        .collect();
    let (indices, values) = map.into_iter().unzip();
    SparseVector::new(indices, values).unwrap()
}

fn segment(shape: &Shape) -> (Vec<(u32, SparseVector)>, ChaCha8Rng) {
    let mut rng = ChaCha8Rng::seed_from_u64(shape.seed);
    let mut row = 0;
    let rows = (0..shape.rows)
        .map(|_| {
            row += rng.random_range(1..=shape.gap);
            let len = rng.random_range(0..8);
            (row, vector(&mut rng, len, shape))
        })
        .collect();
    (rows, rng)
}

fn index(rows: &[(u32, SparseVector)]) -> SparseIndex<Vec<u8>> {
    let mut builder = SparseBuilder::new();
    for (row, vector) in rows {
        builder.push(*row, vector).unwrap();
    }
    SparseIndex::open(builder.finish().unwrap()).unwrap()
}

fn brute_force(
    rows: &[(u32, SparseVector)],
    query: &SparseVector,
    k: usize,
    accept: &dyn Fn(u32) -> bool,
) -> Vec<Near> {
    let mut all: Vec<Near> = rows
        .iter()
        .filter(|(row, _)| accept(*row))
        .filter_map(|(row, vector)| {
            Some(Near {
                distance: 0.0 - query.dot(vector)?,
                key: *row,
            })
        })
        .collect();
    all.sort();
    all.truncate(k);
    all
}

fn check(shape: &Shape, query_len: usize, k: usize, every: u32) -> Result<(), TestCaseError> {
    let (rows, mut rng) = segment(shape);
    let index = index(&rows);
    let query = vector(&mut rng, query_len, shape);
    prop_assert_eq!(
        index.search(&query, k, None),
        brute_force(&rows, &query, k, &|_| true)
    );
    let accept = |row: u32| row.is_multiple_of(every);
    prop_assert_eq!(
        index.search(&query, k, Some(&accept)),
        brute_force(&rows, &query, k, &accept)
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn search_equals_brute_force(shape in shape(0), len in 0usize..9, k in 0usize..25, every in 1u32..30) {
        check(&shape, len, k, every)?;
    }

    #[test]
    fn search_with_negative_values_equals_brute_force(shape in shape(-6), len in 0usize..9, k in 0usize..25, every in 1u32..30) {
        check(&shape, len, k, every)?;
    }

    #[test]
    fn frequencies_are_those_of_the_vectors(shape in shape(-6)) {
        let (rows, _) = segment(&shape);
        let index = index(&rows);
        prop_assert_eq!(index.vectors() as usize, rows.iter().filter(|(_, v)| !v.is_empty()).count());
        let mut frequencies: BTreeMap<u32, u32> = BTreeMap::new();
        for term in rows.iter().flat_map(|(_, vector)| vector.indices()) {
            *frequencies.entry(*term).or_default() += 1;
        }
        for (term, frequency) in &frequencies {
            prop_assert_eq!(index.document_frequency(*term), *frequency);
        }
        prop_assert_eq!(index.document_frequency(u32::MAX), 0);
    }

    #[test]
    fn damaged_bytes_never_panic(
        shape in shape(-1),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..6),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let (rows, mut rng) = segment(&shape);
        let mut bytes = index(&rows).as_bytes().to_vec();
        for (at, word) in changes {
            // Small changes, which leave the index plausible, and wild ones.
            let at = at.index(bytes.len() / 4) * 4;
            let old = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let new = if word.is_multiple_of(2) { old ^ (1 << (word / 2 % 32)) } else { word };
            bytes[at..at + 4].copy_from_slice(&new.to_le_bytes());
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(index) = SparseIndex::open(bytes) {
            let found = index.search(&vector(&mut rng, 6, &shape), 10, None);
            prop_assert!(found.len() <= 10);
        }
    }
}

#[test]
fn many_windows_and_blocks_equal_brute_force() {
    for seed in 0..6 {
        let shape = Shape {
            seed,
            rows: 20_000,
            gap: 3,
            terms: 3_000,
            values: (1, 400),
        };
        let (rows, mut rng) = segment(&shape);
        let index = index(&rows);
        for len in [1, 2, 5, 30] {
            let query = vector(&mut rng, len, &shape);
            for k in [1, 10, 1000] {
                assert_eq!(
                    index.search(&query, k, None),
                    brute_force(&rows, &query, k, &|_| true),
                    "seed {seed}, {len} terms, k {k}"
                );
            }
        }
    }
}

#[test]
fn rows_at_the_end_of_the_numbers_are_found() {
    let one = SparseVector::new(vec![7], vec![1.0]).unwrap();
    let rows = [
        (0, one.clone()),
        (u32::MAX - 1, one.clone()),
        (u32::MAX, one.clone()),
    ];
    assert_eq!(
        index(&rows).search(&one, 5, None),
        brute_force(&rows, &one, 5, &|_| true)
    );
}

#[test]
fn values_at_the_end_of_the_numbers_give_finite_scores() {
    let huge = SparseVector::new(vec![1, 2], vec![f32::MAX, f32::MAX]).unwrap();
    let mixed = SparseVector::new(vec![1, 2], vec![f32::MAX, f32::MIN]).unwrap();
    let tiny = SparseVector::new(vec![1], vec![f32::from_bits(1)]).unwrap();
    let rows = [(3, huge.clone()), (4, mixed.clone()), (5, tiny.clone())];
    let index = index(&rows);
    for query in [&huge, &mixed, &tiny] {
        let found = index.search(query, 5, None);
        assert_eq!(found, brute_force(&rows, query, 5, &|_| true));
        assert!(found.iter().all(|near| near.distance.is_finite()));
    }
}

#[test]
fn accept_is_asked_about_few_rows() {
    let shape = Shape {
        seed: 1,
        rows: 20_000,
        gap: 1,
        terms: 500,
        values: (1, 400),
    };
    let (rows, mut rng) = segment(&shape);
    let index = index(&rows);
    let query = vector(&mut rng, 5, &shape);
    let asked = std::cell::Cell::new(0);
    let found = index.search(
        &query,
        10,
        Some(&|_| {
            asked.set(asked.get() + 1);
            true
        }),
    );
    assert_eq!(found.len(), 10);
    assert!(asked.get() < 500, "{} of 20000", asked.get());
}

#[test]
fn what_is_wrong_with_the_bytes_is_named() {
    let one = SparseVector::new(vec![7], vec![1.0]).unwrap();
    let mut builder = SparseBuilder::new();
    builder.push(4, &one).unwrap();
    assert_eq!(
        builder.push(4, &one),
        Err(SparseError::RowOrder {
            row: 4,
            previous: 4
        })
    );
    let bytes = builder.finish().unwrap();

    let mut newer = bytes.clone();
    newer[8] = 2;
    assert_eq!(
        SparseIndex::open(newer).unwrap_err(),
        SparseError::UnknownFormat {
            found: 2,
            supported: 1
        }
    );
    let mut longer = bytes.clone();
    longer.push(0);
    for wrong in [b"".to_vec(), vec![1; 100], bytes[..80].to_vec(), longer] {
        assert!(matches!(
            SparseIndex::open(wrong),
            Err(SparseError::Damaged(_))
        ));
    }
}

#[test]
fn an_empty_index_has_nothing() {
    let index = index(&[(3, SparseVector::default())]);
    assert_eq!(index.vectors(), 0);
    let query = SparseVector::new(vec![7], vec![1.0]).unwrap();
    assert!(index.search(&query, 5, None).is_empty());
    assert_eq!(index.memory_bytes(), index.as_bytes().len());
}
