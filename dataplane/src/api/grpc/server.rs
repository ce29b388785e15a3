//! The service of the server itself.

use tonic::{Request, Response};

use super::Api;
use super::asked::Reply;
use super::proto::qdrant_server::Qdrant;
use super::proto::{HealthCheckReply, HealthCheckRequest};
use crate::api::ops::{QDRANT_API_VERSION, TITLE};

#[tonic::async_trait]
impl Qdrant for Api {
    async fn health_check(&self, _: Request<HealthCheckRequest>) -> Reply<HealthCheckReply> {
        Ok(Response::new(HealthCheckReply {
            title: TITLE.to_owned(),
            version: QDRANT_API_VERSION.to_owned(),
            commit: None,
        }))
    }
}
