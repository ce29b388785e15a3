//! Snapshots of collections and of all there is: made, listed, downloaded, deleted, recovered from.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use futures::{StreamExt, stream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::body::Body;
use super::describe::{Content, Octets, Schemas, Signature, Taken};
use super::dto::snapshots::{RecoverDto, SnapshotDto, check_sha256};
use super::errors::{Answer, ApiError};
use super::extract::{Call, Path};
use super::guard::Class;
use super::routes::Routes;
use crate::error::ServiceError;
use crate::snapshots::{Origin, Scope, SnapshotDescription, SnapshotService, Upload};

/// The part of a form that holds an archive.
const PART: &str = "snapshot";

pub(super) fn routes() -> Routes {
    reads().merge(changes())
}

fn reads() -> Routes {
    Routes::new("Snapshots", Class::Read)
        .get(
            "list_snapshots",
            "/collections/{name}/snapshots",
            list,
            "Lists the snapshots of a collection; also of one that was dropped.",
        )
        .get(
            "list_full_snapshots",
            "/snapshots",
            list_whole,
            "Lists the snapshots of all collections at once.",
        )
}

fn changes() -> Routes {
    Routes::new("Snapshots", Class::Transfer)
        .post(
            "create_snapshot",
            "/collections/{name}/snapshots",
            create,
            "Makes a snapshot of a collection: every write that was acknowledged before is in it.",
        )
        .get(
            "get_snapshot",
            "/collections/{name}/snapshots/{snapshot}",
            download,
            "Downloads a snapshot as one file.",
        )
        .delete(
            "delete_snapshot",
            "/collections/{name}/snapshots/{snapshot}",
            delete,
            "Deletes a snapshot.",
        )
        .put(
            "recover_from_snapshot",
            "/collections/{name}/snapshots/recover",
            recover,
            "Makes a collection what a snapshot holds, creating or replacing it in one step.",
        )
        .post(
            "recover_from_uploaded_snapshot",
            "/collections/{name}/snapshots/upload",
            upload,
            "As recover, from the file that is sent.",
        )
        .post(
            "create_full_snapshot",
            "/snapshots",
            create_whole,
            "Makes a snapshot of all collections.",
        )
        .get(
            "get_full_snapshot",
            "/snapshots/{snapshot}",
            download_whole,
            "Downloads a snapshot of all collections as one file.",
        )
        .delete(
            "delete_full_snapshot",
            "/snapshots/{snapshot}",
            delete_whole,
            "Deletes a snapshot of all collections.",
        )
}

async fn list(call: Call, Path(name): Path<String>) -> Answer<Vec<SnapshotDto>> {
    let listed = list_of(&call, &Scope::Collection(name)).await?;
    call.ok(listed.into_iter().map(SnapshotDto::from).collect())
}

async fn list_whole(call: Call) -> Answer<Vec<SnapshotDto>> {
    let listed = list_of(&call, &Scope::Whole).await?;
    call.ok(listed.into_iter().map(SnapshotDto::from).collect())
}

/// All snapshots that can be used.
pub(super) async fn list_of(
    call: &Call,
    scope: &Scope,
) -> Result<Vec<SnapshotDescription>, ServiceError> {
    service(call)?.list(scope).await
}

async fn create(call: Call, Path(name): Path<String>, options: Options) -> Answer<SnapshotDto> {
    // Whoever does not wait hears at least of this.
    call.service.schema(&name).await?;
    create_and_answer(&call, Scope::Collection(name), &options).await
}

async fn create_whole(call: Call, options: Options) -> Answer<SnapshotDto> {
    create_and_answer(&call, Scope::Whole, &options).await
}

async fn create_and_answer(call: &Call, scope: Scope, options: &Options) -> Answer<SnapshotDto> {
    if options.wait {
        return call.ok(create_of(call, scope).await?.into());
    }
    let call_of_task = call.clone();
    in_background(async move { create_of(&call_of_task, scope).await });
    call.accepted()
}

/// Makes a snapshot. A caller that goes away does not stop it.
pub(super) async fn create_of(
    call: &Call,
    scope: Scope,
) -> Result<SnapshotDescription, ServiceError> {
    let call = call.clone();
    joined(tokio::spawn(
        async move { service(&call)?.create(&scope).await },
    ))
    .await
}

async fn delete(
    call: Call,
    Path((name, snapshot)): Path<(String, String)>,
    _: Options,
) -> Answer<bool> {
    call.ok(delete_of(&call, &Scope::Collection(name), &snapshot).await?)
}

async fn delete_whole(call: Call, Path(snapshot): Path<String>, _: Options) -> Answer<bool> {
    call.ok(delete_of(&call, &Scope::Whole, &snapshot).await?)
}

/// Deletes a snapshot; always `true`, because a missing one is an error.
pub(super) async fn delete_of(
    call: &Call,
    scope: &Scope,
    snapshot: &str,
) -> Result<bool, ServiceError> {
    service(call)?.delete(scope, snapshot).await?;
    Ok(true)
}

async fn download(
    call: Call,
    Path((name, snapshot)): Path<(String, String)>,
) -> Result<Octets, ApiError> {
    file(&call, &Scope::Collection(name), &snapshot).await
}

async fn download_whole(call: Call, Path(snapshot): Path<String>) -> Result<Octets, ApiError> {
    file(&call, &Scope::Whole, &snapshot).await
}

