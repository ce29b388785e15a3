//! The HTTP side: connections, signatures, injected faults, and an orderly end.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use s3s::auth::{S3Auth, SecretKey};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::validation::{AwsNameValidation, NameValidation};
use s3s::{Body, S3Error, S3ErrorCode, S3Result, StdError, s3_error};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::buckets::Buckets;
use crate::faults::{Fault, Faults};
use crate::traffic::Traffic;
use crate::{EmbeddedS3Config, EmbeddedS3Error};

/// How long requests under way may take once the server was asked to stop.
const GRACE: Duration = Duration::from_secs(10);
/// A connection that has not sent a request's headers by then is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts servers.
#[derive(Debug)]
pub struct EmbeddedS3;

impl EmbeddedS3 {
    /// Opens the directory, creates the bucket if need be, and serves.
    ///
    /// # Errors
    /// [`EmbeddedS3Error`] when the bucket's name, the directory or the address cannot be used.
    pub async fn start(config: EmbeddedS3Config) -> Result<Running, EmbeddedS3Error> {
        Self::start_with_faults(config, Faults::new(0)).await
    }

    /// As [`EmbeddedS3::start`], with faults that the caller can set.
    ///
    /// # Errors
    /// As [`EmbeddedS3::start`].
    pub async fn start_with_faults(
        config: EmbeddedS3Config,
        faults: Arc<Faults>,
    ) -> Result<Running, EmbeddedS3Error> {
        if !AwsNameValidation::new().validate_bucket_name(&config.bucket) {
            return Err(EmbeddedS3Error::BucketName(config.bucket));
        }
        let fail = |message: String| EmbeddedS3Error::Root {
            root: config.root.clone(),
            message,
        };
        let root = config.root.clone();
        let buckets = tokio::task::spawn_blocking(move || Buckets::open(&root))
            .await
            .map_err(|e| fail(e.to_string()))??;
        let made = buckets.create(&config.bucket).await;
        made.map_err(|e| fail(e.to_string()))?;

        let refuse = |source| EmbeddedS3Error::Listen {
            listen: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        let mut builder = S3ServiceBuilder::new(Backend {
            buckets: Arc::new(buckets),
        });
        builder.set_auth(OneKey {
            access_key: config.access_key,
            secret_key: config.secret_key.into(),
        });
        let traffic = Arc::new(Traffic::default());
        let service = Faulty {
            inner: builder.build(),
            faults,
            traffic: traffic.clone(),
        };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, service, stop.clone()));
        Ok(Running {
            address,
            traffic,
            stop,
            serving,
        })
    }
}

/// A server that runs. Dropping it cuts all connections at once.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Running {
    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked so far.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The address as an S3 endpoint; buckets are named in the path.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Accepts nothing new, lets requests under way finish (for at most ten seconds), and releases the directory.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.serving).await {
            tracing::error!(%error, "embedded S3 server ended badly");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, service: Faulty, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, service.clone(), graceful.watcher()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: connections that end will give some back.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let finished = tokio::time::timeout(GRACE, async {
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    });
    if finished.await.is_err() {
        tracing::warn!("requests did not finish in time and were cut");
        connections.shutdown().await;
    }
}

async fn connection(
    stream: TcpStream,
    service: Faulty,
    watcher: hyper_util::server::graceful::Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(serving.into_owned()).await {
        tracing::debug!(%error, "connection ended");
    }
}

/// The one pair of keys that is let in.
struct OneKey {
    access_key: String,
    secret_key: SecretKey,
}

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key {
            return Ok(self.secret_key.clone());
        }
        Err(s3_error!(
            InvalidAccessKeyId,
            "This server does not know the access key"
        ))
    }
}

/// The S3 service behind injected faults.
#[derive(Clone)]
struct Faulty {
    inner: S3Service,
    faults: Arc<Faults>,
    traffic: Arc<Traffic>,
}

impl Service<http::Request<Incoming>> for Faulty {
    type Response = http::Response<Body>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, StdError>> + Send>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let this = self.clone();
        Box::pin(this.answer(request))
    }
}

impl Faulty {
    async fn answer(
        self,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<Body>, StdError> {
        self.traffic.count(request.method(), request.uri());
        let path = request.uri().path();
        let fate = self
            .faults
            .decide(request.method(), path, request.headers());
        if !fate.delay.is_zero() {
            tokio::time::sleep(fate.delay).await;
        }
        let refusal = match fate.fault {
            Some(Fault::Conflict) => Some(S3Error::with_message(
                S3ErrorCode::ConditionalRequestConflict,
                "Injected: a conflicting operation is under way",
            )),
            Some(Fault::SlowDown) => Some(S3Error::with_message(
                S3ErrorCode::SlowDown,
                "Injected: reduce your request rate",
            )),
            Some(Fault::InternalError) => Some(S3Error::with_message(
                S3ErrorCode::InternalError,
                "Injected: try again",
            )),
            _ => None,
        };
        if let Some(error) = refusal {
            return refuse(request, error).await;
        }
        match fate.fault {
            // An error of the service makes hyper close the connection without an answer.
            Some(Fault::Cut) => Err("injected: connection cut before the request".into()),
            Some(Fault::LoseAnswer) => {
                Service::call(&self.inner, request).await?;
                Err("injected: answer lost".into())
            }
            _ => Ok(Service::call(&self.inner, request).await?),
        }
    }
}

/// Takes the body, then answers with `error`.
async fn refuse(
    request: http::Request<Incoming>,
    error: S3Error,
) -> Result<http::Response<Body>, StdError> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(error.to_http_response()?)
}
