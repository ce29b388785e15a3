//! The HNSW graph (Malkov and Yashunin, 2016, arXiv:1603.09320) over the rows of one segment.
//!
//! A graph is built once and never changed. It holds row numbers only; distances come from a [`Scorer`], so that the same
//! walk runs over floats and over quantized codes. Rows with the same vector are one node: of many copies the first is in the
//! graph, the others hang on it ([`duplicates`]), or copies would fill each other's lists and lose the way to the rest.
//! Every row can be reached from the entry point ([`repair`]).
//!
//! # Layout
//! 32-bit little-endian words, the same in memory, on disk and in a bucket; lists have a fixed length, `NONE` fills what is
//! left, and links of a layer above the lowest are positions in that layer, so that following one is one look-up.
//!
//! ```text
//! header (32 words): version, rows, m, layers, entry (position in the highest layer), copies, 0, 0, nodes of layer 0, 1, ...
//! layer 0:           rows x 2m links
//! layer i:           nodes x row; nodes x position in layer i - 1 (from layer 2 on); nodes x m links
//! copies:            per copy the row that stands for it, ascending; per copy its row
//! ```
//!
//! Memory of a row: 8 m bytes, and (4 m + 4) / (m - 1) for the layers above: 132 bytes at m = 16.

pub(crate) mod build;
pub(crate) mod duplicates;
pub(crate) mod hnsw_rs;
mod paged;
pub(crate) mod repair;
pub(crate) mod reuse;
pub(crate) mod space;
pub(crate) mod walk;

use std::ops::Range;

use parking_lot::Mutex;

use crate::error::IndexError;
use crate::near::Near;
use crate::storage::Storage;
use paged::PagedLinks;
use walk::{Layer, NONE, Scorer, Scratch};

/// Format version.
const VERSION: u32 = 1;
/// Words of the header.
const HEADER: usize = 32;
/// Most layers; the chance that a row would reach a higher one is m^-16.
pub(crate) const MAX_LAYERS: usize = 16;
/// Most rows of a graph: walks use the highest bit of a row for themselves.
pub(crate) const MAX_ROWS: usize = (1 << 31) - 1;
/// Work areas kept for the next searches.
const IDLE: usize = 4;
/// A work area larger than this is not kept.
const IDLE_BYTES: usize = 64 << 20;

const PART: &str = "graph";

/// A finished graph.
#[derive(Debug)]
pub(crate) struct Graph {
    /// All of it; without the links of layer 0 where these are paged.
    words: Storage,
    /// The links of layer 0, if they are not in memory.
    base: Option<PagedLinks>,
    rows: u32,
    m: usize,
    entry: u32,
    /// Its row.
    entry_row: u32,
    /// Layer 0 first.
    layers: Vec<Place>,
    /// Rows that stand for copies, one entry a copy, and the copies.
    copies: [Range<usize>; 2],
    /// Work areas of finished searches.
    idle: Mutex<Vec<Scratch>>,
}

/// Where a layer's parts are, in words.
#[derive(Clone, Debug)]
struct Place {
    /// Empty in layer 0, where positions are rows.
    rows: Range<usize>,
    /// Empty in layers 0 and 1: below layer 1 positions are rows.
    down: Range<usize>,
    links: Range<usize>,
    cap: usize,
}

/// What a graph is packed from: per layer its rows (empty in layer 0) and its links in positions, `cap` a node.
#[derive(Debug)]
pub(crate) struct Packing {
    pub(crate) rows: u32,
    pub(crate) m: usize,
    /// Position in the highest layer.
    pub(crate) entry: u32,
    /// Rows of the layers above the lowest, ascending.
    pub(crate) upper: Vec<Vec<u32>>,
    /// Links of every layer.
    pub(crate) links: Vec<Vec<u32>>,
    /// (row that stands for it, copy), ascending.
    pub(crate) copies: Vec<(u32, u32)>,
}

/// Links of a node in a layer.
pub(crate) fn cap(m: usize, layer: usize) -> usize {
    if layer == 0 { 2 * m } else { m }
}

