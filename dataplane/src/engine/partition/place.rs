//! Moving the parts of an installed segment between memory and its files.

use std::sync::Arc;

use crate::engine::error::EngineError;
use crate::engine::segment::{Placement, Segment};

use super::PartitionState;
use super::layers::{Layers, SegmentView};

impl PartitionState {
    /// Whether no read of it reads a file, pages of mapped ones left out.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        let layers = &self.published.read().layers;
        let mut segments = layers.segments.iter().map(|view| &view.segment);
        segments.all(|segment| segment.placement() == Placement::ALL)
    }

    /// Installs `placed` in place of the segment that it was made from by [`Segment::placed`]; whether that is still installed.
    /// Reads that run go on with the old one, which gives its memory back when the last of them ends.
    ///
    /// # Errors
    /// Those of adopting the schema that the partition has now.
    pub fn replace_segment(&self, placed: &Arc<Segment>) -> Result<bool, EngineError> {
        let _installing = self.installing.lock();
        let writer = self.writer.lock();
        let now = self.snapshot();
        let before = &now.layers;
        let mut views = before.segments.clone();
        let Some(view) = views.iter_mut().find(|v| v.segment.is_same(placed)) else {
            return Ok(false);
        };
        let segment = match *placed.schema() == *before.schema {
            true => Arc::clone(placed),
            false => Arc::new(placed.present(&before.schema)?),
        };
        *view = Arc::new(SegmentView {
            segment,
            dead: Arc::clone(&view.dead),
        });
        self.published.write().layers = Arc::new(Layers {
            segments: views,
            applied: before.applied,
            frozen: before.frozen.clone(),
            active: Arc::clone(&before.active),
            schema: Arc::clone(&before.schema),
        });
        drop(writer);
        // The old parts are freed under no lock that anybody waits for.
        drop(now);
        Ok(true)
    }
}
