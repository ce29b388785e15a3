//! `rows.bin`: what is known of every row and tombstone.
//!
//! ```text
//! u32 vector size, u32 measure, u64 rows, u64 tombstones
//! per row, ascending by id:        id (17), epoch u64, sequence u64, end of its payload u64
//! per tombstone, ascending by id:  id (17), epoch u64, sequence u64
//! ```
//!
//! An id is a tag (0 number, 1 UUID) and 16 bytes; numbers use the first 8.

use brainy_coordination::types::LogPosition;
use uuid::Uuid;

use crate::model::{Distance, PointId};

/// The table of a segment.
#[derive(Debug, Default)]
pub(super) struct RowTable {
    /// Ids of rows, ascending.
    pub(super) ids: Vec<PointId>,
    /// Versions of rows.
    pub(super) versions: Vec<LogPosition>,
    /// Ends of payloads in the payload file's contents; each begins where the one before ends.
    pub(super) ends: Vec<u64>,
    /// Deletions, ascending by id.
    pub(super) tombstones: Vec<(PointId, LogPosition)>,
}

/// What every row of the segment has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) size: u32,
    pub(super) measure: Distance,
}

fn measure_code(measure: Distance) -> u32 {
    match measure {
        Distance::Cosine => 0,
        Distance::Dot => 1,
        Distance::Euclid => 2,
        Distance::Manhattan => 3,
    }
}

fn measure_of(code: u32) -> Option<Distance> {
    [
        Distance::Cosine,
        Distance::Dot,
        Distance::Euclid,
        Distance::Manhattan,
    ]
    .into_iter()
    .find(|m| measure_code(*m) == code)
}

fn put_id(id: PointId, out: &mut Vec<u8>) {
    match id {
        PointId::Num(n) => {
            out.push(0);
            out.extend_from_slice(&n.to_le_bytes());
            out.extend_from_slice(&[0; 8]);
        }
        PointId::Uuid(u) => {
            out.push(1);
            out.extend_from_slice(u.as_bytes());
        }
    }
}

fn put_version(version: LogPosition, out: &mut Vec<u8>) {
    out.extend_from_slice(&version.epoch.to_le_bytes());
    out.extend_from_slice(&version.seq.to_le_bytes());
}

impl RowTable {
    /// The contents of the file, in pieces.
    pub(super) fn encode(&self, shape: Shape) -> impl Iterator<Item = Vec<u8>> {
        let mut head = Vec::new();
        head.extend_from_slice(&shape.size.to_le_bytes());
        head.extend_from_slice(&measure_code(shape.measure).to_le_bytes());
        head.extend_from_slice(&(self.ids.len() as u64).to_le_bytes());
        head.extend_from_slice(&(self.tombstones.len() as u64).to_le_bytes());
        let rows =
            self.ids
                .iter()
                .zip(&self.versions)
                .zip(&self.ends)
                .map(|((id, version), end)| {
                    let mut row = Vec::with_capacity(41);
                    put_id(*id, &mut row);
                    put_version(*version, &mut row);
                    row.extend_from_slice(&end.to_le_bytes());
                    row
                });
        let tombstones = self.tombstones.iter().map(|(id, version)| {
            let mut row = Vec::with_capacity(33);
            put_id(*id, &mut row);
            put_version(*version, &mut row);
            row
        });
        std::iter::once(head).chain(rows).chain(tombstones)
    }

    /// Reads what [`Self::encode`] gave.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, Shape), String> {
        let mut input = Input(bytes);
        let size = input.u32()?;
        let code = input.u32()?;
        let measure = measure_of(code).ok_or_else(|| format!("{code} is no known distance"))?;
        let (rows, tombstones) = (input.u64()?, input.u64()?);
        let expected = u128::from(rows) * 41 + u128::from(tombstones) * 33;
        if input.0.len() as u128 != expected {
            return Err(format!(
                "its length does not fit {rows} rows and {tombstones} tombstones"
            ));
        }
        let mut table = Self::default();
        for _ in 0..rows {
            table.ids.push(input.id()?);
            table.versions.push(input.version()?);
            table.ends.push(input.u64()?);
        }
        for _ in 0..tombstones {
            table.tombstones.push((input.id()?, input.version()?));
        }
        if !table.ids.is_sorted_by(|a, b| a < b) || !table.tombstones.is_sorted_by(|a, b| a.0 < b.0)
        {
            return Err("its ids are not ascending".into());
        }
        if !table.ends.is_sorted() {
            return Err("its payloads overlap".into());
        }
        Ok((table, Shape { size, measure }))
    }
}

struct Input<'b>(&'b [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn version(&mut self) -> Result<LogPosition, String> {
        Ok(LogPosition::new(self.u64()?, self.u64()?))
    }

    fn id(&mut self) -> Result<PointId, String> {
        let [tag] = self.array()?;
        match tag {
            0 => {
                let id = PointId::Num(self.u64()?);
                self.u64()?;
                Ok(id)
            }
            1 => Ok(PointId::Uuid(Uuid::from_bytes(self.array()?))),
            other => Err(format!("{other} is no kind of id")),
        }
    }
}
