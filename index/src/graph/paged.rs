//! A graph of which the links of the lowest layer, nearly all of it, are not in memory: a walk reads those of each node that
//! it expands. The layers above and the copies are held, 4 bytes a row at m = 16.

use parking_lot::Mutex;

use crate::error::IndexError;
use crate::storage::Storage;

use super::walk::{Layer, NONE};
use super::{Graph, HEADER, PART, VERSION, check_copies, check_header, check_layer, places};

/// Words checked at a time.
const PIECE: usize = 1 << 18;

/// The links of the lowest layer.
#[derive(Debug)]
pub(super) struct PagedLinks {
    /// All of the graph.
    file: Storage,
    /// Where the links begin, in bytes.
    start: usize,
    nodes: u32,
    cap: usize,
}

impl PagedLinks {
    /// All of the graph.
    pub(super) fn file(&self) -> &Storage {
        &self.file
    }
}

impl Layer for PagedLinks {
    fn nodes(&self) -> usize {
        self.nodes as usize
    }

    #[inline]
    fn row(&self, node: u32) -> u32 {
        node
    }

    fn links(&self, node: u32) -> impl Iterator<Item = u32> {
        let mut list = vec![NONE; self.cap];
        let at = self.start + node as usize * self.cap * 4;
        self.file.read_into(at, bytemuck::cast_slice_mut(&mut list));
        // What is read now may not be what was checked.
        let nodes = self.nodes;
        list.into_iter().take_while(move |link| *link < nodes)
    }

    fn prefetch(&self, _node: u32) {}
}

fn unreadable(error: std::io::Error) -> IndexError {
    IndexError::damaged(PART, format!("it cannot be read: {error}"))
}

fn read(file: &Storage, from: usize, words: &mut [u32]) -> Result<(), IndexError> {
    file.try_read_into(from * 4, bytemuck::cast_slice_mut(words))
        .map_err(unreadable)
}

/// As [`Graph::open`], of bytes that are not in memory.
pub(super) fn open(file: Storage, rows: usize) -> Result<Graph, IndexError> {
    if file.len() < HEADER * 4 {
        return Err(IndexError::damaged(PART, "it is shorter than its header"));
    }
    let mut header = [0u32; HEADER];
    read(&file, 0, &mut header)?;
    let [version, stored_rows, m, _, entry, copies, ..] = header;
    if version != VERSION {
        return Err(IndexError::UnknownFormat {
            part: PART,
            found: version,
            supported: VERSION,
        });
    }
    check_header(&header, rows)?;
    let mut layers = places(&header);
    let end = layers.last().map_or(HEADER, |l| l.links.end);
    let copies = copies as usize;
    if file.len() != (end + 2 * copies) * 4 {
        return Err(IndexError::damaged(
            PART,
            "its length does not fit its header",
        ));
    }
    let links = layers[0].links.clone();
    check_links(&file, links.clone(), stored_rows)?;
    // Everything after the links of layer 0 moves to where they begin.
    let kept = end + 2 * copies - links.len();
    let mut storage = Storage::zeroed(kept * 4).map_err(|error| IndexError::Memory {
        what: "the graph",
        bytes: kept * 4,
        error,
    })?;
    let words: &mut [u32] = bytemuck::cast_slice_mut(storage.bytes_mut());
    words[..HEADER].copy_from_slice(&header);
    read(&file, links.end, &mut words[links.start..])?;
    let words: &[u32] = words;
    for (i, place) in layers.iter_mut().enumerate() {
        if i == 0 {
            place.links = links.start..links.start;
            continue;
        }
        for range in [&mut place.rows, &mut place.down, &mut place.links] {
            *range = range.start - links.len()..range.end - links.len();
        }
        check_layer(words, place, i, &header)
            .map_err(|reason| IndexError::damaged(PART, format!("layer {i}: {reason}")))?;
    }
    let middle = kept - copies;
    let copies = [middle - copies..middle, middle..kept];
    check_copies(words, &copies, stored_rows)?;
    let entry_row = layers
        .last()
        .and_then(|top| words[top.rows.clone()].get(entry as usize).copied())
        .unwrap_or(entry);
    Ok(Graph {
        base: Some(PagedLinks {
            file,
            start: links.start * 4,
            nodes: stored_rows,
            cap: layers[0].cap,
        }),
        rows: stored_rows,
        m: m as usize,
        entry,
        entry_row,
        layers,
        copies,
        idle: Mutex::new(Vec::new()),
        words: storage,
    })
}

fn check_links(
    file: &Storage,
    links: std::ops::Range<usize>,
    nodes: u32,
) -> Result<(), IndexError> {
    let mut piece = vec![0u32; PIECE.min(links.len())];
    let mut at = links.start;
    while at < links.end {
        let count = piece.len().min(links.end - at);
        let words = &mut piece[..count];
        read(file, at, words)?;
        let largest = words
            .iter()
            .fold(0, |largest, link| largest.max(link.wrapping_add(1)));
        if largest > nodes {
            return Err(IndexError::damaged(
                PART,
                "layer 0: a link leads to no node",
            ));
        }
        at += count;
    }
    Ok(())
}
