//! What the server promises beyond the suite: restarts, keys, buckets, listings, and faults as they arrive at a client.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::time::Duration;

use aws_sdk_s3::config::{
    BehaviorVersion, Credentials as SdkCredentials, Region, retry::RetryConfig,
};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use brainy_coordination::store::s3::{Credentials, S3Store};
use brainy_coordination::store::{ObjectStore, StoreError};
use brainy_embedded_s3::faults::{Fault, Faults, Rule, When};
use brainy_embedded_s3::{EmbeddedS3, Running};
use bytes::Bytes;

use common::{BUCKET, client_config, connect, serve, server_config};

fn sdk(server: &Running) -> aws_sdk_s3::Client {
    let keys = SdkCredentials::new("tester", "a secret for tests", None, None, "test");
    aws_sdk_s3::Client::from_conf(
        aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(server.endpoint())
            .region(Region::from_static("us-east-1"))
            .force_path_style(true)
            .retry_config(RetryConfig::disabled())
            .credentials_provider(keys)
            .build(),
    )
}

fn one() -> Bytes {
    Bytes::from_static(b"1")
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), &Faults::new(0)).await;
    let etag = connect(&server).await.put("a/b", one()).await.unwrap();
    sdk(&server)
        .create_bucket()
        .bucket("another")
        .send()
        .await
        .unwrap();
    let second = EmbeddedS3::start(server_config(dir.path()))
        .await
        .unwrap_err();
    assert!(
        second.to_string().contains("in use by another process"),
        "{second}"
    );
    server.shutdown().await;

    let server = serve(dir.path(), &Faults::new(0)).await;
    let store = connect(&server).await;
    assert_eq!(store.get("a/b").await.unwrap().etag, etag);
    store
        .put_if_match("a/b", Bytes::from_static(b"2"), &etag)
        .await
        .unwrap();
    let buckets = sdk(&server).list_buckets().send().await.unwrap();
    let names: Vec<_> = buckets.buckets().iter().filter_map(|b| b.name()).collect();
    assert_eq!(names, ["another", BUCKET]);
    server.shutdown().await;
}

#[tokio::test]
async fn wrong_keys_and_buckets_are_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), &Faults::new(0)).await;
    let keys = |access: &str, secret: &str| Credentials::Static {
        access_key: access.to_owned(),
        secret_key: secret.to_owned(),
        session_token: None,
    };
    let config = client_config(server.endpoint());
    let mut wrong_access = config.clone();
    wrong_access.credentials = keys("nobody", "a secret for tests");
    let mut wrong_secret = config.clone();
    wrong_secret.credentials = keys("tester", "a guess");
    let mut wrong_bucket = config.clone();
    wrong_bucket.bucket = "no-such-bucket".to_owned();
    for (config, code, remedy) in [
        (wrong_access, "InvalidAccessKeyId", "access key"),
        (wrong_secret, "SignatureDoesNotMatch", "secret key"),
        (
            wrong_bucket,
            "NoSuchBucket",
            "Create the bucket 'no-such-bucket'",
        ),
    ] {
        let store = S3Store::connect(config).await.unwrap();
        for error in [
            store.put_if_absent("k", one()).await.unwrap_err(),
            store.get("k").await.unwrap_err(),
            store.list("", None, 1).await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Refused { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(code) && text.contains(remedy), "{text}");
        }
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_busy_and_so_is_nothing_lost() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), &Faults::new(0)).await;
    let store = connect(&server).await;
    server.shutdown().await;
    for error in [
        store.put_if_absent("k", one()).await.unwrap_err(),
        store.get("k").await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    }
}

#[tokio::test]
async fn each_fault_arrives_as_what_it_is() {
    let faults = Faults::new(0);
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), &faults).await;
    let mut config = client_config(server.endpoint());
    config.attempt_timeout = Duration::from_millis(500);
    config.operation_timeout = Duration::from_millis(500);
    let store = S3Store::connect(config).await.unwrap();
    // Fault, whether a write is ambiguous (else busy), whether it took effect.
    let table = [
        (Fault::Conflict, false, false),
        (Fault::SlowDown, false, false),
        (Fault::InternalError, true, false),
        (Fault::Cut, true, false),
        (Fault::LoseAnswer, true, true),
    ];
    for (n, (fault, ambiguous, effective)) in table.into_iter().enumerate() {
        let key = format!("k{n}");
        faults.set(vec![Rule::on(http::Method::PUT, fault, When::Next(1))]);
        let error = store.put_if_absent(&key, one()).await.unwrap_err();
        assert_eq!(
            matches!(error, StoreError::Ambiguous { .. }),
            ambiguous,
            "{fault:?}: {error}"
        );
        assert_eq!(
            matches!(error, StoreError::Busy { .. }),
            !ambiguous,
            "{fault:?}: {error}"
        );
        let there = store.get(&key).await;
        assert_eq!(there.is_ok(), effective, "{fault:?}: {there:?}");
        if fault == Fault::Conflict {
            continue;
        }
        faults.set(vec![Rule::on(http::Method::GET, fault, When::Next(1))]);
        let error = store.get("k4").await.unwrap_err();
        assert!(
            matches!(error, StoreError::Busy { .. }),
            "{fault:?}: {error}"
        );
    }
    let pause = Fault::Delay(Duration::from_secs(2));
    faults.set(vec![Rule {
        key_prefix: "clusters/one/slow".to_owned(),
        ..Rule::any(pause, When::Next(1))
    }]);
    store.put("fast", one()).await.unwrap();
    let error = store.put_if_absent("slow", one()).await.unwrap_err();
    assert!(matches!(error, StoreError::Ambiguous { .. }), "{error}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_large_body_is_read_before_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), &Faults::new(0)).await;
    let store = connect(&server).await;
    store.put("large", one()).await.unwrap();
    let body = Bytes::from(vec![1; 24 << 20]);
    let error = store
        .put_if_absent("large", body.clone())
        .await
        .unwrap_err();
    assert!(
        matches!(error, StoreError::PreconditionFailed { .. }),
        "{error}"
    );
    store.put("large", body.clone()).await.unwrap();
    assert!(store.get("large").await.unwrap().body == body);
    let middle = store.get_range("large", 5 << 20..9 << 20).await.unwrap();
    assert_eq!(middle.len(), 4 << 20);
    server.shutdown().await;
}