impl Graph {
    /// Lays a graph out.
    ///
    /// # Errors
    /// [`IndexError::Memory`].
    pub(crate) fn pack(packing: Packing) -> Result<Self, IndexError> {
        let Packing {
            rows,
            m,
            entry,
            upper,
            links,
            copies,
        } = packing;
        let mut header = [0u32; HEADER];
        header[..6].copy_from_slice(&[
            VERSION,
            rows,
            m as u32,
            links.len() as u32,
            entry,
            copies.len() as u32,
        ]);
        header[8] = rows;
        for (slot, nodes) in header[9..].iter_mut().zip(&upper) {
            *slot = nodes.len() as u32;
        }
        let layers = places(&header);
        let total = HEADER
            + links.iter().map(Vec::len).sum::<usize>()
            + upper
                .iter()
                .enumerate()
                .map(|(i, nodes)| nodes.len() * if i == 0 { 1 } else { 2 })
                .sum::<usize>()
            + 2 * copies.len();
        let mut storage = Storage::zeroed(total * 4).map_err(|error| IndexError::Memory {
            what: "the graph",
            bytes: total * 4,
            error,
        })?;
        let words: &mut [u32] = bytemuck::cast_slice_mut(storage.bytes_mut());
        words[..HEADER].copy_from_slice(&header);
        let mut below: &[u32] = &[];
        for (i, (place, links)) in layers.iter().zip(&links).enumerate() {
            words[place.links.clone()].copy_from_slice(links);
            let Some(nodes) = i.checked_sub(1).and_then(|i| upper.get(i)) else {
                continue;
            };
            words[place.rows.clone()].copy_from_slice(nodes);
            for (word, row) in words[place.down.clone()].iter_mut().zip(nodes) {
                // Every row of a layer is in the layer below.
                *word = below.binary_search(row).unwrap_or(0) as u32;
            }
            below = nodes;
        }
        let start = total - 2 * copies.len();
        for (i, (standing, copy)) in copies.iter().enumerate() {
            words[start + i] = *standing;
            words[start + copies.len() + i] = *copy;
        }
        Self::open(storage, rows as usize)
    }

    /// The graph whose bytes are `words`, as [`Self::as_bytes`] gave them, of a segment of `rows` rows. Whatever the bytes, a
    /// graph that is returned can be searched without leaving its bounds.
    ///
    /// # Errors
    /// [`IndexError::UnknownFormat`], or [`IndexError::Damaged`] with what does not fit.
    pub(crate) fn open(storage: Storage, rows: usize) -> Result<Self, IndexError> {
        if storage.is_paged() {
            return paged::open(storage, rows);
        }
        let bytes = storage.as_bytes();
        let Ok(words) = bytemuck::try_cast_slice::<u8, u32>(bytes) else {
            return Err(IndexError::damaged(PART, "it is not made of whole words"));
        };
        let header = words
            .first_chunk::<HEADER>()
            .ok_or_else(|| IndexError::damaged(PART, "it is shorter than its header"))?;
        let [version, stored_rows, m, layer_count, entry, copies, ..] = *header;
        if version != VERSION {
            return Err(IndexError::UnknownFormat {
                part: PART,
                found: version,
                supported: VERSION,
            });
        }
        check_header(header, rows)?;
        let layers = places(header);
        let end = layers.last().map_or(HEADER, |l| l.links.end);
        let copies = copies as usize;
        if words.len() != end + 2 * copies {
            return Err(IndexError::damaged(
                PART,
                "its length does not fit its header",
            ));
        }
        let copies = [end..end + copies, end + copies..end + 2 * copies];
        for (i, place) in layers.iter().enumerate() {
            check_layer(words, place, i, header)
                .map_err(|reason| IndexError::damaged(PART, format!("layer {i}: {reason}")))?;
        }
        check_copies(words, &copies, stored_rows)?;
        debug_assert_eq!(layers.len(), layer_count as usize);
        Ok(Self {
            rows: stored_rows,
            m: m as usize,
            entry,
            entry_row: layers
                .last()
                .and_then(|top| words[top.rows.clone()].get(entry as usize).copied())
                .unwrap_or(entry),
            layers,
            copies,
            idle: Mutex::new(Vec::new()),
            words: storage,
            base: None,
        })
    }

