//! Segment files that stay in the bucket: read in ranges, the last few blocks of which are kept.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use brainy_coordination::store::StoreError;
use brainy_coordination::store::retry::Store;
use brainy_index::storage::Source;
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::memory::{Held, Memory};
use crate::engine::interrupt::is_interrupted;

/// What is read at a time at least: a request takes about as long for a part of it.
const BLOCK: u64 = 256 << 10;

/// The bucket, and blocks of its files.
#[derive(Clone)]
pub(in crate::node) struct Objects {
    store: Store,
    runtime: Handle,
    blocks: Arc<Mutex<Blocks>>,
    reads: Counter,
}

impl Objects {
    /// Reads from `store`, keeping `limit` bytes of blocks, which are taken of `memory` with the first. `reads` counts requests.
    pub(in crate::node) fn new(
        store: Store,
        limit: u64,
        memory: Arc<Memory>,
        reads: Counter,
    ) -> Self {
        Self {
            store,
            runtime: Handle::current(),
            blocks: Arc::new(Mutex::new(Blocks::new(limit, memory))),
            reads,
        }
    }

    /// The object `key` of `bytes` bytes.
    pub(in crate::node) fn file(&self, key: String, bytes: u64) -> Arc<dyn Source> {
        Arc::new(Object {
            objects: self.clone(),
            key: key.into(),
            bytes,
        })
    }

    fn range(&self, key: &Arc<str>, from: u64, to: u64) -> io::Result<Bytes> {
        // A search makes many of these, and nobody may wait for it any more.
        if is_interrupted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.reads.inc();
        let (store, key) = (self.store.clone(), Arc::clone(key));
        let read = async move { store.get_range(&key, from..to).await };
        let bytes = self.wait(read)?.map_err(|e| match e {
            StoreError::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, e.to_string()),
            other => io::Error::other(other.to_string()),
        })?;
        if bytes.len() as u64 != to - from {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} of {} bytes came", bytes.len(), to - from),
            ));
        }
        Ok(bytes)
    }

    /// Blocks until `future` is done, on whatever thread that is.
    fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let (done, answer) = std::sync::mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // Nobody waits any more: the thread is gone.
            let _unheard = done.send(future.await);
        });
        let receive = || {
            answer
                .recv()
                .map_err(|_| io::Error::other("interrupted by shutdown"))
        };
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(receive),
            _ => receive(),
        }
    }
}

/// One object.
struct Object {
    objects: Objects,
    key: Arc<str>,
    bytes: u64,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Object").field(&self.key).finish()
    }
}

impl Object {
    fn block(&self, number: u64) -> io::Result<Bytes> {
        let name = (Arc::clone(&self.key), number);
        if let Some(bytes) = self.objects.blocks.lock().get(&name) {
            return Ok(bytes);
        }
        let from = number * BLOCK;
        let to = (from + BLOCK).min(self.bytes);
        let bytes = self.objects.range(&self.key, from, to)?;
        self.objects.blocks.lock().insert(name, bytes.clone());
        Ok(bytes)
    }
}

impl Source for Object {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset
            .checked_add(out.len() as u64)
            .filter(|end| *end <= self.bytes)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        if out.len() as u64 >= BLOCK {
            let bytes = self.objects.range(&self.key, offset, end)?;
            out.copy_from_slice(&bytes);
            return Ok(());
        }
        let mut at = offset;
        while at < end {
            let block = self.block(at / BLOCK)?;
            let within = (at % BLOCK) as usize;
            let count = (block.len() - within).min((end - at) as usize);
            let to = (at - offset) as usize;
            out[to..to + count].copy_from_slice(&block[within..within + count]);
            at += count as u64;
        }
        Ok(())
    }
}

type Name = (Arc<str>, u64);

/// Blocks that were read, first in first out with a second chance for those that were used again.
struct Blocks {
    limit: u64,
    memory: Arc<Memory>,
    /// All of `limit`, from the first block on.
    held: Option<Held>,
    bytes: u64,
    all: HashMap<Name, (Bytes, bool)>,
    order: VecDeque<Name>,
}

impl Blocks {
    fn new(limit: u64, memory: Arc<Memory>) -> Self {
        Self {
            limit,
            memory,
            held: None,
            bytes: 0,
            all: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    fn get(&mut self, name: &Name) -> Option<Bytes> {
        let (bytes, used) = self.all.get_mut(name)?;
        *used = true;
        Some(bytes.clone())
    }

    fn insert(&mut self, name: Name, bytes: Bytes) {
        if bytes.len() as u64 > self.limit || self.all.contains_key(&name) {
            return;
        }
        let (memory, limit) = (&self.memory, self.limit);
        self.held.get_or_insert_with(|| memory.hold(limit));
        while self.bytes + bytes.len() as u64 > self.limit {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            match self.all.get_mut(&oldest) {
                Some((_, used)) if *used => {
                    *used = false;
                    self.order.push_back(oldest);
                }
                _ => {
                    if let Some((gone, _)) = self.all.remove(&oldest) {
                        self.bytes -= gone.len() as u64;
                    }
                }
            }
        }
        self.bytes += bytes.len() as u64;
        self.order.push_back(name.clone());
        self.all.insert(name, (bytes, false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Interrupt;
    use brainy_coordination::store::retry::RetryPolicy;
    use brainy_coordination::store::sim::SimBucket;

    #[test]
    fn blocks_that_are_used_again_stay() {
        let mut blocks = Blocks::new(30, Memory::new(100));
        let name = |n: u64| -> Name { ("k".into(), n) };
        for n in 0..3 {
            blocks.insert(name(n), Bytes::from(vec![0; 10]));
        }
        assert!(blocks.get(&name(0)).is_some());
        blocks.insert(name(3), Bytes::from(vec![0; 10]));
        assert!(blocks.get(&name(0)).is_some() && blocks.get(&name(1)).is_none());
        blocks.insert(name(4), Bytes::from(vec![0; 31]));
        assert!(blocks.get(&name(4)).is_none());
        assert_eq!((blocks.bytes, blocks.all.len()), (30, 3));
        assert_eq!(blocks.memory.held(), 30);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn any_range_of_an_object_is_read_and_what_is_not_there_is_an_error() {
        let store = Store::new(SimBucket::new(1).client("a"), RetryPolicy::default());
        let bytes: Vec<u8> = (0..BLOCK * 2 + 100).map(|i| (i % 251) as u8).collect();
        store.put("a", bytes.clone().into()).await.unwrap();
        let reads = Counter::default();
        let objects = Objects::new(store, BLOCK * 2, Memory::new(BLOCK * 4), reads.clone());
        let file = objects.file("a".to_owned(), bytes.len() as u64);
        for (from, len) in [
            (0, 10),
            (BLOCK - 3, 9),
            (BLOCK * 2 - 1, 101),
            (5, BLOCK + 7),
        ] {
            let mut out = vec![0; len as usize];
            file.read_at(from, &mut out).unwrap();
            assert_eq!(out, bytes[from as usize..(from + len) as usize]);
        }
        let before = reads.get();
        file.read_at(BLOCK * 2, &mut [0; 50]).unwrap();
        assert_eq!(reads.get(), before, "the block is kept");
        let error = file.read_at(BLOCK * 2 + 90, &mut [0; 11]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let nobody = Interrupt::default();
        nobody.set();
        let before = reads.get();
        let error = nobody.scope(|| file.read_at(0, &mut [0; 10])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert_eq!(reads.get(), before);
        let missing = objects.file("b".to_owned(), 10);
        let error = missing.read_at(0, &mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
