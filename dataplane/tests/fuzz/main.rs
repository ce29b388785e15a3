//! The fuzz targets on stable Rust: the inputs that are checked in, and some thousand that are made of them.
//!
//! BRAINY_FUZZ_ROUNDS  how many changed inputs each target gets (default 2,000; of segments and requests a tenth)
//! BRAINY_FUZZ_SEED    from which number they are made (default 1)
//! UPDATE_GOLDEN=1     writes the inputs that every corpus begins with, after a format has changed

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use targets::{TARGETS, Target};

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the library of the fuzz targets, which need all of it"
)]
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

/// Nothing that is read may ask for more, and a good deal of it is threads' stacks.
const MEMORY: u64 = 6 << 30;
/// One input, on a busy machine and without optimisation.
const TIME: Duration = Duration::from_secs(20);

fn corpus(target: &Target) -> PathBuf {
    let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    fuzz.join(target.name)
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Runs one input; what it was is written down if it fails.
fn run(target: &Target, name: &str, bytes: &[u8]) {
    let shown = Shown {
        target,
        name,
        bytes,
    };
    let started = Instant::now();
    (target.run)(bytes);
    let took = started.elapsed();
    assert!(took < TIME, "{} {name} took {took:?}", target.name);
    drop(shown);
}

struct Shown<'a> {
    target: &'a Target,
    name: &'a str,
    bytes: &'a [u8],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self {
                target,
                name,
                bytes,
            } = *self;
            let path = std::env::temp_dir().join(format!("brainy-fuzz-{}", target.name));
            let kept = fs::write(&path, bytes).map(|()| path);
            eprintln!(
                "{} {name}: {} bytes, kept as {kept:?}",
                target.name,
                bytes.len()
            );
        }
    }
}

/// Bytes like `bytes`, with a few changes of the kinds that confuse readers.
fn changed(bytes: &[u8], others: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=bytes.len());
        let left = bytes.len() - at;
        match rng.random_range(0..8) {
            0 if left > 0 => bytes[at] = rng.random(),
            1 if left > 0 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes.truncate(at),
            3 if left >= 4 => {
                let numbers = [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX];
                let number = numbers[rng.random_range(0..numbers.len())];
                bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(number));
            }
            4 => {
                let end = at + rng.random_range(0..=left.min(32));
                bytes.drain(at..end);
            }
            5 => {
                let end = at + rng.random_range(0..=left.min(64));
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            6 => {
                let other = &others[rng.random_range(0..others.len())];
                let from = rng.random_range(0..=other.len());
                let to = (from + rng.random_range(0..64)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let words: [&[u8]; 8] = [
                    b"null",
                    b"-1",
                    b"1e999",
                    b"18446744073709551616",
                    b"[[[[[[[[",
                    b"\"\"",
                    b"{}",
                    b"\xff\xff\xff\xff\xff\xff\xff\xff",
                ];
                let word = words[rng.random_range(0..words.len())];
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
    bytes
}

fn replay(name: &str, rounds: u64) {
    let target = TARGETS.iter().find(|t| t.name == name).unwrap();
    let folder = corpus(target);
    let seeds = (target.seeds)();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (i, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{i:02}")), seed).unwrap();
        }
    }
    let before = getrlimit(Resource::As);
    let current = Some(before.maximum.map_or(MEMORY, |most| most.min(MEMORY)));
    setrlimit(Resource::As, Rlimit { current, ..before }).unwrap();

    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    let inputs: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    for (i, seed) in seeds.iter().enumerate() {
        assert!(
            inputs.contains(seed),
            "{name}: seed {i} is new: UPDATE_GOLDEN=1 writes it"
        );
    }
    for (file, input) in files.iter().zip(&inputs) {
        run(target, &file.display().to_string(), input);
    }
    let seed = number("BRAINY_FUZZ_SEED", 1);
    let mut rng = StdRng::seed_from_u64(seed);
    for round in 0..rounds {
        let input = &inputs[rng.random_range(0..inputs.len())];
        let input = changed(input, &inputs, &mut rng);
        run(target, &format!("round {round} of seed {seed}"), &input);
    }
}

fn rounds() -> u64 {
    number("BRAINY_FUZZ_ROUNDS", 2_000)
}

#[test]
fn archives_of_snapshots() {
    replay("archive", rounds());
}

#[test]
fn messages_to_the_grpc_api() {
    replay("grpc", rounds() / 10);
}

#[test]
fn documents_in_the_bucket() {
    replay("documents", rounds());
}

#[test]
fn objects_of_the_log() {
    replay("log", rounds());
}

#[test]
fn requests_to_the_api() {
    replay("requests", rounds() / 10);
}

#[test]
fn files_of_segments() {
    replay("segment", rounds() / 10);
}

#[test]
fn requests_between_nodes() {
    replay("wire", rounds());
}
