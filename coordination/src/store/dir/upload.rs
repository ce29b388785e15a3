//! A write whose body comes in pieces: small ones stay in memory, large ones go to the temporary file as they come.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::disk::{Disk, Temp};
use super::{WriteCondition, blocking, check_key};
use crate::store::{ETag, StoreError};

/// From this size on (bytes) a body is written as it comes.
const SPILL_BYTES: usize = 1 << 20;

/// A write under way. Dropping it leaves nothing behind.
pub struct Upload {
    disk: Arc<Disk>,
    buffer: BytesMut,
    temp: Option<Temp>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("buffered", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

impl Upload {
    pub(super) fn new(disk: Arc<Disk>) -> Self {
        Self {
            disk,
            buffer: BytesMut::new(),
            temp: None,
        }
    }

    /// Appends `piece`.
    ///
    /// # Errors
    /// `Busy` when the disk is full, `Refused` when it cannot be written.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.buffer.extend_from_slice(&piece);
        if self.buffer.len() < SPILL_BYTES {
            return Ok(());
        }
        let pending = self.buffer.split().freeze();
        let temp = self.temp.take();
        let temp = blocking(&self.disk, "put", "", false, move |disk| {
            let mut temp = match temp {
                Some(temp) => temp,
                None => disk.temp()?,
            };
            temp.append(disk, &pending)?;
            Ok(temp)
        })
        .await?;
        self.temp = Some(temp);
        Ok(())
    }

    /// Makes what was written the content of `key`, durably, if `condition` holds.
    ///
    /// # Errors
    /// As the puts of [`ObjectStore`](crate::store::ObjectStore).
    pub async fn commit(self, key: &str, condition: WriteCondition) -> Result<ETag, StoreError> {
        let what = condition.request();
        check_key(what, key)?;
        let owned = key.to_owned();
        let rest = self.buffer.freeze();
        blocking(&self.disk, what, key, true, move |disk| match self.temp {
            None => disk.write(&owned, &rest, &condition),
            Some(mut temp) => {
                temp.append(disk, &rest)?;
                disk.commit(&owned, temp, &condition)
            }
        })
        .await
    }
}
