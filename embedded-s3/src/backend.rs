//! S3's operations on directory stores. What is not here is answered with `NotImplemented`.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use brainy_coordination::store::dir::{Head, WriteCondition};
use brainy_coordination::store::{ETag as StoreTag, ObjectStore, StoreError};
use futures::{StreamExt, stream};
use s3s::dto::{
    Bucket, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput,
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    ETag, ETagCondition, Error as DeleteError, GetBucketLocationInput, GetBucketLocationOutput,
    GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
    HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListObjectsV2Input, ListObjectsV2Output,
    PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use tokio_util::io::ReaderStream;

use crate::buckets::Buckets;
use crate::listing;

/// Largest object that one PUT may make, in bytes, as in S3.
const MAX_OBJECT_BYTES: u64 = 5 << 30;
/// Up to this size (bytes) a GET is read in one go.
const WHOLE_READ_BYTES: u64 = 1 << 20;
/// Size of the pieces, in bytes, in which larger objects are read.
const PIECE_BYTES: usize = 256 * 1024;

/// The operations.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) buckets: Arc<Buckets>,
}

/// What a store said, as S3 says it.
pub(crate) fn refusal(error: StoreError) -> S3Error {
    let text = error.to_string();
    let code = match error {
        StoreError::NotFound { .. } => S3ErrorCode::NoSuchKey,
        StoreError::PreconditionFailed { .. } => S3ErrorCode::PreconditionFailed,
        StoreError::Busy { .. } => S3ErrorCode::ServiceUnavailable,
        StoreError::Ambiguous { .. } => S3ErrorCode::InternalError,
        StoreError::Refused { .. } => S3ErrorCode::InvalidRequest,
    };
    S3Error::with_message(code, text)
}

fn wire_tag(tag: &StoreTag) -> ETag {
    ETag::Strong(tag.0.trim_matches('"').to_owned())
}

fn store_tag(tag: &ETag) -> StoreTag {
    StoreTag(format!("\"{}\"", tag.value()))
}

fn matches(condition: &ETagCondition, tag: &StoreTag) -> bool {
    condition
        .as_etag()
        .is_none_or(|wanted| store_tag(wanted) == *tag)
}

/// The conditions of a GET or HEAD (RFC 9110, section 13.2.2, without dates).
fn check_read(
    head: &Head,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    if if_match.is_some_and(|c| !matches(c, &head.etag)) {
        return Err(s3_error!(PreconditionFailed, "If-Match did not hold"));
    }
    if if_none_match.is_some_and(|c| matches(c, &head.etag)) {
        let mut error = s3_error!(NotModified);
        let mut headers = http::HeaderMap::new();
        if let Ok(tag) = head.etag.0.parse() {
            headers.insert(http::header::ETAG, tag);
        }
        error.set_headers(headers);
        return Err(error);
    }
    Ok(())
}

fn write_condition(input: &PutObjectInput) -> S3Result<WriteCondition> {
    match (&input.if_match, &input.if_none_match) {
        (None, None) => Ok(WriteCondition::None),
        (Some(ETagCondition::ETag(tag)), None) => Ok(WriteCondition::Match(store_tag(tag))),
        (None, Some(ETagCondition::Any)) => Ok(WriteCondition::Absent),
        _ => Err(s3_error!(
            NotImplemented,
            "A write takes 'If-Match: <etag>' or 'If-None-Match: *', not both"
        )),
    }
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn read_failed(e: std::io::Error) -> S3Error {
    s3_error!(e, InternalError, "The object's file cannot be read")
}

/// Bytes `range` of `file`: small ones whole, others in pieces as the client takes them.
async fn body(mut file: std::fs::File, range: std::ops::Range<u64>) -> S3Result<StreamingBlob> {
    let size = range.end - range.start;
    let sought = tokio::task::spawn_blocking(move || {
        file.seek(SeekFrom::Start(range.start))?;
        let mut whole = Vec::new();
        if size <= WHOLE_READ_BYTES {
            (&mut file).take(size).read_to_end(&mut whole)?;
        }
        Ok::<_, std::io::Error>((file, whole))
    })
    .await;
    let (file, whole) = sought
        .map_err(|e| s3_error!(e, ServiceUnavailable))?
        .map_err(read_failed)?;
    if size <= WHOLE_READ_BYTES {
        let once = stream::iter([Ok::<_, std::io::Error>(whole.into())]);
        return Ok(StreamingBlob::wrap(once));
    }
    let rest = tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), size);
    Ok(StreamingBlob::wrap(ReaderStream::with_capacity(
        rest,
        PIECE_BYTES,
    )))
}

