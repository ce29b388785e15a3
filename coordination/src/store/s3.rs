//! S3 and its kin through the AWS SDK, one attempt per call.
//!
//! The SDK's own retries are off: after a commit whose answer is lost they report a conflict with ourselves (design
//! section 9). Errors are mapped to what is known of the effect.

mod error;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig, retry::RetryConfig,
};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_types::byte_stream::ByteStream;
use bytes::Bytes;

use self::error::{Request, late};
use super::common::{MAX_KEY_BYTES, MAX_PAGE, bad_range, check_key, check_range};
use super::{ETag, ListPage, Object, ObjectMeta, ObjectStore, StoreError};

/// Time allowed for each MiB of a body, on top of the operation's time-out: a link of 8 Mbit/s.
const PER_MIB: Duration = Duration::from_secs(1);

/// Where credentials come from.
#[derive(Clone)]
pub enum Credentials {
    /// A fixed pair of keys.
    Static {
        /// Access key id.
        access_key: String,
        /// Secret access key.
        secret_key: String,
        /// Token of temporary credentials.
        session_token: Option<String>,
    },
    /// The SDK's chain: environment, shared profile, web identity (IRSA), container and instance metadata.
    DefaultChain,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static { access_key, .. } => write!(f, "Static({access_key})"),
            Self::DefaultChain => f.write_str("DefaultChain"),
        }
    }
}

/// Connections that several stores share, and the certificates that they trust, which are loaded once.
#[derive(Clone, Debug)]
pub struct Connector(SharedHttpClient);

impl Connector {
    /// A connector without connections yet, for http:// and https://.
    #[must_use]
    pub fn new() -> Self {
        Self(https())
    }
}

impl Default for Connector {
    fn default() -> Self {
        Self::new()
    }
}

/// How to reach a bucket.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// Bucket name.
    pub bucket: String,
    /// Prefix of every key of this cluster, without slashes at its ends; empty for the whole bucket.
    pub prefix: String,
    /// Region; `None` asks the SDK's chain and falls back to `us-east-1`.
    pub region: Option<String>,
    /// Endpoint of a store that is not AWS's, such as `http://minio:9000`.
    pub endpoint: Option<String>,
    /// Name the bucket in the path in place of the host name; most stores other than AWS need it.
    pub path_style: bool,
    /// Credentials.
    pub credentials: Credentials,
    /// Connections to share with other stores; `None` opens its own.
    pub connector: Option<Connector>,
    /// Longest time to a connection.
    pub connect_timeout: Duration,
    /// Longest time from a request to the beginning of its answer.
    pub attempt_timeout: Duration,
    /// Longest time for a request and its bodies, one second per MiB more.
    pub operation_timeout: Duration,
}

impl S3Config {
    /// `bucket` on AWS, with credentials from the SDK's chain and time-outs that suit slow stores too.
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            region: None,
            endpoint: None,
            path_style: false,
            credentials: Credentials::DefaultChain,
            connector: None,
            connect_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(20),
            operation_timeout: Duration::from_secs(30),
        }
    }
}

