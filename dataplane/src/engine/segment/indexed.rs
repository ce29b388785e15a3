//! The payload indexes of a segment: built for a schema, asked about a filter.

use std::sync::Arc;

use crate::engine::error::EngineError;
use crate::engine::filter::CompiledFilter;
use crate::engine::interrupt;
use crate::engine::payload_index::{Answer, Asked, Indexer, PayloadIndex, PayloadSchema};

use super::{Segment, plan};

impl Segment {
    /// Makes the indexes those of `schema`: drops fields that it does not name and builds those that are missing, which
    /// reads every payload. Searches go on meanwhile with what there is. Nothing to do if they are those already.
    ///
    /// # Errors
    /// A payload that does not decode, or more than an index can hold; the indexes stay as they were.
    pub fn index_payloads(&self, schema: &PayloadSchema) -> Result<(), EngineError> {
        let _one_at_a_time = self.indexing.lock();
        let now = self.payload_index();
        let (mut fitting, missing) = now.fit(schema);
        if missing.fields.is_empty() && fitting.fields().count() == now.fields().count() {
            return Ok(());
        }
        if !missing.fields.is_empty() {
            let mut indexer = Indexer::new(&missing)?;
            for row in 0..self.rows() as u32 {
                let payload = self.payload(row);
                interrupt::check_reads()?;
                indexer.add(&payload)?;
            }
            fitting.join(indexer.finish()?);
        }
        *self.payload_index.write() = Arc::new(fitting);
        Ok(())
    }

    /// Each indexed field with the number of rows, live or not, that have a value in it.
    #[must_use]
    pub fn indexed_fields(&self) -> Vec<(String, usize)> {
        let index = self.payload_index();
        index
            .fields()
            .map(|(field, points)| (field.to_owned(), points))
            .collect()
    }

    pub(super) fn payload_index(&self) -> Arc<PayloadIndex> {
        Arc::clone(&self.payload_index.read())
    }

    /// Rows among which all that match are, if indexes narrow them down.
    pub(crate) fn candidates(&self, filter: &CompiledFilter) -> Option<Answer> {
        self.ask(|asked| asked.answer(filter.root()))
    }

    /// The same where a page of `limit` rows is found faster with it than without.
    pub(crate) fn candidates_for_page(
        &self,
        filter: &CompiledFilter,
        limit: usize,
    ) -> Option<Answer> {
        self.ask(|asked| {
            let estimate = asked.estimate(filter.root());
            plan::lists_first(self.rows(), estimate.expected, limit)
                .then(|| asked.answer(filter.root()))
                .flatten()
        })
    }

    fn ask<T>(&self, question: impl FnOnce(&Asked<'_>) -> Option<T>) -> Option<T> {
        let index = self.payload_index();
        question(&Asked {
            index: &index,
            row_of: &|id| self.find_row(id),
            rows: self.rows(),
        })
    }
}
