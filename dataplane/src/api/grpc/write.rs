//! One write of points, and how it is answered.

use tonic::{Response, Status};

use super::asked::{Asked, Reply, within};
use super::convert::answers::update_result;
use super::proto::{PointsOperationResponse, WriteOrdering, WriteOrderingType};
use super::status::status;
use crate::api::dto::points::OperationDto;
use crate::api::extract::{Call, UpdateResult};
use crate::api::points::write;
use crate::error::ServiceError;

pub(super) fn operation(call: &Call, result: &UpdateResult) -> PointsOperationResponse {
    PointsOperationResponse {
        result: Some(update_result(result)),
        time: call.started.elapsed().as_secs_f64(),
        usage: None,
    }
}

/// One write of points.
pub(super) struct Write {
    pub(super) name: String,
    pub(super) wait: Option<bool>,
    pub(super) timeout: Option<u64>,
    pub(super) ordering: Option<WriteOrdering>,
    pub(super) dto: Result<OperationDto, ServiceError>,
}

impl Write {
    pub(super) async fn run(self, asked: Asked<()>) -> Reply<PointsOperationResponse> {
        let Self {
            name,
            wait,
            timeout,
            ordering,
            dto,
        } = self;
        check(ordering)?;
        let dto = dto.map_err(status)?;
        let Asked {
            mut call, class, ..
        } = asked;
        call.params.wait = wait.unwrap_or(false);
        let result = within(timeout, class, write(&call, &name, dto)).await?;
        Ok(Response::new(operation(&call, &result)))
    }
}

/// All writes are ordered.
pub(super) fn check(ordering: Option<WriteOrdering>) -> Result<(), Status> {
    let known = |o: WriteOrdering| WriteOrderingType::try_from(o.r#type).is_ok();
    if ordering.is_none_or(known) {
        return Ok(());
    }
    Err(Status::invalid_argument("'ordering.type' is not known"))
}
