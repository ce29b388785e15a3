//! The checks, in the order in which they are made.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::{Check, ProbeError};
use crate::store::{ETag, ObjectStore, StoreError};

/// How often a check's request is tried while the store is busy. Requests whose effect is unknown are settled by reading.
const TRIES: u32 = 8;
/// How often the first request is tried: a store that cannot be reached at all, or no credentials, is soon said. Whoever starts
/// the process starts it again.
const FIRST_TRIES: u32 = 6;
/// No further try of the first request begins after this time: where there are no credentials, one look for them takes seconds.
const FIRST_WITHIN: Duration = Duration::from_secs(2);
/// First pause between tries; doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// A probe under way.
pub(super) struct Probe {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    contenders: usize,
    current: Check,
    passed: Vec<Check>,
    keys: Vec<String>,
    /// Whether it is certain that no write has arrived.
    untouched: bool,
}

/// What a conditional write came to, as far as its answer tells.
enum Wrote {
    Won(ETag),
    Lost,
    /// No answer: reading must tell.
    Unknown(StoreError),
}

impl Probe {
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: String, contenders: usize) -> Self {
        Self {
            store,
            prefix,
            contenders,
            current: Check::ReadAfterWrite,
            passed: Vec::new(),
            keys: Vec::new(),
            untouched: false,
        }
    }

    pub(super) fn current(&self) -> Check {
        self.current
    }

    pub(super) fn passed(&self) -> Vec<Check> {
        self.passed.clone()
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Removes what the probe wrote; what cannot be removed does no harm.
    pub(super) async fn clean(&self) {
        if self.untouched {
            return;
        }
        join_all(self.keys.iter().map(|key| async move {
            if let Err(error) = retry(|| self.store.delete(key)).await {
                tracing::warn!(key, %error, "an object of the probe was left behind");
            }
        }))
        .await;
    }

    pub(super) async fn run(&mut self) -> Result<(), ProbeError> {
        let key = self.key("object");
        let first = self.read_after_write(&key).await?;
        self.create_twice(&key).await?;
        let second = self.current_if_match(&key, &first).await?;
        self.stale_if_match(&key, &first).await?;
        self.if_match_on_missing(&second).await?;
        let winner = self.create_race().await?;
        self.swap_race(&winner).await?;
        self.conditional_read(&key, &first, &second).await?;
        self.range_read(&key).await?;
        self.list_after_write().await?;
        self.read_after_delete(&key).await
    }

    async fn read_after_write(&mut self, key: &str) -> Result<ETag, ProbeError> {
        self.begin(Check::ReadAfterWrite);
        let body = Bytes::from_static(b"first version");
        let wrote = first(|| self.store.put_if_absent(key, body.clone())).await;
        if let Wrote::Unknown(e @ (StoreError::Busy { .. } | StoreError::Refused { .. })) = wrote {
            self.untouched = true;
            return Err(self.failed(e));
        }
        let etag = match self.settle(key, &body, wrote).await {
            Wrote::Won(etag) => etag,
            Wrote::Lost => return Err(self.unfit("a new key was said to exist")),
            Wrote::Unknown(e) => return Err(self.failed(e)),
        };
        let read = self.get(key).await?;
        self.expect(read.0 == body, || {
            "the object read is not the one written".into()
        })?;
        self.expect(read.1 == etag, || {
            format!("the write told the tag {etag}, the read {}", read.1)
        })?;
        self.expect(!etag.0.is_empty(), || "the store tells no ETag".into())?;
        self.pass();
        Ok(etag)
    }

    async fn create_twice(&mut self, key: &str) -> Result<(), ProbeError> {
        self.begin(Check::CreateTwice);
        match self
            .create(key, Bytes::from_static(b"second creation"))
            .await
        {
            Wrote::Lost => {}
            Wrote::Won(_) => return Err(self.unfit("a second creation of one key succeeded")),
            Wrote::Unknown(e) => return Err(self.failed(e)),
        }
        let read = self.get(key).await?;
        self.expect(read.0 == "first version", || {
            "a refused creation replaced the object".into()
        })?;
        self.pass();
        Ok(())
    }

    async fn current_if_match(&mut self, key: &str, first: &ETag) -> Result<ETag, ProbeError> {
        self.begin(Check::CurrentIfMatch);
        let etag = match self
            .swap(key, Bytes::from_static(b"second version"), first)
            .await
        {
            Wrote::Won(etag) => etag,
            Wrote::Lost => return Err(self.unfit("a replacement with the current tag was refused")),
            // Ceph answers 500 to some tags it does not understand; whether quotes help is the caller's to try.
            Wrote::Unknown(e) => {
                return Err(self.unfit(&format!("a replacement with the current tag failed: {e}")));
            }
        };
        self.expect(etag != *first, || {
            "two contents have the same tag, so versions cannot be told apart".into()
        })?;
        let read = self.get(key).await?;
        self.expect(read.0 == "second version", || {
            "a replacement that was confirmed is not what is read".into()
        })?;
        self.pass();
        Ok(etag)
    }

    async fn stale_if_match(&mut self, key: &str, first: &ETag) -> Result<(), ProbeError> {
        self.begin(Check::StaleIfMatch);
        match self
            .swap(key, Bytes::from_static(b"stale version"), first)
            .await
        {
            Wrote::Won(_) => {
                return Err(self.unfit("a replacement with an old tag succeeded"));
            }
            Wrote::Lost | Wrote::Unknown(_) => {}
        }
        let read = self.get(key).await?;
        self.expect(read.0 == "second version", || {
            "a replacement with an old tag took effect".into()
        })?;
        self.pass();
        Ok(())
    }

    async fn if_match_on_missing(&mut self, etag: &ETag) -> Result<(), ProbeError> {
        self.begin(Check::IfMatchOnMissing);
        let key = self.key("missing");
        match self
            .swap(&key, Bytes::from_static(b"from nothing"), etag)
            .await
        {
            Wrote::Won(_) => {
                return Err(self.unfit("If-Match on a missing key created the object"));
            }
            Wrote::Lost | Wrote::Unknown(_) => {}
        }
        match retry(|| self.store.get(&key)).await {
            Err(StoreError::NotFound { .. }) => self.pass(),
            Ok(_) => return Err(self.unfit("If-Match on a missing key created the object")),
            Err(e) => return Err(self.failed(e)),
        }
        Ok(())
    }

    async fn create_race(&mut self) -> Result<ETag, ProbeError> {
        self.begin(Check::CreateRace);
        let key = self.key("create-race");
        self.race(&key, None).await
    }

    async fn swap_race(&mut self, current: &ETag) -> Result<(), ProbeError> {
        self.begin(Check::SwapRace);
        let key = self.key("create-race");
        self.race(&key, Some(current)).await?;
        Ok(())
    }

    /// Lets all contenders write at once. Those that were told that they won must be exactly the one whose content is
    /// there; one that got no answer may be it, too.
    async fn race(&mut self, key: &str, current: Option<&ETag>) -> Result<ETag, ProbeError> {
        let name = |racer: usize| format!("{} {racer}", self.current);
        let racing = (0..self.contenders).map(|racer| {
            let (store, key, current) = (Arc::clone(&self.store), key.to_owned(), current.cloned());
            let body = Bytes::from(name(racer));
            // Tasks, so that they run on all threads.
            tokio::spawn(async move {
                match current {
                    None => attempt(|| store.put_if_absent(&key, body.clone())).await,
                    Some(etag) => attempt(|| store.put_if_match(&key, body.clone(), &etag)).await,
                }
            })
        });
        let outcomes = join_all(racing).await;
        let mut winners = Vec::new();
        let mut unknown = Vec::new();
        for (racer, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(Wrote::Won(_)) => winners.push(racer),
                Ok(Wrote::Lost) => {}
                Ok(Wrote::Unknown(error)) => unknown.push((racer, error)),
                Err(stopped) => {
                    return Err(self.failed(StoreError::Busy {
                        what: "probe",
                        key: key.to_owned(),
                        message: stopped.to_string(),
                    }));
                }
            }
        }
        let (body, etag) = self.get(key).await?;
        let won = |racer: &usize| body == name(*racer);
        if winners.len() > 1 {
            return Err(self.unfit(&format!(
                "{} of {} concurrent writers were told that they had won",
                winners.len(),
                self.contenders
            )));
        }
        // A winner whose answer was lost below us, and who then met its own success, counts as told.
        if winners.iter().any(won) || (winners.is_empty() && (0..self.contenders).any(|r| won(&r)))
        {
            self.pass();
            return Ok(etag);
        }
        match unknown.pop() {
            // Nobody knows of a win and no content of this race is there: the store is in trouble, not unfit.
            Some((_, error)) if winners.is_empty() => Err(self.failed(error)),
            _ => Err(self.unfit(&format!(
                "of {} concurrent writers {} won, but the content is another's: '{}'",
                self.contenders,
                winners.len(),
                String::from_utf8_lossy(&body).escape_debug()
            ))),
        }
    }

    async fn conditional_read(
        &mut self,
        key: &str,
        first: &ETag,
        second: &ETag,
    ) -> Result<(), ProbeError> {
        self.begin(Check::ConditionalRead);
        let same = retry(|| self.store.get_if_changed(key, second)).await;
        let same = same.map_err(|e| self.failed(e))?;
        self.expect(same.is_none(), || {
            "an object that has not changed was said to have".into()
        })?;
        let changed = retry(|| self.store.get_if_changed(key, first)).await;
        let changed = changed.map_err(|e| self.failed(e))?;
        self.expect(changed.is_some_and(|o| o.body == "second version"), || {
            "an object that has changed was said not to have".into()
        })?;
        self.pass();
        Ok(())
    }

    async fn range_read(&mut self, key: &str) -> Result<(), ProbeError> {
        self.begin(Check::RangeRead);
        // 'second version'
        match retry(|| self.store.get_range(key, 7..11)).await {
            Ok(bytes) => self.expect(bytes == "vers", || {
                format!(
                    "bytes 7..11 came as '{}'",
                    String::from_utf8_lossy(&bytes).escape_debug()
                )
            })?,
            Err(StoreError::Refused { message, .. }) => return Err(self.unfit(&message)),
            Err(e) => return Err(self.failed(e)),
        }
        self.pass();
        Ok(())
    }

    async fn list_after_write(&mut self) -> Result<(), ProbeError> {
        self.begin(Check::ListAfterWrite);
        let keys: Vec<String> = (0..5).map(|n| self.key(&format!("list-{n:012}"))).collect();
        for key in keys.iter().rev() {
            let put = retry(|| self.store.put(key, Bytes::from_static(b"listed"))).await;
            put.map_err(|e| self.failed(e))?;
        }
        let removed = retry(|| self.store.delete(&keys[1])).await;
        removed.map_err(|e| self.failed(e))?;
        let prefix = format!("{}list-", self.prefix);
        let page = retry(|| self.store.list(&prefix, Some(&keys[0]), 2)).await;
        let page = page.map_err(|e| self.failed(e))?;
        let found: Vec<&str> = page.objects.iter().map(|o| o.key.as_str()).collect();
        self.expect(found == [&keys[2], &keys[3]] && page.truncated, || {
            format!("a page of two after '{}' held {found:?}", keys[0])
        })?;
        self.pass();
        Ok(())
    }

    async fn read_after_delete(&mut self, key: &str) -> Result<(), ProbeError> {
        self.begin(Check::ReadAfterDelete);
        let removed = retry(|| self.store.delete(key)).await;
        removed.map_err(|e| self.failed(e))?;
        match retry(|| self.store.get(key)).await {
            Err(StoreError::NotFound { .. }) => self.pass(),
            Ok(_) => return Err(self.unfit("a removed object can still be read")),
            Err(e) => return Err(self.failed(e)),
        }
        Ok(())
    }

    /// A key of this probe, remembered for its end.
    fn key(&mut self, name: &str) -> String {
        let key = format!("{}{name}", self.prefix);
        if !self.keys.contains(&key) {
            self.keys.push(key.clone());
        }
        key
    }

    fn begin(&mut self, check: Check) {
        self.current = check;
    }

    fn pass(&mut self) {
        self.passed.push(self.current);
    }

    fn unfit(&self, observed: &str) -> ProbeError {
        ProbeError::Unfit {
            check: self.current,
            observed: observed.to_owned(),
        }
    }

    fn failed(&self, source: StoreError) -> ProbeError {
        ProbeError::Store {
            check: self.current,
            source,
        }
    }

    fn expect(&self, holds: bool, observed: impl FnOnce() -> String) -> Result<(), ProbeError> {
        if holds {
            Ok(())
        } else {
            Err(self.unfit(&observed()))
        }
    }

    async fn get(&self, key: &str) -> Result<(Bytes, ETag), ProbeError> {
        match retry(|| self.store.get(key)).await {
            Ok(object) => Ok((object.body, object.etag)),
            Err(StoreError::NotFound { .. }) => Err(self.unfit("a written object is not there")),
            Err(e) => Err(self.failed(e)),
        }
    }

    async fn create(&self, key: &str, body: Bytes) -> Wrote {
        let wrote = attempt(|| self.store.put_if_absent(key, body.clone())).await;
        self.settle(key, &body, wrote).await
    }

    async fn swap(&self, key: &str, body: Bytes, current: &ETag) -> Wrote {
        let wrote = attempt(|| self.store.put_if_match(key, body.clone(), current)).await;
        self.settle(key, &body, wrote).await
    }

    /// A write without an answer, and one that may have met its own success, is ours if our body is there.
    async fn settle(&self, key: &str, body: &Bytes, wrote: Wrote) -> Wrote {
        if matches!(wrote, Wrote::Won(_)) {
            return wrote;
        }
        match retry(|| self.store.get(key)).await {
            Ok(object) if object.body == *body => Wrote::Won(object.etag),
            _ => wrote,
        }
    }
}

