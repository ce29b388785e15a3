//! Making every row of the lowest layer reachable.
//!
//! When a full list is thinned out, a row can lose the last link that leads to it, and then no search finds it. It is rare (a
//! few rows of 100,000) and costs one pass over the links to find and one link each to mend.

use std::sync::atomic::Ordering;

use super::build::{Builder, Finder};
use super::walk::{Layer, NONE, Scratch};

/// Adds a link to every row that cannot be reached from `entry`, from the nearest row that can and has room.
pub(super) fn reach_all(builder: &Builder<'_>, finder: &impl Finder, entry: u32) {
    let base = &builder.layers()[0];
    let mut reached = vec![false; base.nodes()];
    for (_, copy) in builder.copies() {
        reached[*copy as usize] = true;
    }
    let mut scratch = Scratch::default();
    flood(base, &mut reached, entry);
    for row in 0..base.nodes() as u32 {
        if reached[row as usize] {
            continue;
        }
        let near = builder.nearest_to(finder, row, entry, &mut scratch);
        let list_end = |node: u32| {
            let list = base.list(node);
            list.iter()
                .find(|word| word.load(Ordering::Relaxed) == NONE)
        };
        // All of them are reached: the walk came from the entry point.
        let room = near.iter().find_map(|near| list_end(near.key));
        let word = room.or_else(|| base.list(near.first()?.key).last());
        let Some(word) = word else { continue };
        let displaced = word.swap(row, Ordering::Relaxed);
        if displaced != NONE {
            // Without room anywhere near, the row goes in between: it leads to the one whose link it took. What it led to
            // instead, if it had no room either, was not reached through it so far.
            keep(base, row, displaced);
        }
        flood(base, &mut reached, row);
    }
}

/// Puts a link into a list that may be full.
fn keep(base: &super::build::Growing, row: u32, link: u32) {
    let list = base.list(row);
    let free = |word: &&std::sync::atomic::AtomicU32| word.load(Ordering::Relaxed) == NONE;
    if let Some(word) = list.iter().find(free).or_else(|| list.last()) {
        word.store(link, Ordering::Relaxed);
    }
}

/// Marks what can be reached from a row.
fn flood(base: &impl Layer, reached: &mut [bool], row: u32) {
    let mut open = vec![row];
    reached[row as usize] = true;
    while let Some(row) = open.pop() {
        for link in base.links(row) {
            if !reached[link as usize] {
                reached[link as usize] = true;
                open.push(link);
            }
        }
    }
}
