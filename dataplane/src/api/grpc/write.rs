//! One write of points, and how it is answered.

use tonic::metadata::MetadataValue;
use tonic::{Response, Status};

use super::asked::{Asked, Reply, within};
use super::convert::answers::update_result;
use super::proto::{PointsOperationResponse, WriteOrdering, WriteOrderingType};
use super::status::status;
use crate::api::dto::points::OperationDto;
use crate::api::extract::{Call, TOKEN, UpdateResult};
use crate::api::points::{Written, write};
use crate::error::ServiceError;
use crate::model::Token;

/// Answers a write, with its token in the metadata.
pub(super) fn written<T>(answer: T, token: &Token) -> Reply<T> {
    let mut response = Response::new(answer);
    let value = MetadataValue::try_from(token.to_string())
        .map_err(|e| Status::internal(format!("token cannot be metadata: {e}")))?;
    response.metadata_mut().insert(TOKEN, value);
    Ok(response)
}

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
        let Written { result, token } = within(timeout, class, write(&call, &name, dto)).await?;
        written(operation(&call, &result), &token)
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
