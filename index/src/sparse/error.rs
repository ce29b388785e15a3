//! What can be wrong with sparse vectors and their index.

/// Why a sparse vector or an index of them cannot be made or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SparseError {
    /// `indices` and `values` do not belong together.
    #[error(
        "a sparse vector has {indices} indices and {values} values: give one value for each index"
    )]
    Lengths {
        /// Number of indices.
        indices: usize,
        /// Number of values.
        values: usize,
    },
    /// An index is given twice.
    #[error("a sparse vector has index {index} more than once: add up its values")]
    Duplicate {
        /// The index.
        index: u32,
    },
    /// A value is infinite or not a number.
    #[error("a sparse vector's value at index {index} is not a finite number")]
    NotFinite {
        /// The index.
        index: u32,
    },
    /// Rows must be shown to the builder in ascending order.
    #[error(
        "row {row} follows row {previous}: rows of a sparse index are built in ascending order"
    )]
    RowOrder {
        /// The row that came too late, or twice.
        row: u32,
        /// The one before.
        previous: u32,
    },
    /// The offsets of the format would overflow.
    #[error(
        "a sparse index holds at most {} values, this segment has more: use more partitions",
        u32::MAX
    )]
    TooLarge,
    /// Stored bytes do not hold what they should.
    #[error("sparse index: {0}")]
    Damaged(String),
    /// Written by another version.
    #[error(
        "the sparse index has format version {found}, this version reads {supported}: use the version that wrote it, or newer"
    )]
    UnknownFormat {
        /// The version found.
        found: u32,
        /// The version that can be read.
        supported: u32,
    },
}
