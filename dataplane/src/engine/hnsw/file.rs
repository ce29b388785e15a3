//! A graph as bytes: all numbers 32-bit little-endian.
//!
//! ```text
//! rows, entry, layers, then per layer: number of nodes listed (0 in layer 0), number of links,
//! the nodes, the offsets (one more than nodes; rows + 1 in layer 0), the links
//! ```

use super::{Graph, Layer};

impl Graph {
    /// The words to store.
    pub(crate) fn words(&self) -> impl Iterator<Item = u32> {
        let head = [self.rows, self.entry, self.layers.len() as u32];
        let body = self.layers.iter().flat_map(|layer| {
            [layer.nodes.len() as u32, layer.links.len() as u32]
                .into_iter()
                .chain(layer.nodes.iter().copied())
                .chain(layer.offsets.iter().copied())
                .chain(layer.links.iter().copied())
        });
        head.into_iter().chain(body)
    }

    /// Reads what [`Self::words`] gave for a segment of `rows` rows. Whatever the words, a graph that is returned can be
    /// searched without leaving its bounds.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(crate) fn from_words(words: &[u32], rows: usize) -> Result<Self, String> {
        let mut input = Input(words);
        let [stored_rows, entry, layers] = input.array()?;
        if stored_rows as usize != rows {
            return Err(format!(
                "its graph has {stored_rows} rows, the segment has {rows}"
            ));
        }
        if entry >= stored_rows {
            return Err(format!("its entry point {entry} is no row"));
        }
        let layers = (0..layers)
            .map(|i| {
                input
                    .layer(i == 0, stored_rows)
                    .map_err(|e| format!("layer {i}: {e}"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if layers.is_empty() || !input.0.is_empty() {
            return Err("its length does not fit its contents".into());
        }
        Ok(Self::new(stored_rows, entry, layers))
    }
}

struct Input<'w>(&'w [u32]);

impl Input<'_> {
    fn take(&mut self, count: usize) -> Result<Vec<u32>, String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(taken.to_vec())
    }

    fn array<const N: usize>(&mut self) -> Result<[u32; N], String> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn layer(&mut self, lowest: bool, rows: u32) -> Result<Layer, String> {
        let [node_count, link_count] = self.array()?;
        let nodes = self.take(node_count as usize)?;
        let listed = if lowest { rows as usize } else { nodes.len() };
        if nodes.is_empty() != lowest {
            return Err("its list of nodes does not fit its place".into());
        }
        let offsets = self.take(listed + 1)?;
        let links = self.take(link_count as usize)?;
        if !nodes.is_sorted_by(|a, b| a < b) || nodes.last().is_some_and(|n| *n >= rows) {
            return Err("its nodes are not ascending rows".into());
        }
        let ends = offsets.first() == Some(&0) && offsets.last() == Some(&link_count);
        if !ends || !offsets.is_sorted() {
            return Err("its offsets do not cover its links".into());
        }
        if links.iter().any(|link| *link >= rows) {
            return Err("a link leads to no row".into());
        }
        Ok(Layer {
            nodes,
            offsets,
            links,
        })
    }
}
