//! Following the collection's vectors: before this node writes to a partition or reads it, the partition has the schema that
//! the node knows.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Host;
use crate::engine::has_all;
use crate::error::ServiceError;
use crate::model::WriteOp;

impl Host {
    /// Makes the schema of the partition that of its collection, as far as this node knows it. Cheap unless the manifest
    /// changed.
    ///
    /// # Errors
    /// `Internal` when segments and manifest contradict each other, `Unavailable` when the node is stopping.
    pub(super) async fn adopt_schema(&self) -> Result<(), ServiceError> {
        let view = self.context.view.get();
        let Some(manifest) = &view.manifest else {
            return Ok(());
        };
        if self.schema_from.load(Ordering::Relaxed) == manifest.version {
            return Ok(());
        }
        if let Some(collection) = view.by_uid(&self.partition.collection) {
            let (machine, schema) = (Arc::clone(&self.machine), collection.spec.schema.clone());
            if schema.version > machine.state().schema().version {
                // Copies write buffers.
                tokio::task::spawn_blocking(move || machine.state().adopt_schema(&schema))
                    .await
                    .map_err(|_| {
                        ServiceError::Unavailable("this instance is shutting down".to_owned())
                    })?
                    .map_err(|e| ServiceError::Internal(e.to_string()))?;
            }
        }
        self.schema_from.store(manifest.version, Ordering::Relaxed);
        Ok(())
    }

    /// As [`Self::adopt_schema`], looking again for what the request names and this node does not know yet: the node that passed
    /// it on may.
    ///
    /// # Errors
    /// Those of [`Self::adopt_schema`], or `Unavailable` when the bucket does not answer.
    pub(super) async fn adopt_schema_for(&self, op: &WriteOp) -> Result<(), ServiceError> {
        self.adopt_schema().await?;
        if has_all(&self.machine.state().schema(), op.vector_names()) {
            return Ok(());
        }
        let refreshed = self.context.view.refresh().await;
        refreshed.map_err(|e| ServiceError::Unavailable(e.to_string()))?;
        self.adopt_schema().await
    }
}
