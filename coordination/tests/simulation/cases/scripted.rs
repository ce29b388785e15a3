//! A store that does to each request what a script says: lose the answer, hang, wait for a signal.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use brainy_coordination::store::sim::SimStore;
use brainy_coordination::store::{ETag, ListPage, Object, ObjectStore, StoreError};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// What happens to one request.
pub(super) enum Step {
    /// It is answered.
    Go,
    /// It never leaves and is never answered.
    Hang,
    /// It takes effect and is never answered.
    HangAfter,
    /// It takes effect; its answer is lost.
    LoseAnswer,
    /// It leaves when the signal has a permit.
    Hold(Arc<Semaphore>),
    /// It takes effect; its answer comes when the signal has a permit.
    HoldAnswer(Arc<Semaphore>),
}

type Script = Box<dyn FnMut(&'static str, &str) -> Step + Send>;

pub(super) struct Scripted {
    inner: Arc<SimStore>,
    script: Mutex<Script>,
}

impl Scripted {
    pub(super) fn new(
        inner: Arc<SimStore>,
        script: impl FnMut(&'static str, &str) -> Step + Send + 'static,
    ) -> Self {
        Self {
            inner,
            script: Mutex::new(Box::new(script)),
        }
    }

    async fn play<T>(
        &self,
        what: &'static str,
        key: &str,
        request: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let step = (self.script.lock())(what, key);
        match step {
            Step::Go => request.await,
            Step::Hang => std::future::pending().await,
            Step::HangAfter => {
                let _unheard = request.await;
                std::future::pending().await
            }
            Step::LoseAnswer => {
                let _unheard = request.await;
                Err(StoreError::Ambiguous {
                    what,
                    key: key.to_owned(),
                    message: "the answer was lost".to_owned(),
                })
            }
            Step::Hold(signal) => {
                signal.acquire().await.expect("never closed").forget();
                request.await
            }
            Step::HoldAnswer(signal) => {
                let answer = request.await;
                signal.acquire().await.expect("never closed").forget();
                answer
            }
        }
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scripted").field(&self.inner).finish()
    }
}

#[async_trait]
impl ObjectStore for Scripted {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        self.play("get", key, self.inner.get(key)).await
    }

    async fn get_if_changed(&self, key: &str, known: &ETag) -> Result<Option<Object>, StoreError> {
        let request = self.inner.get_if_changed(key, known);
        self.play("get", key, request).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.play("get", key, self.inner.get_range(key, range))
            .await
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        self.play("put", key, self.inner.put(key, body)).await
    }

    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        let request = self.inner.put_if_absent(key, body);
        self.play("put", key, request).await
    }

    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        current: &ETag,
    ) -> Result<ETag, StoreError> {
        let request = self.inner.put_if_match(key, body, current);
        self.play("put", key, request).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.play("delete", key, self.inner.delete(key)).await
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StoreError> {
        let request = self.inner.list(prefix, start_after, limit);
        self.play("list", prefix, request).await
    }
}