async fn file(call: &Call, scope: &Scope, snapshot: &str) -> Result<Octets, ApiError> {
    let download = service(call)?.download(scope, snapshot).await?;
    // Names of snapshots have no characters that would need quoting.
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{snapshot}\""))
        .map_err(|e| ServiceError::Internal(format!("the name cannot be a header: {e}")))?;
    let kind = HeaderValue::from_static("application/octet-stream");
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_LENGTH, download.bytes.into()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    let body = axum::body::Body::from_stream(download.body);
    Ok(Octets((headers, body).into_response()))
}

async fn recover(
    call: Call,
    Path(name): Path<String>,
    options: Options,
    Body(dto): Body<RecoverDto>,
) -> Answer<bool> {
    let (origin, sha256) = dto.into_origin()?;
    let task = recovering(&call, name, origin, sha256);
    if options.wait {
        joined(task).await?;
        return call.ok(true);
    }
    in_background(joined(task));
    call.accepted()
}

async fn upload(
    call: Call,
    Path(name): Path<String>,
    options: Options,
    Form(body): Form,
) -> Answer<bool> {
    let (reading, read) = oneshot::channel::<()>();
    // Dropped when the last of it was taken, or when nobody wants more.
    let body = stream::unfold((body, reading), |(mut body, reading)| async {
        let piece = body.next().await?;
        Some((piece, (body, reading)))
    });
    let origin = Origin::Upload(Box::pin(body));
    let task = recovering(&call, name, origin, options.checksum.clone());
    if !options.wait {
        // A client that still sends would take an answer for a refusal.
        let _dropped = read.await;
        if !task.is_finished() {
            in_background(joined(task));
            return call.accepted();
        }
    }
    joined(task).await?;
    call.ok(true)
}

fn recovering(
    call: &Call,
    name: String,
    origin: Origin,
    sha256: Option<String>,
) -> JoinHandle<Result<(), ServiceError>> {
    let call = call.clone();
    tokio::spawn(async move { service(&call)?.recover(&name, origin, sha256).await })
}

fn service(call: &Call) -> Result<&dyn SnapshotService, ServiceError> {
    call.service
        .snapshots()
        .ok_or_else(|| ServiceError::Unsupported("snapshots of a service in memory".to_owned()))
}

async fn joined<T>(task: JoinHandle<Result<T, ServiceError>>) -> Result<T, ServiceError> {
    task.await
        .map_err(|e| ServiceError::Internal(format!("the task of the request: {e}")))?
}

/// Does what nobody waits for.
fn in_background<T: Send + 'static>(
    work: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) {
    tokio::spawn(async move {
        if let Err(error) = work.await {
            tracing::error!(%error, "a request with wait=false failed");
        }
    });
}

/// Query parameters of these routes.
struct Options {
    /// Whether the client wants to hear how it went.
    wait: bool,
    /// SHA-256 that an upload must have.
    checksum: Option<String>,
}

impl Taken for Options {}

impl<S: Send + Sync> FromRequestParts<S> for Options {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        #[derive(serde::Deserialize)]
        struct Raw {
            wait: Option<String>,
            checksum: Option<String>,
            priority: Option<String>,
        }
        let axum::extract::Query(raw) =
            axum::extract::Query::<Raw>::from_request_parts(parts, state)
                .await
                .map_err(|e| ApiError::bad_request(format!("query string: {}", e.body_text())))?;
        // There is one copy of the data, so each of Qdrant's priorities between copies means the same.
        if let Some(other) = raw.priority.as_deref()
            && !matches!(other, "no_sync" | "snapshot" | "replica")
        {
            let shown: String = other.chars().take(64).collect();
            return Err(ApiError::bad_request(format!(
                "query parameter 'priority' is '{shown}', it must be no_sync, snapshot or replica"
            )));
        }
        if let Some(sum) = &raw.checksum {
            check_sha256("query parameter 'checksum'", sum)?;
        }
        Ok(Self {
            // The guard has refused anything but true and false.
            wait: raw.wait.as_deref() != Some("false"),
            checksum: raw.checksum,
        })
    }
}

/// The archive in a form.
struct Form(Upload);

impl Taken for Form {
    fn describe(signature: &mut Signature, _: &mut Schemas) {
        let content = Content {
            media: "multipart/form-data",
            schema: schemars::json_schema!({
                "type": "object",
                "required": [PART],
                "properties": {PART: {"type": "string", "format": "binary", "description": "The file."}},
            }),
        };
        signature.takes = Some((content, true));
    }
}

impl<S: Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let boundary = multer::parse_boundary(kind).map_err(|_| {
            ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "header 'content-type' must be multipart/form-data with a boundary",
            )
        })?;
        let mut form = multer::Multipart::new(request.into_body().into_data_stream(), boundary);
        let unreadable = |e: multer::Error| ApiError::bad_request(format!("the form: {e}"));
        while let Some(part) = form.next_field().await.map_err(unreadable)? {
            if part.name() == Some(PART) {
                let pieces = part.map(|piece| piece.map_err(|e| format!("the form: {e}")));
                return Ok(Self(Box::pin(pieces)));
            }
        }
        Err(ApiError::bad_request(format!(
            "the form has no part '{PART}'"
        )))
    }
}