/// A conditional write, tried again only while the store is busy, which means that it changed nothing.
async fn attempt<F, R>(write: F) -> Wrote
where
    F: FnMut() -> R,
    R: Future<Output = Result<ETag, StoreError>>,
{
    attempt_within(write, TRIES, Duration::MAX).await
}

/// As [`attempt`], of the first request that the store gets.
async fn first<F, R>(write: F) -> Wrote
where
    F: FnMut() -> R,
    R: Future<Output = Result<ETag, StoreError>>,
{
    attempt_within(write, FIRST_TRIES, FIRST_WITHIN).await
}

async fn attempt_within<F, R>(mut write: F, most: u32, within: Duration) -> Wrote
where
    F: FnMut() -> R,
    R: Future<Output = Result<ETag, StoreError>>,
{
    let began = Instant::now();
    let mut pause = PAUSE;
    let mut tries = 1;
    loop {
        match write().await {
            Ok(etag) => return Wrote::Won(etag),
            Err(StoreError::PreconditionFailed { .. } | StoreError::NotFound { .. }) => {
                return Wrote::Lost;
            }
            Err(StoreError::Busy { .. }) if tries < most && began.elapsed() < within => {}
            Err(error) => return Wrote::Unknown(error),
        }
        tries += 1;
        sleep(pause).await;
        pause *= 2;
    }
}

/// A request that may be repeated, tried again after transient errors.
async fn retry<T, F, R>(mut ask: F) -> Result<T, StoreError>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, StoreError>>,
{
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match ask().await {
            Err(e) if e.is_transient() => {}
            done => return done,
        }
        sleep(pause).await;
        pause *= 2;
    }
    ask().await
}
