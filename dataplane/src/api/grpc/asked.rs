//! What every service does with a request before and after the work.

use std::time::Duration;

use tonic::{Request, Response, Status};

use super::convert::select;
use super::proto::ReadConsistency;
use super::status::status;
use crate::api::errors::ApiError;
use crate::api::extract::Call;
use crate::api::guard::Class;
use crate::error::ServiceError;

/// What methods return.
pub(super) type Reply<T> = Result<Response<T>, Status>;

/// A request with what the guard learnt of it.
pub(super) struct Asked<T> {
    pub(super) call: Call,
    pub(super) class: Class,
    pub(super) message: T,
}

impl<T> Asked<T> {
    pub(super) fn new(mut request: Request<T>) -> Result<Self, Status> {
        let extensions = request.extensions_mut();
        match (extensions.remove(), extensions.remove()) {
            (Some(call), Some(class)) => Ok(Self {
                call,
                class,
                message: request.into_inner(),
            }),
            _ => Err(Status::internal("the method is not behind the guard")),
        }
    }

    /// The message apart from the rest.
    pub(super) fn open(self) -> (Asked<()>, T) {
        let Self {
            call,
            class,
            message,
        } = self;
        let rest = Asked {
            call,
            class,
            message: (),
        };
        (rest, message)
    }

    /// Takes in what the message says of freshness, unless the metadata said something.
    pub(super) fn fresh(&mut self, consistency: Option<ReadConsistency>) -> Result<(), Status> {
        let asked = select::consistency(consistency).map_err(status)?;
        let consistency = &mut self.call.params.read.consistency;
        *consistency = consistency.or(asked);
        Ok(())
    }
}

/// Does the work within the seconds that the message allows.
pub(super) async fn within<T>(
    timeout: Option<u64>,
    class: Class,
    work: impl Future<Output = Result<T, ServiceError>>,
) -> Result<T, Status> {
    let Some(seconds) = timeout else {
        return work.await.map_err(status);
    };
    if seconds == 0 {
        let error = ApiError::bad_request("'timeout' is 0, it must be whole seconds, at least 1");
        return Err(status(error));
    }
    let limit = Duration::from_secs(seconds);
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(status),
        Err(_) => Err(status(class.timed_out(limit))),
    }
}

/// What Brainy does not have, by name.
pub(super) fn refused<T>(what: &str) -> Reply<T> {
    Err(status(ServiceError::Unsupported(what.to_owned())))
}
