//! Steps of a query that take points in another order than that of distance.

use super::extract::Call;
use super::plan::Step;
use crate::error::ServiceError;
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

/// Carries out the listings of all plans that can run; whether there were any.
pub(super) async fn list_ready(
    call: &Call,
    name: &str,
    plans: &mut [Step],
) -> Result<bool, ServiceError> {
    let mut ready = Vec::new();
    plans
        .iter_mut()
        .for_each(|plan| plan.ready_lists(&mut ready));
    if ready.is_empty() {
        return Ok(false);
    }
    let requests: Vec<ListRequest> = ready.iter().filter_map(|step| step.listing()).collect();
    let asked = requests.len();
    let read = call.params.read.clone();
    let answers = call.service.list(name, requests, read).await?;
    if answers.len() != asked || asked != ready.len() {
        return Err(ServiceError::Internal(format!(
            "{asked} listings were answered with {} lists",
            answers.len()
        )));
    }
    for (step, hits) in ready.into_iter().zip(answers) {
        step.listed(hits);
    }
    Ok(true)
}