/// A prefix of a bucket.
pub struct S3Store {
    client: Client,
    bucket: String,
    /// Empty, or ending in '/'.
    prefix: String,
    attempt_timeout: Duration,
    operation_timeout: Duration,
    unquoted: AtomicBool,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl S3Store {
    /// Prepares access; sends nothing to the bucket yet (the [probe](super::probe) does).
    ///
    /// # Errors
    /// `Refused` for a prefix that cannot be one.
    pub async fn connect(config: S3Config) -> Result<Arc<Self>, StoreError> {
        let prefix = config.prefix.trim_matches('/');
        if !prefix.is_empty() {
            check_key("connect", prefix)?;
        }
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        };
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.connect_timeout)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client(&config))
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts);
        if let Some(region) = config.region.clone() {
            loader = loader.region(Region::new(region));
        }
        if let Credentials::Static {
            access_key,
            secret_key,
            session_token,
        } = config.credentials
        {
            loader = loader.credentials_provider(aws_credential_types::Credentials::new(
                access_key,
                secret_key,
                session_token,
                None,
                "configuration",
            ));
            if config.region.is_none() && config.endpoint.is_some() {
                // Other stores do not care; asking the chain would end at an instance's metadata.
                loader = loader.region(Region::from_static("us-east-1"));
            }
        }
        let shared = loader.load().await;
        let mut builder = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(config.path_style)
            // Trailing checksums are refused by older stores of other makers.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if shared.region().is_none() {
            builder = builder.region(Region::from_static("us-east-1"));
        }
        if let Some(endpoint) = config.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Ok(Arc::new(Self {
            client: Client::from_conf(builder.build()),
            bucket: config.bucket,
            prefix,
            attempt_timeout: config.attempt_timeout,
            operation_timeout: config.operation_timeout,
            unquoted: AtomicBool::new(false),
        }))
    }

    /// Sends tags in `If-Match` without their quotes from now on, as Ceph wants them. The probe finds out.
    pub fn set_unquoted_if_match(&self, unquoted: bool) {
        self.unquoted.store(unquoted, Ordering::Relaxed);
    }

    /// Whether tags in `If-Match` are sent without quotes.
    #[must_use]
    pub fn unquoted_if_match(&self) -> bool {
        self.unquoted.load(Ordering::Relaxed)
    }

    fn full_key(&self, what: &'static str, key: &str) -> Result<String, StoreError> {
        check_key(what, key)?;
        let full = format!("{}{key}", self.prefix);
        if full.len() > MAX_KEY_BYTES {
            check_key(what, &full)?;
        }
        Ok(full)
    }

    fn if_match(&self, tag: &ETag) -> String {
        if self.unquoted_if_match() {
            tag.0.trim_matches('"').to_owned()
        } else {
            tag.0.clone()
        }
    }

    fn request<'a>(&'a self, what: &'static str, key: &'a str, is_write: bool) -> Request<'a> {
        Request {
            what,
            key,
            bucket: &self.bucket,
            is_write,
        }
    }

    fn time_for(&self, bytes: u64) -> Duration {
        let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        self.operation_timeout + PER_MIB.saturating_mul(mib)
    }

    /// Waits for the answer of a request without a large body.
    async fn answer<T, E>(
        &self,
        request: &Request<'_>,
        sent: impl Future<Output = Result<T, aws_sdk_s3::error::SdkError<E>>>,
    ) -> Result<T, StoreError>
    where
        E: error::Service,
    {
        match tokio::time::timeout(self.attempt_timeout, sent).await {
            Ok(done) => done.map_err(|e| request.failed(&e)),
            Err(_) => Err(late(request, self.attempt_timeout)),
        }
    }

    /// Reads the body of an answer.
    async fn body(
        &self,
        request: &Request<'_>,
        output: GetObjectOutput,
    ) -> Result<Object, StoreError> {
        let length = output.content_length.and_then(|n| u64::try_from(n).ok());
        let time = self.time_for(length.unwrap_or(0));
        let read = match tokio::time::timeout(time, output.body.collect()).await {
            Ok(read) => read.map_err(|e| request.unsettled(&e))?,
            Err(_) => return Err(late(request, time)),
        };
        let body = read.into_bytes();
        if length.is_some_and(|length| length != body.len() as u64) {
            return Err(request.unsettled(&"the body ended early"));
        }
        Ok(Object {
            body,
            etag: ETag(output.e_tag.unwrap_or_default()),
        })
    }

    async fn put_object(
        &self,
        what: &'static str,
        key: &str,
        body: Bytes,
        if_none_match: Option<&str>,
        if_match: Option<&ETag>,
    ) -> Result<ETag, StoreError> {
        let full = self.full_key(what, key)?;
        let request = self.request(what, key, true);
        let time = self.time_for(body.len() as u64);
        let sent = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(full)
            .set_if_none_match(if_none_match.map(str::to_owned))
            .set_if_match(if_match.map(|tag| self.if_match(tag)))
            .body(ByteStream::from(body))
            .send();
        match tokio::time::timeout(time, sent).await {
            Ok(Ok(output)) => Ok(ETag(output.e_tag.unwrap_or_default())),
            Ok(Err(e)) => Err(request.failed(&e)),
            Err(_) => Err(late(&request, time)),
        }
    }
}