    /// The same with all of it in memory, if it is not.
    ///
    /// # Errors
    /// [`IndexError::Memory`], also for what cannot be read.
    pub(crate) fn loaded(&self) -> Result<Option<Self>, IndexError> {
        let Some(base) = &self.base else {
            return Ok(None);
        };
        let storage = base.file().load().map_err(|error| IndexError::Memory {
            what: "the graph",
            bytes: base.file().len(),
            error,
        })?;
        Self::open(storage, self.rows as usize).map(Some)
    }

    /// What is stored.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.words.as_bytes()
    }

    /// Bytes that this process holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        let idle: usize = self.idle.lock().iter().map(Scratch::bytes).sum();
        self.words.memory_bytes() + idle
    }

    /// The same without work areas.
    pub(crate) fn part_memory(&self) -> usize {
        self.words.memory_bytes()
    }

    /// Whether the links of its lowest layer are not in memory.
    pub(crate) fn is_paged(&self) -> bool {
        self.base.is_some()
    }

    pub(crate) fn rows(&self) -> u32 {
        self.rows
    }

    pub(crate) fn m(&self) -> usize {
        self.m
    }

    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    fn words(&self) -> &[u32] {
        bytemuck::cast_slice(self.words.as_bytes())
    }

    /// One layer of it.
    pub(crate) fn layer(&self, layer: usize) -> Stored<'_> {
        let words = self.words();
        let place = &self.layers[layer];
        Stored {
            rows: &words[place.rows.clone()],
            down: &words[place.down.clone()],
            links: &words[place.links.clone()],
            cap: place.cap,
        }
    }

    /// The other rows with the vector of `row`.
    pub(crate) fn copies_of(&self, row: u32) -> &[u32] {
        let words = self.words();
        let [standing, copies] = self.copies.clone().map(|range| &words[range]);
        let start = standing.partition_point(|s| *s < row);
        let end = start + standing[start..].partition_point(|s| *s == row);
        &copies[start..end]
    }

    /// Whether any row is a copy of another.
    pub(crate) fn has_copies(&self) -> bool {
        !self.copies[0].is_empty()
    }

    /// (row that stands for it, copy) of every copy.
    pub(crate) fn copies(&self) -> impl Iterator<Item = (u32, u32)> {
        let words = self.words();
        let [standing, copies] = self.copies.clone().map(|range| &words[range]);
        standing.iter().copied().zip(copies.iter().copied())
    }

    /// The about `ef` nearest nodes, nearest first. With `accept` those that it, given a row, lets through: others are walked
    /// through but not collected. With `accept`, `None` if more than `budget` nodes would have to be compared.
    ///
    /// Copies are not looked at; see [`Self::copies_of`].
    pub(crate) fn search(
        &self,
        scorer: &impl Scorer,
        ef: usize,
        accept: Option<&dyn Fn(u32) -> bool>,
        budget: usize,
    ) -> Option<Vec<Near>> {
        let mut scratch = self.idle.lock().pop().unwrap_or_default();
        let top = self.layers.len() - 1;
        let mut node = self.entry;
        for layer in (1..=top).rev() {
            let layer = self.layer(layer);
            node = layer.below(walk::descend(&layer, scorer, node, &mut scratch));
        }
        // The entry point leads to every row, wherever the descent ended.
        let from = [node, self.entry_row];
        let found = match &self.base {
            None => {
                let base = self.layer(0);
                walk_base(&base, scorer, &from, ef, accept, budget, &mut scratch)
            }
            Some(base) => walk_base(base, scorer, &from, ef, accept, budget, &mut scratch),
        };
        let mut idle = self.idle.lock();
        if idle.len() < IDLE && scratch.bytes() <= IDLE_BYTES {
            idle.push(scratch);
        }
        found
    }
}

fn walk_base(
    base: &impl Layer,
    scorer: &impl Scorer,
    from: &[u32],
    ef: usize,
    accept: Option<&dyn Fn(u32) -> bool>,
    budget: usize,
    scratch: &mut Scratch,
) -> Option<Vec<Near>> {
    match accept {
        None => Some(walk::nearest(base, scorer, from, ef, scratch)),
        Some(accept) => walk::nearest_accepted(base, scorer, from, ef, accept, budget, scratch),
    }
}

