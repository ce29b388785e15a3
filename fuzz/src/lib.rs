//! What the fuzz targets do with their bytes: read them as Brainy reads an object, a file, a request. Whatever they are, it is a
//! value or an error: no panic, no endless loop, no gigabytes.
//!
//! `fuzz_targets/` calls these functions with what libFuzzer makes up; the tests of brainy-dataplane call them with the
//! corpora, on stable Rust.

mod archive;
mod documents;
mod grpc;
mod log;
mod requests;
mod segment;
mod wire;

/// A target: its name, what it does, and the inputs that its corpus begins with.
pub struct Target {
    /// Name of the binary, and of the folder below `corpus`.
    pub name: &'static str,
    /// Panics if something is wrong.
    pub run: fn(&[u8]),
    /// Inputs that are well-formed, or nearly.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: [Target; 7] = [
    Target {
        name: "archive",
        run: archive::run,
        seeds: archive::seeds,
    },
    Target {
        name: "grpc",
        run: grpc::run,
        seeds: grpc::seeds,
    },
    Target {
        name: "documents",
        run: documents::run,
        seeds: documents::seeds,
    },
    Target {
        name: "log",
        run: log::run,
        seeds: log::seeds,
    },
    Target {
        name: "requests",
        run: requests::run,
        seeds: requests::seeds,
    },
    Target {
        name: "segment",
        run: segment::run,
        seeds: segment::seeds,
    },
    Target {
        name: "wire",
        run: wire::run,
        seeds: wire::seeds,
    },
];

/// Runs a target by name.
///
/// # Panics
/// If something is wrong, or if there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => (target.run)(bytes),
        None => panic!("there is no target {name}"),
    }
}
