//! Search structures of one immutable segment. No files, no network, no clocks: bytes in, bytes out.
//!
//! Everything here is built once from all of a segment's data and never changed; what is deleted later is told to each
//! search as a predicate over rows. Layouts are the same in memory, on disk and in a bucket.
//!
//! | module | what |
//! |---|---|
//! | [`measure`], [`near`] | how vectors are compared, what a search finds |
//! | [`storage`], [`vectors`] | large arrays, owned or mapped from files |
//! | [`segment_index`] | what every index of dense vectors does |
//! | [`dense`] | the native one |
//! | [`baseline`] | the crate `hnsw_rs`, for comparison |
//! | `graph` | the HNSW graph: built, reused, walked |
//! | `codes` | the quantized codes of all rows |
//! | [`kernels`] | vector instructions, chosen at run time |
//! | [`quantize`] | small codes in place of vectors, approximate distances |
//! | [`sparse`] | sparse vectors and their inverted index |
//! | [`text`] | text as sparse vectors: tokens, BM25 |
//! | [`fusion`] | several ranked lists as one |

pub mod baseline;
mod codes;
pub mod dense;
mod error;
pub mod fusion;
mod graph;
pub mod kernels;
pub mod measure;
pub mod near;
pub mod quantize;
pub mod segment_index;
pub mod sparse;
pub mod storage;
pub mod text;
pub mod vectors;

pub use error::IndexError;

#[cfg(target_endian = "big")]
compile_error!(
    "stored vectors are little-endian and used as they are: big-endian machines are not supported"
);
