//! A bucket that is only read.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::{ETag, ListPage, Object, ObjectStore, StoreError};

/// Access to a peer's bucket: whatever its credentials allow, nothing is written and nothing removed.
#[derive(Debug)]
pub struct ReadOnly(Arc<dyn ObjectStore>);

impl ReadOnly {
    /// `inner` without its writes.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        Arc::new(Self(inner))
    }
}

fn refused<T>(what: &'static str, key: &str) -> Result<T, StoreError> {
    Err(StoreError::Refused {
        what,
        key: key.to_owned(),
        message: "the bucket of another cluster is only read".to_owned(),
        remedy: "This is a defect in Brainy, please report it".to_owned(),
    })
}

#[async_trait]
impl ObjectStore for ReadOnly {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        self.0.get(key).await
    }

    async fn get_if_changed(&self, key: &str, known: &ETag) -> Result<Option<Object>, StoreError> {
        self.0.get_if_changed(key, known).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.0.get_range(key, range).await
    }

    async fn put(&self, key: &str, _body: Bytes) -> Result<ETag, StoreError> {
        refused("put", key)
    }

    async fn put_if_absent(&self, key: &str, _body: Bytes) -> Result<ETag, StoreError> {
        refused("put-if-absent", key)
    }

    async fn put_if_match(
        &self,
        key: &str,
        _body: Bytes,
        _current: &ETag,
    ) -> Result<ETag, StoreError> {
        refused("put-if-match", key)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        refused("delete", key)
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StoreError> {
        self.0.list(prefix, start_after, limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::retry::{RetryPolicy, Store};
    use crate::store::sim::SimBucket;

    #[tokio::test]
    async fn a_peers_bucket_is_read_and_never_written() {
        let bucket = SimBucket::new(1);
        let own = Store::new(bucket.client("own"), RetryPolicy::default());
        own.put("a", Bytes::from_static(b"1")).await.unwrap();
        let peer = Store::new(ReadOnly::new(bucket.client("peer")), RetryPolicy::default());
        let read = peer.get("a").await.unwrap().unwrap();
        assert_eq!(&read.body[..], b"1");
        assert_eq!(peer.list_all("").await.unwrap().len(), 1);
        assert!(peer.put("a", Bytes::new()).await.is_err());
        assert!(peer.create("b", Bytes::new()).await.is_err());
        assert!(peer.swap("a", Bytes::new(), &read.etag).await.is_err());
        assert!(peer.delete("a").await.is_err());
        assert_eq!(bucket.snapshot().len(), 1);
    }
}
