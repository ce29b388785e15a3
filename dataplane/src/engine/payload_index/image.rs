//! The bytes of one field's index: a table of sections, then the sections, each an array of numbers that is used as it is.
//!
//! ```text
//! u64 sections, per section: u64 first byte, u64 bytes; then the sections, each from a multiple of 8 on
//! ```

use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::Pod;

/// Sections being put together.
#[derive(Debug, Default)]
pub(super) struct ImageWriter {
    sections: Vec<Vec<u64>>,
    lengths: Vec<u64>,
}

impl ImageWriter {
    /// Adds a section.
    pub(super) fn add<T: Pod>(&mut self, values: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        self.sections.push(words);
        self.lengths.push(bytes.len() as u64);
    }

    /// The image.
    pub(super) fn finish(self) -> Vec<u64> {
        let mut words = vec![self.sections.len() as u64];
        let mut at = 8 * (1 + 2 * self.sections.len() as u64);
        for (section, length) in self.sections.iter().zip(&self.lengths) {
            words.extend([at, *length]);
            at += 8 * section.len() as u64;
        }
        words.extend(self.sections.into_iter().flatten());
        words
    }
}

/// A finished image.
#[derive(Debug)]
pub(super) struct Image {
    words: Vec<u64>,
    sections: Vec<Range<usize>>,
}

/// A section that holds numbers of type `T`.
#[derive(Debug)]
pub(super) struct Section<T> {
    bytes: Range<usize>,
    of: PhantomData<T>,
}

impl Image {
    /// Checks the table of sections, of which there are `expected`.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn open(words: Vec<u64>, expected: usize) -> Result<Self, String> {
        let (count, table) = words.split_first().ok_or("it is empty")?;
        if *count != expected as u64 {
            return Err(format!("it has {count} sections, not {expected}"));
        }
        let table = table
            .get(..2 * expected)
            .ok_or("its table of sections is cut off")?;
        let size = words.len() * 8;
        let sections = table
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[at, length]| {
                let (at, length) = (usize::try_from(*at).ok()?, usize::try_from(*length).ok()?);
                let end = at.checked_add(length).filter(|end| *end <= size)?;
                at.is_multiple_of(8).then_some(at..end)
            })
            .collect::<Option<Vec<_>>>()
            .ok_or("a section lies outside of it")?;
        Ok(Self { words, sections })
    }

    /// Section `i` as numbers of type `T`.
    ///
    /// # Errors
    /// There is none, or its length is not that of whole numbers.
    pub(super) fn section<T: Pod>(&self, i: usize) -> Result<Section<T>, String> {
        let bytes = self.sections.get(i).ok_or("a section is missing")?.clone();
        if !bytes.len().is_multiple_of(size_of::<T>()) {
            return Err("a section ends within a number".into());
        }
        Ok(Section {
            bytes,
            of: PhantomData,
        })
    }

    /// The numbers of a section.
    #[inline]
    pub(super) fn get<T: Pod>(&self, section: &Section<T>) -> &[T] {
        // Sections lie within the words, begin at a multiple of 8 and hold whole numbers, so neither can fail.
        let all: &[u8] = bytemuck::cast_slice(&self.words);
        let bytes = all.get(section.bytes.clone()).unwrap_or_default();
        bytemuck::try_cast_slice(bytes).unwrap_or_default()
    }

    /// The whole image.
    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sections_come_back_as_they_were() {
        let mut writer = ImageWriter::default();
        writer.add(&[1u8, 2, 3]);
        writer.add::<u32>(&[]);
        writer.add(&[7u32, 8, 9]);
        writer.add(&[-1i64]);
        let image = Image::open(writer.finish(), 4).unwrap();
        assert_eq!(image.get(&image.section::<u8>(0).unwrap()), [1, 2, 3]);
        assert!(image.get(&image.section::<u32>(1).unwrap()).is_empty());
        assert_eq!(image.get(&image.section::<u32>(2).unwrap()), [7, 8, 9]);
        assert_eq!(image.get(&image.section::<i64>(3).unwrap()), [-1]);
        assert!(image.section::<u64>(2).is_err());
        assert!(image.section::<u8>(4).is_err());
    }

    proptest! {
        #[test]
        fn any_words_are_opened_or_refused(words in proptest::collection::vec(0u64..200, 0..20), expected in 0usize..4) {
            if let Ok(image) = Image::open(words, expected) {
                for i in 0..expected {
                    if let Ok(section) = image.section::<u32>(i) {
                        let _numbers = image.get(&section);
                    }
                }
            }
        }
    }
}