#[tokio::test]
async fn listings_have_folders_and_pages() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), &Faults::new(0)).await;
    let s3 = sdk(&server);
    for key in ["a", "b/1", "b/2", "b/c/3", "b-x", "c/1", "d"] {
        let body = ByteStream::from(one());
        s3.put_object()
            .bucket(BUCKET)
            .key(key)
            .body(body)
            .send()
            .await
            .unwrap();
    }
    for size in 1..=6 {
        let (mut keys, mut folders, mut token) = (Vec::new(), Vec::new(), None);
        loop {
            let page = s3
                .list_objects_v2()
                .bucket(BUCKET)
                .delimiter("/")
                .max_keys(size)
                .set_continuation_token(token)
                .send()
                .await
                .unwrap();
            assert!(page.key_count().unwrap() <= size);
            keys.extend(
                page.contents()
                    .iter()
                    .filter_map(|o| o.key().map(str::to_owned)),
            );
            let more = page.common_prefixes().iter();
            folders.extend(more.filter_map(|p| p.prefix().map(str::to_owned)));
            token = page.next_continuation_token().map(str::to_owned);
            assert_eq!(page.is_truncated(), Some(token.is_some()));
            if token.is_none() {
                break;
            }
        }
        assert_eq!(keys, ["a", "b-x", "d"], "pages of {size}");
        assert_eq!(folders, ["b/", "c/"], "pages of {size}");
    }
    let below = s3
        .list_objects_v2()
        .bucket(BUCKET)
        .prefix("b/")
        .delimiter("/");
    let below = below.send().await.unwrap();
    assert_eq!(below.contents().len(), 2);
    assert_eq!(below.common_prefixes()[0].prefix(), Some("b/c/"));
    let none = s3
        .list_objects_v2()
        .bucket(BUCKET)
        .max_keys(0)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (none.key_count(), none.is_truncated()),
        (Some(0), Some(false))
    );
    server.shutdown().await;
}

#[tokio::test]
async fn buckets_heads_and_removals() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), &Faults::new(0)).await;
    let s3 = sdk(&server);
    let code = |e: &dyn aws_sdk_s3::error::ProvideErrorMetadata| e.code().unwrap_or("").to_owned();
    s3.create_bucket().bucket("more").send().await.unwrap();
    let again = s3.create_bucket().bucket("more").send().await.unwrap_err();
    assert_eq!(code(&again), "BucketAlreadyOwnedByYou");
    s3.head_bucket().bucket("more").send().await.unwrap();

    let body = ByteStream::from_static(b"0123456789");
    let put = s3.put_object().bucket("more").key("x/y").body(body);
    let etag = put.send().await.unwrap().e_tag.unwrap();
    let head = s3
        .head_object()
        .bucket("more")
        .key("x/y")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (head.content_length(), head.e_tag()),
        (Some(10), Some(&*etag))
    );
    assert!(head.last_modified().is_some());
    let part = s3.get_object().bucket("more").key("x/y").range("bytes=-3");
    let part = part.send().await.unwrap();
    assert_eq!(part.content_range(), Some("bytes 7-9/10"));
    assert_eq!(part.body.collect().await.unwrap().into_bytes(), "789");
    let other = s3.get_object().bucket("more").key("x/y").if_match("\"00\"");
    assert_eq!(code(&other.send().await.unwrap_err()), "PreconditionFailed");

    let full = s3.delete_bucket().bucket("more").send().await.unwrap_err();
    assert_eq!(code(&full), "BucketNotEmpty");
    let ids = ["x/y", "not/there"].map(|k| ObjectIdentifier::builder().key(k).build().unwrap());
    let list = Delete::builder()
        .set_objects(Some(ids.to_vec()))
        .build()
        .unwrap();
    let gone = s3
        .delete_objects()
        .bucket("more")
        .delete(list)
        .send()
        .await
        .unwrap();
    assert_eq!((gone.deleted().len(), gone.errors().len()), (2, 0));
    s3.delete_bucket().bucket("more").send().await.unwrap();
    assert!(s3.head_bucket().bucket("more").send().await.is_err());

    let multi = s3
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await;
    assert_eq!(code(&multi.unwrap_err()), "NotImplemented");
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = server_config(dir.path());
    config.bucket = "Not A Bucket".to_owned();
    let error = EmbeddedS3::start(config).await.unwrap_err().to_string();
    assert!(error.contains("Not A Bucket"), "{error}");

    let first = EmbeddedS3::start(server_config(dir.path())).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut config = server_config(other.path());
    config.listen = first.address();
    let error = EmbeddedS3::start(config).await.unwrap_err().to_string();
    assert!(error.contains("port"), "{error}");
    first.shutdown().await;
}
