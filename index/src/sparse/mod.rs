//! Sparse vectors, and an inverted index of a segment's.
//!
//! | file | what |
//! |---|---|
//! | `vector.rs` | a vector: values at some of 2^32 dimensions |

mod error;
mod vector;

pub use error::SparseError;
pub use vector::SparseVector;
