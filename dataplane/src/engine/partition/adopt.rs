//! Following the collection as it gains and loses vectors.
//!
//! All layers of a snapshot present the same schema, so searches number fields once. A newer schema takes effect for reads at
//! once, without rewriting anything: segments present their files' fields in its order, memtables are copied. Segments that are
//! written from then on have its fields and parameters, and merges leave out what was dropped.

use std::borrow::Cow;
use std::sync::Arc;

use crate::engine::Change;
use crate::engine::change::LogEntry;
use crate::engine::error::EngineError;
use crate::engine::fields::{forget_dropped, same_layout};
use crate::engine::memtable::Memtable;
use crate::model::VectorSchema;

use super::PartitionState;
use super::layers::{Layers, SegmentView};

impl PartitionState {
    /// Makes `schema` that of the partition, unless it has this version or a newer one.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] if a segment has vectors of the same origin and another shape. Then nothing changed.
    pub fn adopt_schema(&self, schema: &VectorSchema) -> Result<(), EngineError> {
        if schema.version <= self.schema().version {
            return Ok(());
        }
        let _installing = self.installing.lock();
        self.adopt(schema)
    }

    /// As [`Self::adopt_schema`], for who holds `installing`.
    pub(super) fn adopt(&self, schema: &VectorSchema) -> Result<(), EngineError> {
        let _writer = self.writer.lock();
        let now = self.snapshot();
        let before = &now.layers;
        if schema.version <= before.schema.version {
            return Ok(());
        }
        let schema = Arc::new(schema.clone());
        let segments = before.segments.iter().map(|view| {
            let segment = Arc::new(view.segment.present(&schema)?);
            Ok(Arc::new(SegmentView {
                segment,
                dead: Arc::clone(&view.dead),
            }))
        });
        let segments = segments.collect::<Result<_, EngineError>>()?;
        let as_it_is = same_layout(&before.schema, &schema);
        let present = |memtable: &Arc<Memtable>| match as_it_is {
            true => Arc::clone(memtable),
            false => Arc::new(memtable.present(&schema)),
        };
        let layers = Layers {
            segments,
            applied: before.applied,
            frozen: before.frozen.iter().map(present).collect(),
            active: present(&before.active),
            schema,
        };
        self.published.write().layers = Arc::new(layers);
        Ok(())
    }

    /// What entries of the log do to a partition with this schema: vectors that were dropped since are left out.
    ///
    /// # Errors
    /// [`EngineError::NewerSchema`] if one was written with vectors that are not known here yet.
    pub(super) fn fit<'e>(
        schema: &VectorSchema,
        entries: &'e [LogEntry],
    ) -> Result<Vec<Cow<'e, Change>>, EngineError> {
        let mut changes = Vec::new();
        for entry in entries {
            if entry.schema > schema.version {
                return Err(EngineError::NewerSchema {
                    found: entry.schema,
                    known: schema.version,
                });
            }
            let as_written = entry.changes.iter().map(Cow::Borrowed);
            if entry.schema == schema.version {
                changes.extend(as_written);
                continue;
            }
            changes.extend(as_written.map(|mut change| {
                if let Change::Put(point) = change.to_mut() {
                    forget_dropped(schema, entry.schema, point);
                }
                change
            }));
        }
        Ok(changes)
    }
}
