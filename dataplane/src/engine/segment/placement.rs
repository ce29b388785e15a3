//! Where the parts of an open segment are: held in memory, or left in their files and read piece by piece.
//!
//! A part that is not held takes no memory, and searches give the same answers: they read the links, codes, vectors and payloads
//! that they come by, each with a request of its own. Row tables, sparse vectors with their lists, and payload indexes are always
//! held ([`Segment::fixed_bytes`]).

use std::any::Any;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use brainy_index::storage::Source;

use super::Segment;

/// A kind of part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Links of the graphs.
    Graph,
    /// Quantized codes.
    Codes,
    /// Full vectors. Where there are codes a search reads few of them, and what is held is mapped from its file.
    Vectors,
    /// Payloads.
    Payloads,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Graph, Self::Codes, Self::Vectors, Self::Payloads];

    fn is_of(self, file: &str) -> bool {
        match self {
            Self::Graph => file.starts_with("graph-"),
            Self::Codes => file.starts_with("codes-"),
            Self::Vectors => file.starts_with("vectors-"),
            Self::Payloads => file == "payload.bin",
        }
    }
}

/// Which parts are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement([bool; 4]);

impl Placement {
    /// Everything.
    pub const ALL: Self = Self([true; 4]);
    /// Nothing.
    pub const NONE: Self = Self([false; 4]);

    /// Whether `part` is held.
    #[must_use]
    pub fn holds(self, part: Part) -> bool {
        self.0[part as usize]
    }

    /// The same with `part` held or not.
    #[must_use]
    pub fn with(mut self, part: Part, held: bool) -> Self {
        self.0[part as usize] = held;
        self
    }
}

/// The files of one segment, and the memory for what is held of them.
pub trait Files: Send + Sync {
    /// A file by its name, and how many bytes it has.
    ///
    /// # Errors
    /// `NotFound`, or those of the medium.
    fn source(&self, name: &str) -> io::Result<(Arc<dyn Source>, u64)>;

    /// Where it is on the local disk, if it is there.
    fn path(&self, name: &str) -> Option<PathBuf>;

    /// Takes `bytes` of memory for a part. What is returned gives them back when it is dropped; `None`: there are not as many.
    fn hold(&self, bytes: u64) -> Option<Guard>;

    /// Takes `bytes` of memory that a segment cannot be without.
    fn hold_fixed(&self, bytes: u64) -> Guard;

    /// Whether the files were verified before, so that what is left in them need not be read.
    fn is_verified(&self) -> bool {
        false
    }
}

/// Accounts for memory until it is dropped.
pub type Guard = Box<dyn Any + Send + Sync>;

/// Files in a directory, and memory without limit.
pub(super) struct Directory<'p>(pub(super) &'p Path);

impl Files for Directory<'_> {
    fn source(&self, name: &str) -> io::Result<(Arc<dyn Source>, u64)> {
        open_file(&self.0.join(name))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.0.join(name))
    }

    fn hold(&self, _bytes: u64) -> Option<Guard> {
        Some(Box::new(()))
    }

    fn hold_fixed(&self, _bytes: u64) -> Guard {
        Box::new(())
    }
}

/// A local file and its length.
///
/// # Errors
/// Those of the disk.
pub fn open_file(path: &Path) -> io::Result<(Arc<dyn Source>, u64)> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok((Arc::new(file), bytes))
}

/// How often the parts of a segment were asked.
#[derive(Debug, Default)]
pub(super) struct Uses {
    pub(super) searches: AtomicU64,
    pub(super) payloads: AtomicU64,
}

/// One part of an open segment, for who decides what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartUse {
    /// Which.
    pub part: Part,
    /// Its size.
    pub bytes: u64,
    /// Whether it is held.
    pub held: bool,
    /// Pieces of it that were read, about: since the segment was opened.
    pub reads: u64,
    /// Pieces that one search reads, about.
    pub per_search: u64,
}

impl Segment {
    /// Which parts are held.
    #[must_use]
    pub fn placement(&self) -> Placement {
        let dense = |paged: &dyn Fn(&super::DenseField) -> bool| {
            !self.dense.iter().any(|field| paged(field.as_ref()))
        };
        Placement::NONE
            .with(Part::Graph, dense(&|f| f.is_paged(Part::Graph)))
            .with(Part::Codes, dense(&|f| f.is_paged(Part::Codes)))
            .with(Part::Vectors, dense(&|f| f.is_paged(Part::Vectors)))
            .with(Part::Payloads, !self.payloads.is_paged())
    }

    /// Its parts, those that have no bytes left out.
    #[must_use]
    pub fn part_uses(&self) -> Vec<PartUse> {
        /// What a walk of usual width does: nodes whose links it follows, rows that it compares, those that it compares again, and
        /// points that are returned.
        const STEPS: [u64; 4] = [150, 1500, 30, 10];
        let placement = self.placement();
        let searches = self.uses.searches.load(Ordering::Relaxed);
        let payloads = self.uses.payloads.load(Ordering::Relaxed);
        let walks_vectors = self.dense.iter().any(|field| !field.has_codes());
        let of = |part: Part| {
            let files = self.meta.files.iter().filter(|f| part.is_of(&f.name));
            let [links, rows, again, found] = STEPS;
            let (reads, per_search) = match part {
                Part::Graph => (searches * links, links),
                Part::Codes => (searches * rows, rows),
                Part::Vectors if walks_vectors => (searches * rows, rows),
                Part::Vectors => (searches * again, again),
                Part::Payloads => (payloads, found),
            };
            PartUse {
                part,
                bytes: files.map(|f| f.bytes).sum(),
                held: placement.holds(part),
                reads,
                per_search,
            }
        };
        Part::ALL
            .map(of)
            .into_iter()
            .filter(|part| part.bytes > 0)
            .collect()
    }

    /// Bytes of payload indexes that were built since the segment was opened: nothing accounts for them.
    #[must_use]
    pub fn grown_bytes(&self) -> usize {
        let indexes = self.payload_index.read().memory_bytes();
        indexes.saturating_sub(self.fixed.indexes)
    }

    /// Bytes that are held whatever its placement.
    #[must_use]
    pub fn fixed_bytes(&self) -> usize {
        let parts = self.dense.iter().map(|field| field.part_memory());
        self.memory_bytes() - parts.sum::<usize>() - self.payloads.memory_bytes()
            // The marks of rows that were superseded, and what walks mark where they were: four are kept.
            + self.rows() * size_of::<u64>()
            + if self.has_graph() { self.rows() * 8 } else { 0 }
    }
}
