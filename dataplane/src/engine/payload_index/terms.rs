//! A sorted list of texts.
//!
//! ```text
//! ends   u32 per text: where it ends in `bytes`; it begins where the one before ends
//! bytes  UTF-8
//! ```

use std::ops::Range;

use super::image::{Image, ImageWriter, Section};

/// Sections of terms.
pub(super) const SECTIONS: usize = 2;

/// Adds the sections for texts that are ascending, each once.
///
/// # Errors
/// More than 4 GB.
pub(super) fn write<'t>(
    writer: &mut ImageWriter,
    terms: impl Iterator<Item = &'t str>,
) -> Result<(), String> {
    let (mut ends, mut bytes) = (Vec::new(), Vec::new());
    for term in terms {
        bytes.extend_from_slice(term.as_bytes());
        ends.push(
            u32::try_from(bytes.len()).map_err(|_| "its texts are too long for one segment")?,
        );
    }
    writer.add(&ends);
    writer.add::<u8>(&bytes);
    Ok(())
}

/// See the module.
#[derive(Debug)]
pub(super) struct Terms {
    ends: Section<u32>,
    bytes: Section<u8>,
}

impl Terms {
    /// Checks the sections from `first` on.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn open(image: &Image, first: usize) -> Result<Self, String> {
        let own = Self {
            ends: image.section(first)?,
            bytes: image.section(first + 1)?,
        };
        let ends = image.get(&own.ends);
        let size = image.get(&own.bytes).len();
        if !ends.is_sorted() || ends.last().copied().unwrap_or(0) as usize != size {
            return Err("its texts do not fit each other".into());
        }
        let in_order = |i: usize| own.term(image, i - 1) < own.term(image, i);
        if !(1..ends.len()).all(in_order) {
            return Err("its texts are not in order".into());
        }
        Ok(own)
    }

    pub(super) fn len(&self, image: &Image) -> usize {
        image.get(&self.ends).len()
    }

    /// Number of a text.
    pub(super) fn find(&self, image: &Image, wanted: &str) -> Option<u32> {
        let i = self.first_from(image, |term| term < wanted.as_bytes());
        (i < self.len(image) && self.term(image, i) == wanted.as_bytes()).then_some(i as u32)
    }

    /// Numbers of the texts that begin with `start`.
    pub(super) fn with_prefix(&self, image: &Image, start: &str) -> Range<u32> {
        let start = start.as_bytes();
        let from = self.first_from(image, |term| term < start);
        let to = self.first_from(image, |term| term < start || term.starts_with(start));
        from as u32..to as u32
    }

    /// Numbers of the texts that contain `part`; looks at all of them.
    pub(super) fn containing(&self, image: &Image, part: &str) -> Vec<u32> {
        let has = |i: &u32| {
            std::str::from_utf8(self.term(image, *i as usize)).is_ok_and(|t| t.contains(part))
        };
        (0..self.len(image) as u32).filter(has).collect()
    }

    /// The first text that is not `before`, which holds for a first part of them.
    fn first_from(&self, image: &Image, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut from, mut to) = (0, self.len(image));
        while from < to {
            let middle = (from + to) / 2;
            if before(self.term(image, middle)) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    /// A text by its number.
    pub(super) fn text<'i>(&self, image: &'i Image, i: usize) -> Option<&'i str> {
        std::str::from_utf8(self.term(image, i)).ok()
    }

    fn term<'i>(&self, image: &'i Image, i: usize) -> &'i [u8] {
        let ends = image.get(&self.ends);
        let start = match i {
            0 => 0,
            _ => ends.get(i - 1).copied().unwrap_or_default() as usize,
        };
        let end = ends.get(i).copied().unwrap_or_default() as usize;
        image.get(&self.bytes).get(start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_are_found(terms in proptest::collection::btree_set("[abü]{0,4}", 0..30), wanted in "[abü]{0,2}") {
            let mut writer = ImageWriter::default();
            write(&mut writer, terms.iter().map(String::as_str)).unwrap();
            let image = Image::open(writer.finish(), SECTIONS).unwrap();
            let stored = Terms::open(&image, 0).unwrap();
            let list: Vec<&String> = terms.iter().collect();
            let expect = |holds: &dyn Fn(&str) -> bool| -> BTreeSet<u32> {
                (0u32..).zip(&list).filter(|(_, t)| holds(t)).map(|(i, _)| i).collect()
            };
            prop_assert_eq!(stored.find(&image, &wanted).into_iter().collect::<BTreeSet<_>>(), expect(&|t| t == wanted));
            prop_assert_eq!(
                stored.with_prefix(&image, &wanted).collect::<BTreeSet<_>>(),
                expect(&|t| t.starts_with(&wanted))
            );
            prop_assert_eq!(
                stored.containing(&image, &wanted).into_iter().collect::<BTreeSet<_>>(),
                expect(&|t| t.contains(&wanted))
            );
        }
    }
}
