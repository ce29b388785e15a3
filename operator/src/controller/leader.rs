//! One operator works, the others stand by: a Lease says which one.
//!
//! A leader that cannot renew its Lease ends before anybody else may take it. Two at once would do no harm all the same: the table
//! in S3 changes under conditions only, and pods are deleted only as they were last seen.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use kube::client::Body;
use kube::{Client, Config};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::BoxError;

use crate::error::OperatorError;

/// A Lease that was not renewed for this long may be taken by another.
const DURATION: Duration = Duration::from_secs(20);
/// It is renewed when this much of it is left.
const RENEW_BEFORE: Duration = Duration::from_secs(15);
/// A request about the Lease that takes longer has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// A leader ends when this much of its Lease is left: clocks differ, and what is under way has to end.
const MARGIN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(500);
/// How long the end may wait for the release.
const RELEASE_WITHIN: Duration = Duration::from_secs(3);

/// Our part in the election.
pub(super) struct Election {
    manager: LeaseManager,
    /// When the last renewal that succeeded was sent: from then on the Lease lasts, at least.
    renewed: Arc<Mutex<Instant>>,
}

impl Election {
    /// Prepares to stand for the Lease `name` in `namespace` as `identity`.
    ///
    /// # Errors
    /// What the API server said.
    pub(super) async fn new(
        config: Config,
        namespace: &str,
        name: &str,
        identity: &str,
    ) -> Result<Self, OperatorError> {
        let refused = |error: String| OperatorError::Lease {
            lease: format!("{namespace}/{name}"),
            message: error,
        };
        let client = Client::try_from(config).map_err(|error| refused(error.to_string()))?;
        let renewed = Arc::new(Mutex::new(Instant::now()));
        let noted = noting(client, Arc::clone(&renewed), REQUEST_TIMEOUT);
        let manager = LeaseManagerBuilder::new(noted, name)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(DURATION.as_secs())
            .with_grace(RENEW_BEFORE.as_secs())
            .build()
            .await
            .map_err(|error| refused(error.to_string()))?;
        Ok(Self { manager, renewed })
    }

    /// Waits until the Lease is ours.
    pub(super) async fn won(&self) {
        self.turned(true).await;
    }

    /// Waits until the Lease is not ours any more, or soon will not be; tells why.
    pub(super) async fn lost(&self) -> String {
        tokio::select! {
            () = self.turned(false) => "another process holds it".to_owned(),
            () = self.expired() => "it could not be renewed in time".to_owned(),
        }
    }

    async fn turned(&self, ours: bool) {
        loop {
            match self.manager.changed().await {
                Ok(now) if now == ours => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the Lease cannot be asked for or renewed");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Waits until the last renewal was too long ago.
    async fn expired(&self) {
        loop {
            let end = *self.renewed.lock() + DURATION - MARGIN;
            if Instant::now() >= end {
                return;
            }
            sleep_until(end).await;
        }
    }

    /// Gives the Lease back, so that another need not wait for its end.
    pub(super) async fn release(&self) {
        match timeout(RELEASE_WITHIN, self.manager.release()).await {
            Ok(Ok(())) => tracing::info!("the Lease is given back"),
            Ok(Err(error)) => tracing::warn!(%error, "the Lease cannot be given back"),
            Err(_) => tracing::warn!("the Lease could not be given back in time"),
        }
    }
}

/// A client whose requests end within `limit`, and that notes when the last change that succeeded was sent. While the Lease is ours, its
/// changes are renewals.
fn noting(client: Client, renewed: Arc<Mutex<Instant>>, limit: Duration) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, renewed) = (client.clone(), Arc::clone(&renewed));
        async move {
            let sent = Instant::now();
            let changes = request.method() == Method::PATCH;
            let answer = timeout(limit, client.send(request)).await??;
            if changes && answer.status().is_success() {
                *renewed.lock() = sent;
            }
            Ok::<_, BoxError>(answer)
        }
    });
    Client::new(service, namespace)
}

#[cfg(test)]
mod tests {
    use http::{Response, StatusCode};

    use super::*;

    /// A client of a server that answers everything with `status`.
    fn answering(status: StatusCode) -> Client {
        let service = tower::service_fn(move |_: Request<Body>| async move {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = status;
            Ok::<_, BoxError>(answer)
        });
        Client::new(service, "default")
    }

    async fn noted(method: Method, status: StatusCode) -> bool {
        let before = Instant::now() - Duration::from_secs(60);
        let renewed = Arc::new(Mutex::new(before));
        let client = noting(answering(status), Arc::clone(&renewed), REQUEST_TIMEOUT);
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        client.send(request).await.unwrap();
        let now = *renewed.lock();
        now != before
    }

    #[tokio::test]
    async fn only_a_change_that_succeeded_renews() {
        assert!(noted(Method::PATCH, StatusCode::OK).await);
        assert!(!noted(Method::PATCH, StatusCode::CONFLICT).await);
        assert!(!noted(Method::PATCH, StatusCode::INTERNAL_SERVER_ERROR).await);
        assert!(!noted(Method::GET, StatusCode::OK).await);
    }

    #[tokio::test]
    async fn a_server_that_is_silent_renews_nothing_and_holds_nobody_up() {
        let silent = tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, BoxError>>()
        });
        let before = Instant::now();
        let renewed = Arc::new(Mutex::new(before));
        let soon = Duration::from_millis(1);
        let client = noting(Client::new(silent, "default"), Arc::clone(&renewed), soon);
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::PATCH;
        client.send(request).await.unwrap_err();
        assert_eq!(*renewed.lock(), before);
    }
}
