//! `states.bin`: the states of rows and tombstones that were written where several instances write. Other segments do not have it.
//!
//! ```text
//! u64 states of rows, u64 states of tombstones
//! per state, ascending:  number of the row or tombstone u64, end of the state u64
//! the states
//! ```

use super::format::Input;

/// States of rows and of tombstones, each by number.
#[derive(Debug, Default)]
pub(super) struct States {
    rows: List,
    tombstones: List,
}

#[derive(Debug, Default)]
struct List {
    places: Vec<(u64, u64)>,
    bytes: Vec<u8>,
}

impl List {
    fn push(&mut self, number: usize, state: &[u8]) {
        self.bytes.extend_from_slice(state);
        self.places.push((number as u64, self.bytes.len() as u64));
    }

    fn get(&self, number: usize) -> Option<&[u8]> {
        let number = number as u64;
        let at = self.places.binary_search_by_key(&number, |p| p.0).ok()?;
        let start = at.checked_sub(1).map_or(0, |before| self.places[before].1);
        self.bytes.get(start as usize..self.places[at].1 as usize)
    }

    fn decode(input: &mut Input<'_>, count: u64, limit: usize) -> Result<Vec<(u64, u64)>, String> {
        let count = usize::try_from(count).map_err(|_| "it has too many states")?;
        let places = input.list(count, |place: [u8; 16]| {
            let (number, end) = place.split_at(8);
            let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
            (word(number), word(end))
        })?;
        let fits = places.is_sorted_by(|a, b| a.0 < b.0)
            && places.is_sorted_by_key(|place| place.1)
            && places.last().is_none_or(|last| last.0 < limit as u64);
        fits.then_some(places)
            .ok_or_else(|| "its states are not those of its rows".to_owned())
    }

    fn take(places: Vec<(u64, u64)>, input: &mut Input<'_>) -> Result<Self, String> {
        let length = places.last().map_or(0, |last| last.1);
        let length = usize::try_from(length).map_err(|_| "it has too many bytes")?;
        let bytes = input.list(length, |[byte]: [u8; 1]| byte)?;
        Ok(Self { places, bytes })
    }
}

impl States {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.places.is_empty() && self.tombstones.places.is_empty()
    }

    /// Adds that of a row; numbers ascend.
    pub(super) fn push_row(&mut self, row: usize, state: &[u8]) {
        self.rows.push(row, state);
    }

    /// Adds that of a tombstone; numbers ascend.
    pub(super) fn push_tombstone(&mut self, number: usize, state: &[u8]) {
        self.tombstones.push(number, state);
    }

    pub(super) fn row(&self, row: u32) -> Option<&[u8]> {
        self.rows.get(row as usize)
    }

    pub(super) fn tombstone(&self, number: usize) -> Option<&[u8]> {
        self.tombstones.get(number)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let lists = [&self.rows, &self.tombstones];
        let bytes = lists.map(|l| l.places.len() * size_of::<(u64, u64)>() + l.bytes.len());
        bytes.iter().sum()
    }

    /// The contents of the file, in pieces.
    pub(super) fn encode(&self) -> impl Iterator<Item = Vec<u8>> {
        let lists = [&self.rows, &self.tombstones];
        let counts = lists.map(|l| (l.places.len() as u64).to_le_bytes());
        let places = lists.into_iter().flat_map(|l| &l.places);
        let places = places.map(|(number, end)| [number.to_le_bytes(), end.to_le_bytes()].concat());
        let bytes = lists.map(|l| l.bytes.clone());
        std::iter::once(counts.concat()).chain(places).chain(bytes)
    }

    /// Reads what [`Self::encode`] gave.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn decode(bytes: &[u8], rows: usize, tombstones: usize) -> Result<Self, String> {
        let mut input = Input(bytes);
        let counts = (input.u64()?, input.u64()?);
        let of_rows = List::decode(&mut input, counts.0, rows)?;
        let of_tombstones = List::decode(&mut input, counts.1, tombstones)?;
        let states = Self {
            rows: List::take(of_rows, &mut input)?,
            tombstones: List::take(of_tombstones, &mut input)?,
        };
        match input.0.len() {
            0 => Ok(states),
            rest => Err(format!("{rest} bytes follow its end")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_survive_encoding_and_cut_files_are_errors() {
        let mut states = States::default();
        states.push_row(1, b"one");
        states.push_row(4, b"");
        states.push_tombstone(0, b"gone");
        let bytes: Vec<u8> = states.encode().flatten().collect();
        let read = States::decode(&bytes, 5, 1).unwrap();
        let rows: Vec<_> = (0..5).map(|row| read.row(row)).collect();
        assert_eq!(rows, [None, Some(&b"one"[..]), None, None, Some(&b""[..])]);
        assert_eq!(read.tombstone(0), Some(&b"gone"[..]));
        assert!(!read.is_empty() && read.memory_bytes() > 7);
        for cut in 0..bytes.len() {
            assert!(States::decode(&bytes[..cut], 5, 1).is_err(), "{cut}");
        }
        assert!(States::decode(&bytes, 4, 1).is_err());
        assert!(States::decode(&bytes, 5, 0).is_err());
    }
}