/// Plain HTTP where that is all that is needed, so that no certificates need to be found; else rustls.
fn http_client(config: &S3Config) -> SharedHttpClient {
    if let Some(Connector(shared)) = &config.connector {
        return shared.clone();
    }
    let is_plain = |endpoint: &String| endpoint.starts_with("http://");
    match &config.credentials {
        Credentials::Static { .. } if config.endpoint.as_ref().is_some_and(is_plain) => {
            aws_smithy_http_client::Builder::new().build_http()
        }
        _ => https(),
    }
}

fn https() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https()
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        let full = self.full_key("get", key)?;
        let request = self.request("get", key, false);
        let sent = self.client.get_object().bucket(&self.bucket).key(full);
        let output = self.answer(&request, sent.send()).await?;
        self.body(&request, output).await
    }

    async fn get_if_changed(&self, key: &str, known: &ETag) -> Result<Option<Object>, StoreError> {
        let full = self.full_key("get-if-changed", key)?;
        let request = self.request("get-if-changed", key, false);
        let sent = self.client.get_object().bucket(&self.bucket).key(full);
        let sent = sent.if_none_match(self.if_match(known)).send();
        let output = match tokio::time::timeout(self.attempt_timeout, sent).await {
            Ok(Ok(output)) => output,
            Ok(Err(e)) if error::is_not_modified(&e) => return Ok(None),
            Ok(Err(e)) => return Err(request.failed(&e)),
            Err(_) => return Err(late(&request, self.attempt_timeout)),
        };
        let object = self.body(&request, output).await?;
        // A store that ignores the condition still tells the truth by its tag.
        Ok((object.etag != *known).then_some(object))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let full = self.full_key("get-range", key)?;
        check_range(key, &range)?;
        let request = self.request("get-range", key, false);
        let sent = self.client.get_object().bucket(&self.bucket).key(full);
        let sent = sent.range(format!("bytes={}-{}", range.start, range.end - 1));
        let sent = sent.send();
        let output = match tokio::time::timeout(self.attempt_timeout, sent).await {
            Ok(Ok(output)) => output,
            Ok(Err(e)) if error::is_outside(&e) => return Err(bad_range(key, &range, None)),
            Ok(Err(e)) => return Err(request.failed(&e)),
            Err(_) => return Err(late(&request, self.attempt_timeout)),
        };
        let size = output.content_length.and_then(|n| u64::try_from(n).ok());
        // S3 shortens a range that begins inside the object; a store that ignores ranges sends more.
        if size.is_some_and(|size| size != range.end - range.start) {
            return Err(bad_range(key, &range, None));
        }
        Ok(self.body(&request, output).await?.body)
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        self.put_object("put", key, body, None, None).await
    }

    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        let what = "put-if-absent";
        self.put_object(what, key, body, Some("*"), None).await
    }

    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        current: &ETag,
    ) -> Result<ETag, StoreError> {
        let what = "put-if-match";
        self.put_object(what, key, body, None, Some(current)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let full = self.full_key("delete", key)?;
        let request = self.request("delete", key, true);
        let sent = self.client.delete_object().bucket(&self.bucket).key(full);
        match self.answer(&request, sent.send()).await {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let request = self.request("list", prefix, false);
        let after = start_after.map(|after| format!("{}{after}", self.prefix));
        let sent = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(format!("{}{prefix}", self.prefix))
            .set_start_after(after)
            .max_keys(i32::try_from(limit).unwrap_or(i32::MAX));
        let output = self.answer(&request, sent.send()).await?;
        let objects = output.contents.unwrap_or_default().into_iter();
        let objects = objects.filter_map(|object| {
            let key = object.key?;
            Some(ObjectMeta {
                key: key.strip_prefix(&self.prefix)?.to_owned(),
                size: object.size.and_then(|n| u64::try_from(n).ok())?,
            })
        });
        Ok(ListPage {
            objects: objects.collect(),
            truncated: output.is_truncated.unwrap_or(false),
        })
    }
}
