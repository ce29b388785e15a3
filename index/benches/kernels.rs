//! Time per row of each kernel in each set that runs here, over more rows than the caches hold, in random order and in batches
//! as a graph walk asks for them; then what a codec adds: making a code, making a query.
//!
//!     cargo bench -p brainy-index --bench kernels -- 'avx2/.*/384'

use std::hint::black_box;

use brainy_index::kernels::{FLOATS, Kernels, supported};
use brainy_index::measure::Measure;
use brainy_index::quantize::{CodeQuery, Codec, Quantization, Scratch};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const DIMENSIONS: [usize; 3] = [128, 384, 784];
/// Bytes of a matrix.
const BYTES: usize = 64 << 20;
/// Rows asked for at once: the neighbours of a node.
const BATCH: usize = 32;

/// A kernel over codes and its query: stride, rows, places for the results.
type Call<'a> = &'a dyn Fn(usize, &[u32], &mut [i32]);

/// 64 bytes as a segment's vectors are aligned.
fn aligned<T: bytemuck::Pod>(data: &[T]) -> &[T] {
    let skip = data.as_ptr().align_offset(64);
    &data[skip..]
}

/// Calls `batch` with a new part of a random permutation of the rows each time, and counts rows.
fn measure_batches(
    criterion: &mut Criterion,
    group: &str,
    name: &str,
    rows: usize,
    mut batch: impl FnMut(&[u32]),
) {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(1));
    let mut batches = order.chunks_exact(BATCH).cycle();
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| batches.next().into_iter().for_each(&mut batch))
    });
    group.finish();
}

fn random_bytes(len: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    (0..len).map(|_| rng.random()).collect()
}

fn floats(criterion: &mut Criterion) {
    let data: Vec<f32> = random_bytes(BYTES / 4 + FLOATS)
        .into_iter()
        .map(f32::from)
        .collect();
    let data = aligned(&data);
    for set in supported() {
        for dim in DIMENSIONS {
            let stride = dim.next_multiple_of(FLOATS);
            for (name, measure) in [
                ("dot", Measure::Dot),
                ("euclid", Measure::Euclid),
                ("manhattan", Measure::Manhattan),
            ] {
                let kernel = set.rows(measure);
                let mut out = [0f32; BATCH];
                measure_batches(
                    criterion,
                    &format!("{}/{name}", set.name),
                    &dim.to_string(),
                    data.len() / stride,
                    |rows| {
                        kernel(black_box(&data[..stride]), data, stride, rows, &mut out);
                        black_box(&out);
                    },
                );
            }
        }
    }
}

fn codes(criterion: &mut Criterion) {
    let data = random_bytes(BYTES + 64);
    let data = aligned(&data);
    let small: Vec<u8> = data[..4096].iter().map(|x| x & 15).collect();
    let mut run = |set: &'static Kernels, name: &str, dim: usize, stride: usize, call: Call| {
        let mut out = [0i32; BATCH];
        measure_batches(
            criterion,
            &format!("{}/{name}", set.name),
            &dim.to_string(),
            BYTES / stride,
            |rows| {
                call(stride, rows, &mut out);
                black_box(&out);
            },
        );
    };
    let signed: &[i8] = bytemuck::cast_slice(data);
    for set in supported() {
        for dim in DIMENSIONS {
            let (eight, four) = (dim.next_multiple_of(64), dim.next_multiple_of(128) / 2);
            let one = (dim / 8).next_power_of_two();
            run(set, "dot8", dim, eight, &|stride, rows, out| {
                (set.dot8)(&signed[..stride], data, stride, rows, out)
            });
            run(set, "sad8", dim, eight, &|stride, rows, out| {
                (set.sad8)(&data[..stride], data, stride, rows, out)
            });
            run(set, "dot4", dim, four, &|stride, rows, out| {
                (set.dot4)(&signed[..2 * stride], data, stride, rows, out)
            });
            run(set, "sad4", dim, four, &|stride, rows, out| {
                (set.sad4)(&small[..2 * stride], data, stride, rows, out)
            });
            run(set, "bits", dim, one, &|stride, rows, out| {
                (set.bits)(&data[..6 * stride], data, stride, rows, out)
            });
        }
    }
}

fn codecs(criterion: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for dim in DIMENSIONS {
        let vectors: Vec<Vec<f32>> = (0..256)
            .map(|_| (0..dim).map(|_| rng.random_range(-1f32..1.)).collect())
            .collect();
        let sample: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        for quantization in Quantization::ALL {
            let Ok(codec) = Codec::train(quantization, Measure::Euclid, dim, &sample, 1) else {
                continue;
            };
            let (mut code, mut factors) = (vec![0; codec.stride()], vec![0.; codec.factors()]);
            let (mut scratch, mut query) = (Scratch::default(), CodeQuery::default());
            let mut next = vectors.iter().cycle();
            let mut group = criterion.benchmark_group(format!("{quantization:?}"));
            group.bench_function(format!("encode/{dim}"), |bencher| {
                bencher.iter(|| {
                    next.next()
                        .into_iter()
                        .for_each(|v| codec.encode(v, &mut code, &mut factors, &mut scratch))
                })
            });
            group.bench_function(format!("query/{dim}"), |bencher| {
                bencher.iter(|| {
                    next.next()
                        .into_iter()
                        .for_each(|v| codec.query_into(v, &mut query))
                })
            });
            group.finish();
        }
    }
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(600));
    targets = floats, codes, codecs
}
criterion_main!(all);