/// Where everything is, given a header that was checked.
fn places(header: &[u32; HEADER]) -> Vec<Place> {
    let (m, layers) = (header[2] as usize, header[3] as usize);
    let mut at = HEADER;
    let mut take = |words: usize| {
        let range = at..at + words;
        at += words;
        range
    };
    (0..layers)
        .map(|i| {
            let nodes = header[8 + i] as usize;
            Place {
                rows: take(if i == 0 { 0 } else { nodes }),
                down: take(if i < 2 { 0 } else { nodes }),
                links: take(nodes * cap(m, i)),
                cap: cap(m, i),
            }
        })
        .collect()
}

fn check_copies(words: &[u32], copies: &[Range<usize>; 2], rows: u32) -> Result<(), IndexError> {
    let is_row = |row: &u32| *row < rows;
    let [standing, copied] = copies.clone().map(|range| &words[range]);
    if !standing.is_sorted() || !standing.iter().chain(copied).all(is_row) {
        return Err(IndexError::damaged(
            PART,
            "its list of copies does not lead to rows",
        ));
    }
    Ok(())
}

fn check_header(header: &[u32; HEADER], rows: usize) -> Result<(), IndexError> {
    let [_, stored_rows, m, layers, entry, ..] = *header;
    let damaged = |reason: String| Err(IndexError::damaged(PART, reason));
    if stored_rows as usize != rows || rows == 0 || rows > MAX_ROWS {
        return damaged(format!("it has {stored_rows} rows, the segment has {rows}"));
    }
    if !(2..=256).contains(&m) {
        return damaged(format!("its m is {m}"));
    }
    if !(1..=MAX_LAYERS).contains(&(layers as usize)) || header[8] != stored_rows {
        return damaged(format!("it has {layers} layers"));
    }
    let counts = &header[8..8 + layers as usize];
    if !counts.is_sorted_by(|a, b| a >= b) || counts.contains(&0) {
        return damaged("its layers do not become smaller".into());
    }
    if counts.last().is_none_or(|nodes| entry >= *nodes) {
        return damaged(format!("its entry point {entry} is no node"));
    }
    Ok(())
}

fn check_layer(
    words: &[u32],
    place: &Place,
    layer: usize,
    header: &[u32; HEADER],
) -> Result<(), String> {
    let get = |range: &Range<usize>| {
        words
            .get(range.clone())
            .ok_or_else(|| "it ends too early".to_owned())
    };
    let nodes = header[8 + layer];
    let rows = get(&place.rows)?;
    if !rows.is_sorted_by(|a, b| a < b) || rows.last().is_some_and(|row| *row >= header[1]) {
        return Err("its nodes are not ascending rows".into());
    }
    let below = layer.checked_sub(1).map_or(0, |l| header[8 + l]);
    if get(&place.down)?.iter().any(|down| *down >= below) {
        return Err("a node leads to none below".into());
    }
    // One pass without branches: the largest link that is not NONE (which wraps to 0).
    let largest = get(&place.links)?
        .iter()
        .fold(0, |largest, link| largest.max(link.wrapping_add(1)));
    if largest > nodes {
        return Err("a link leads to no node".into());
    }
    Ok(())
}

/// A layer of a finished graph.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'g> {
    rows: &'g [u32],
    down: &'g [u32],
    links: &'g [u32],
    cap: usize,
}

impl Stored<'_> {
    /// Position in the layer below.
    pub(crate) fn below(&self, node: u32) -> u32 {
        match self.down {
            [] => self.row(node),
            down => down[node as usize],
        }
    }
}

impl Layer for Stored<'_> {
    fn nodes(&self) -> usize {
        self.links.len() / self.cap
    }

    #[inline]
    fn row(&self, node: u32) -> u32 {
        match self.rows {
            [] => node,
            rows => rows[node as usize],
        }
    }

    #[inline]
    fn links(&self, node: u32) -> impl Iterator<Item = u32> {
        let list = &self.links[node as usize * self.cap..][..self.cap];
        list.iter().copied().take_while(|link| *link != NONE)
    }

    #[inline]
    fn prefetch(&self, node: u32) {
        walk::prefetch(&self.links[node as usize * self.cap..][..self.cap]);
    }
}

#[cfg(test)]
mod tests;
