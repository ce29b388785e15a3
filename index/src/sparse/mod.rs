//! Sparse vectors, and an inverted index of a segment's.
//!
//! | file | what |
//! |---|---|
//! | `vector.rs` | a vector: values at some of 2^32 dimensions |
//! | `format.rs` | the bytes of an index |
//! | `builder.rs` | vectors to these bytes |
//! | `index.rs` | the lists in them |
//! | `search.rs` | the rows with the highest dot product |

mod builder;
mod error;
mod format;
mod index;
mod search;
#[cfg(test)]
mod tests;
mod vector;

pub use builder::SparseBuilder;
pub use error::SparseError;
pub use index::SparseIndex;
pub use vector::SparseVector;
