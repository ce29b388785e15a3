//! `rows.bin`: what is known of every row and tombstone.
//!
//! ```text
//! u32 length of the head, the head ([`Head`] as JSON), u64 rows, u64 tombstones
//! per row, ascending by id:        id (17), epoch u64, sequence u64, end of its payload u64
//! per tombstone, ascending by id:  id (17), epoch u64, sequence u64
//! ```
//!
//! An id is a tag (0 number, 1 UUID) and 16 bytes; numbers use the first 8.

use brainy_coordination::types::LogPosition;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::engine::error::EngineError;
use crate::model::{PointId, VectorSchema};

use super::format::Input;

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

/// What the segment holds besides rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// The collection's vectors when the segment was built.
    pub(super) schema: VectorSchema,
    /// The dense fields, in the schema's order.
    pub(super) dense: Vec<DenseHead>,
    /// Of each sparse field, how many rows have a vector.
    pub(super) sparse: Vec<u64>,
}

/// Files of a dense field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DenseHead {
    /// Vectors.
    pub(super) slots: u64,
    /// Whether there is a table of the rows of vectors (of no vectors it is empty and has no file).
    pub(super) table: bool,
    /// Whether there is a graph.
    pub(super) graph: bool,
    /// Whether there are codes.
    pub(super) codes: bool,
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
    ///
    /// # Errors
    /// [`EngineError::Encode`].
    pub(super) fn encode(&self, head: &Head) -> Result<impl Iterator<Item = Vec<u8>>, EngineError> {
        let json = serde_json::to_vec(head).map_err(|e| EngineError::Encode {
            what: "head of a segment",
            reason: e.to_string(),
        })?;
        let mut head = (json.len() as u32).to_le_bytes().to_vec();
        head.extend_from_slice(&json);
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
        Ok(std::iter::once(head).chain(rows).chain(tombstones))
    }

    /// Reads what [`Self::encode`] gave.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, Head), String> {
        let mut input = Input(bytes);
        let length = input.u32()? as usize;
        let json = input.list(length, |[byte]: [u8; 1]| byte)?;
        let head: Head = serde_json::from_slice(&json).map_err(|e| format!("its head: {e}"))?;
        head.schema
            .validate()
            .map_err(|e| format!("its head: {e}"))?;
        if head.dense.len() != head.schema.vectors.len()
            || head.sparse.len() != head.schema.sparse_vectors.len()
        {
            return Err("its head does not list its fields".into());
        }
        let (rows, tombstones) = (input.u64()?, input.u64()?);
        let expected = u128::from(rows) * 41 + u128::from(tombstones) * 33;
        if input.0.len() as u128 != expected {
            return Err(format!(
                "its length does not fit {rows} rows and {tombstones} tombstones"
            ));
        }
        // The length fits, so there are as many.
        let (count, deleted) = (rows as usize, tombstones as usize);
        let mut table = Self {
            ids: Vec::with_capacity(count),
            versions: Vec::with_capacity(count),
            ends: Vec::with_capacity(count),
            tombstones: Vec::with_capacity(deleted),
        };
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
        Ok((table, head))
    }
}

impl Input<'_> {
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