#[async_trait::async_trait]
impl S3 for Backend {
    async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        let condition = write_condition(&input)?;
        let bucket = self.buckets.get(&input.bucket)?;
        // The whole body is taken before the condition is looked at: a client that is still sending when it is refused
        // sees a broken connection in place of the answer.
        let mut upload = bucket.upload();
        let mut size = 0;
        if let Some(mut pieces) = input.body {
            while let Some(piece) = pieces.next().await {
                let piece =
                    piece.map_err(|e| S3Error::with_source(S3ErrorCode::IncompleteBody, e))?;
                size += piece.len() as u64;
                if size > MAX_OBJECT_BYTES {
                    return Err(s3_error!(EntityTooLarge, "An object has at most 5 GiB"));
                }
                upload.write(piece).await.map_err(refusal)?;
            }
        }
        let tag = upload
            .commit(&input.key, condition)
            .await
            .map_err(refusal)?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(wire_tag(&tag)),
            ..Default::default()
        }))
    }

    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let bucket = self.buckets.get(&input.bucket)?;
        let (head, file) = bucket.open_object(&input.key).await.map_err(refusal)?;
        check_read(&head, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let (range, content_range) = match &input.range {
            None => (0..head.size, None),
            Some(asked) => {
                let range = asked
                    .check(head.size)
                    .map_err(|_| s3_error!(InvalidRange, "The object has {} bytes", head.size))?;
                let text = format!("bytes {}-{}/{}", range.start, range.end - 1, head.size);
                (range, Some(text))
            }
        };
        let size = range.end - range.start;
        Ok(S3Response::new(GetObjectOutput {
            body: Some(body(file, range).await?),
            content_length: Some(signed(size)),
            content_range,
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(wire_tag(&head.etag)),
            last_modified: Some(Timestamp::from(head.modified)),
            ..Default::default()
        }))
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        let bucket = self.buckets.get(&input.bucket)?;
        let head = bucket.head(&input.key).await.map_err(refusal)?;
        check_read(&head, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(signed(head.size)),
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(wire_tag(&head.etag)),
            last_modified: Some(Timestamp::from(head.modified)),
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        if req.input.if_match.is_some() {
            return Err(s3_error!(NotImplemented, "Conditional removal"));
        }
        let bucket = self.buckets.get(&req.input.bucket)?;
        bucket.delete(&req.input.key).await.map_err(refusal)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let bucket = self.buckets.get(&req.input.bucket)?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in req.input.delete.objects {
            match bucket.delete(&object.key).await {
                Ok(()) => deleted.push(DeletedObject {
                    key: Some(object.key),
                    ..Default::default()
                }),
                Err(e) => {
                    let e = refusal(e);
                    errors.push(DeleteError {
                        code: Some(e.code().as_str().to_owned()),
                        key: Some(object.key),
                        message: e.message().map(str::to_owned),
                        ..Default::default()
                    });
                }
            }
        }
        if req.input.delete.quiet == Some(true) {
            deleted.clear();
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let bucket = self.buckets.get(&req.input.bucket)?;
        let output = listing::page(&bucket, req.input).await?;
        Ok(S3Response::new(output))
    }

    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let name = &req.input.bucket;
        if !self.buckets.create(name).await.map_err(refusal)? {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(format!("/{name}")),
        }))
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.buckets.remove(&req.input.bucket).await?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.buckets.get(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.buckets.get(&req.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn list_buckets(
        &self,
        _req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let buckets = self.buckets.list().into_iter();
        let buckets = buckets.map(|(name, created)| Bucket {
            name: Some(name),
            creation_date: created.map(Timestamp::from),
            ..Default::default()
        });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            ..Default::default()
        }))
    }
}
