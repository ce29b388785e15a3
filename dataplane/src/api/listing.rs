//! Steps of a query that take points in another order than that of distance.

use crate::model::{Condition, Filter, ListRequest, PointId};

/// A listing, checked.
#[derive(Clone, Debug)]
pub(super) struct PlannedList {
    /// The request; its limit includes the offset.
    pub(super) request: ListRequest,
    /// The first results to leave out.
    pub(super) offset: usize,
}

impl PlannedList {
    /// The request, of these points only if some are given.
    pub(super) fn request(&self, among: Option<Vec<PointId>>) -> ListRequest {
        let mut request = self.request.clone();
        if let Some(ids) = among {
            let found = Filter {
                must: vec![Condition::HasId(ids)],
                ..Filter::default()
            };
            request.filter = super::plan::both(request.filter.as_ref(), Some(found));
        }
        request
    }
}
