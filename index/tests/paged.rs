//! An index whose bytes stay in files finds what one in memory finds.

#![allow(clippy::unwrap_used)]

use std::io::{Seek, Write};
use std::sync::Arc;

use brainy_index::dense::{BuildOptions, Index, Params, Parts, Reuse, Search};
use brainy_index::measure::Measure;
use brainy_index::quantize::Quantization;
use brainy_index::storage::{Storage, take_failure};
use brainy_index::vectors::Vectors;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ROWS: usize = 3000;

/// Random vectors, a tenth of them copies.
fn vectors(dim: usize) -> (Vectors, Vec<Vec<f32>>) {
    let mut random = ChaCha8Rng::seed_from_u64(dim as u64);
    let mut rows: Vec<Vec<f32>> = Vec::new();
    for i in 0..ROWS {
        let row = if i % 10 == 9 {
            rows[i / 2].clone()
        } else {
            (0..dim).map(|_| random.random_range(-1.0..1.0)).collect()
        };
        rows.push(row);
    }
    let all = Vectors::from_rows(dim, rows.iter().map(Vec::as_slice)).unwrap();
    (all, rows)
}

/// The bytes in a file behind a header, as segments have them.
fn paged(bytes: &[u8]) -> Storage {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[7; 64]).unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    Storage::paged(Arc::new(file), 64, bytes.len())
}

#[test]
fn paged_parts_give_the_same_answers_as_those_in_memory() {
    for (dim, measure, quantization) in [
        (24, Measure::Euclid, None),
        (24, Measure::Manhattan, Some(Quantization::Int8)),
        (96, Measure::Dot, Some(Quantization::Int8)),
        (96, Measure::Euclid, Some(Quantization::Int4)),
        (96, Measure::Dot, Some(Quantization::Binary)),
    ] {
        let (held, rows) = vectors(dim);
        let params = Params {
            measure,
            m: 8,
            ef_construct: 60,
            quantization,
        };
        let index = Index::build(&held, &params, BuildOptions::default()).unwrap();
        let parts = index.parts();
        let left = Vectors::from_storage(paged(held.as_bytes()), dim, ROWS).unwrap();
        let stored = Parts {
            graph: paged(parts.graph),
            codes: parts.codes.map(paged),
        };
        let all_paged = Index::open(stored, ROWS, dim, measure).unwrap();
        let codes_held = all_paged
            .moved(
                &left,
                None,
                parts.codes.map(|b| Storage::copy_of(b).unwrap()),
            )
            .unwrap();
        assert!(left.is_paged() && left.memory_bytes() == 0);
        assert!(all_paged.memory_bytes() < index.memory_bytes() / 4);
        let third = |row: u32| row.is_multiple_of(3);
        for (i, query) in rows.iter().step_by(97).enumerate() {
            for search in [
                Search::new(10, 80),
                Search {
                    ignore_codes: true,
                    ..Search::new(25, 40)
                },
            ] {
                let accept = (i % 2 == 0).then_some(&third as &dyn Fn(u32) -> bool);
                let wanted = index.search(&held, query, &search, accept);
                assert_eq!(wanted.len(), search.k);
                for index in [&all_paged, &codes_held] {
                    assert_eq!(index.search(&left, query, &search, accept), wanted);
                }
                let some = || (0..ROWS as u32).step_by(7);
                let scanned = index.scan(&held, query, &search, some());
                assert_eq!(all_paged.scan(&left, query, &search, some()), scanned);
            }
        }
        assert!(take_failure().is_none());
        // A paged graph is built on like one in memory.
        let moved: Vec<Option<u32>> = (0..ROWS as u32).map(Some).collect();
        let merge = |index| {
            let reuse = Reuse {
                index,
                moved: &moved,
            };
            Index::merge(&held, &params, BuildOptions::default(), reuse).unwrap()
        };
        let (one, other) = (merge(&index), merge(&all_paged));
        assert_eq!(one.parts().graph, other.parts().graph);
    }
}

#[test]
fn a_file_that_shrinks_is_an_error_and_no_panic() {
    let (held, rows) = vectors(24);
    let params = Params {
        measure: Measure::Euclid,
        m: 8,
        ef_construct: 60,
        quantization: None,
    };
    let index = Index::build(&held, &params, BuildOptions::default()).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(index.parts().graph).unwrap();
    let cut = file.try_clone().unwrap();
    let graph = Storage::paged(Arc::new(file), 0, index.parts().graph.len());
    let parts = Parts { graph, codes: None };
    let opened = Index::open(parts, ROWS, 24, Measure::Euclid).unwrap();
    cut.set_len(256).unwrap();
    let _worthless = opened.search(&held, &rows[0], &Search::new(5, 30), None);
    assert!(take_failure().is_some());
    // And what does not lead to rows is refused when it is opened.
    let mut words: Vec<u32> = bytemuck::cast_slice(index.parts().graph).to_vec();
    words[40] = ROWS as u32;
    let parts = Parts {
        graph: paged(bytemuck::cast_slice(&words)),
        codes: None,
    };
    let error = Index::open(parts, ROWS, 24, Measure::Euclid).unwrap_err();
    assert!(error.to_string().contains("layer 0"), "{error}");
}
