//! The owner of a partition at work: requests in, log objects out, acknowledgements back.
//!
//! One task per owned partition. A request is staged (turned into what is logged, seeing all requests before it),
//! queued to the [`Appender`], and acknowledged when its slot and all before it are durable; only then is it applied,
//! so a read never sees what may still be refused. The task ends when the partition is sealed for a handoff, when a
//! successor's fence is met, or when the store fails for good; it then gives the replica back, as a correct follower.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::document::{DocumentError, Versioned};
use crate::handover::Handover;
use crate::keys;
use crate::lease::{self, Identity, Lease};
use crate::partition::{PartitionManifest, PublishError, publish};
use crate::replica::{Machine, MachineError, Replica};
use crate::requests::RequestTable;
use crate::store::StoreError;
use crate::store::retry::{Created, Store};
use crate::takeover::Ownership;
use crate::types::{InstanceId, LogPosition, Nonce, PartitionId};
use crate::wal::{Appender, AppenderConfig, Commit, Entry, LogObject, StopReason};

/// How long an owner that leaves waits for its fence.
const FENCE_WITHIN: Duration = Duration::from_secs(1);

/// Why a write was not acknowledged.
#[derive(Clone, Debug)]
pub enum WriteError<R> {
    /// The state machine refused it; it was not logged.
    Rejected(R),
    /// Too many writes are waiting; it was not logged.
    Overloaded,
    /// This process does not own the partition (any more). It was not and never will be applied by this attempt.
    NotOwner,
    /// The store fails; it was not and never will be applied by this attempt.
    StoreFailed(StoreError),
    /// Nobody knows yet; a retry under the same request id finds out.
    Unknown(String),
}

/// Why an owner stopped.
#[derive(Debug)]
pub enum Stopped {
    /// It was sealed and the lease released.
    Released {
        /// Its last slot.
        at: LogPosition,
        /// What a successor need not look up; `None` if the log could not be fenced in time.
        handover: Option<Box<Handover>>,
    },
    /// A successor took over.
    Deposed,
    /// The store failed, or gave no answer; a new takeover (possibly by the same process) sorts it out.
    Failed(String),
    /// The state machine could not apply what was logged.
    Machine(MachineError),
}

/// The answer to a write: where it was logged.
pub type WriteResult<R> = Result<LogPosition, WriteError<R>>;

enum Command<M: Machine> {
    Write {
        request: Nonce,
        body: M::Request,
        reply: oneshot::Sender<WriteResult<M::Rejection>>,
    },
    Seal {
        to: Option<InstanceId>,
    },
    /// Answered when every write before it is applied.
    Settle {
        reply: oneshot::Sender<()>,
    },
}

/// Handle of a working owner.
pub struct Owner<M: Machine> {
    commands: mpsc::Sender<Command<M>>,
    publisher: Publisher,
    lease: Versioned<Lease>,
}

impl<M: Machine> Clone for Owner<M> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            publisher: self.publisher.clone(),
            lease: self.lease.clone(),
        }
    }
}

/// What a finished owner task gives back.
pub struct Finished<M> {
    /// The replica, standing where the acknowledged log ends.
    pub replica: Replica<M>,
    /// Why it finished.
    pub why: Stopped,
}

impl<M: Machine> Owner<M> {
    /// Starts serving writes under `ownership`. At most `queue` writes wait.
    pub fn start(
        replica: Replica<M>,
        ownership: Ownership,
        config: AppenderConfig,
        queue: usize,
    ) -> (Self, JoinHandle<Finished<M>>) {
        let (commands, inbox) = mpsc::channel(queue);
        let publisher = Publisher {
            store: replica.store.clone(),
            partition: replica.partition.clone(),
            epoch: ownership.epoch(),
            requests: replica.requests.clone(),
            manifest: Arc::new(tokio::sync::Mutex::new(replica.manifest.clone())),
        };
        let handle = Self {
            commands,
            publisher: publisher.clone(),
            lease: ownership.lease.clone(),
        };
        let (reports_in, reports) = mpsc::unbounded_channel();
        let (appender, _pipeline) = Appender::spawn(
            replica.store.clone(),
            replica.partition.clone(),
            ownership.epoch(),
            config,
            reports_in,
        );
        let task = Task {
            replica,
            lease: ownership.lease,
            publisher,
            appender: Some(appender),
            next_ticket: 1,
            pending: VecDeque::new(),
            by_request: HashMap::new(),
            settling: VecDeque::new(),
        };
        (handle, tokio::spawn(task.run(inbox, reports)))
    }

    /// The epoch of this owner.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.lease.epoch
    }

    /// The process that holds the lease.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.lease.owner
    }

    /// Writes; returns when the write is durable, and then reports its position. A `request` that was applied before
    /// is acknowledged again without being applied again.
    ///
    /// # Errors
    /// [`WriteError`], each saying whether the write may have happened.
    pub async fn write(&self, request: Nonce, body: M::Request) -> WriteResult<M::Rejection> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Write {
            request,
            body,
            reply,
        };
        match self.commands.try_send(command) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(WriteError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(WriteError::NotOwner),
        }
        // Every command is answered before the task ends; a dropped reply means that it died with the write under way.
        answer.await.unwrap_or_else(|_| {
            Err(WriteError::Unknown(
                "the owner's task died before it could answer".to_owned(),
            ))
        })
    }

    /// Stops accepting writes, lets those under way finish, releases the lease to `to`. The task then ends.
    pub async fn seal(&self, to: Option<InstanceId>) {
        // A closed channel means that the task has ended already.
        let _ended = self.commands.send(Command::Seal { to }).await;
    }

    /// Publishes manifests under this owner's epoch.
    #[must_use]
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Whether what this owner has applied is all that anybody could have seen when the call began; what makes a strong
    /// read at the owner. One request.
    ///
    /// Two things have to hold: no successor had acknowledged anything, which the lease says; and no write is under way
    /// whose slot a follower may have read already, although its answer has not reached us. So the call also waits for
    /// the writes that came before it.
    ///
    /// # Errors
    /// The store's.
    pub async fn still_owner(&self) -> Result<bool, DocumentError> {
        let (reply, settled) = oneshot::channel();
        if self.commands.send(Command::Settle { reply }).await.is_err() {
            return Ok(false);
        }
        let lease = lease::load(&self.publisher.store, &self.publisher.partition);
        let (settled, now) = futures::future::join(settled, lease).await;
        let ours = now?.is_some_and(|l| l.epoch == self.lease.epoch && l.owner == self.lease.owner);
        Ok(ours && settled.is_ok())
    }
}

/// Publishes segments of one owner.
#[derive(Clone)]
pub struct Publisher {
    store: Store,
    partition: PartitionId,
    epoch: u64,
    requests: Arc<Mutex<RequestTable>>,
    manifest: Arc<tokio::sync::Mutex<Option<Versioned<PartitionManifest>>>>,
}

impl Publisher {
    /// Changes the manifest by `edit` (idempotent, see [`publish`]) and returns it as written. The requests that
    /// belong to the new `applied` are filled in here.
    ///
    /// # Errors
    /// [`PublishError::Deposed`] when a successor has taken over.
    pub async fn publish(
        &self,
        mut edit: impl FnMut(&mut PartitionManifest),
    ) -> Result<Versioned<PartitionManifest>, PublishError> {
        let mut known = self.manifest.lock().await;
        let requests = self.requests.clone();
        let written = publish(
            &self.store,
            &self.partition,
            self.epoch,
            known.clone(),
            |m| {
                let before = m.applied;
                edit(m);
                if m.applied > before {
                    m.requests = requests.lock().up_to(m.applied);
                }
            },
        )
        .await?;
        *known = Some(written.clone());
        Ok(written)
    }

    /// The manifest as last written or found by this owner.
    pub async fn manifest(&self) -> Option<Versioned<PartitionManifest>> {
        self.manifest.lock().await.clone()
    }
}

struct Pending<R> {
    ticket: u64,
    request: Nonce,
    replies: Vec<oneshot::Sender<WriteResult<R>>>,
}

struct Task<M: Machine> {
    replica: Replica<M>,
    lease: Versioned<Lease>,
    publisher: Publisher,
    appender: Option<Appender>,
    next_ticket: u64,
    pending: VecDeque<Pending<M::Rejection>>,
    /// Ticket of the pending write of a request.
    by_request: HashMap<Nonce, u64>,
    /// Who waits for the writes up to a ticket to be applied; ascending.
    settling: VecDeque<(u64, oneshot::Sender<()>)>,
}

impl<M: Machine> Task<M> {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Command<M>>,
        mut reports: mpsc::UnboundedReceiver<Commit>,
    ) -> Finished<M> {
        let mut release_to = None;
        let why = loop {
            let accepting = self.appender.is_some();
            tokio::select! {
                biased;
                report = reports.recv() => match report {
                    Some(Commit::Durable { position, entries }) => {
                        if let Err(error) = self.committed(position, &entries) {
                            break Stopped::Machine(error);
                        }
                    }
                    Some(Commit::Stopped(reason)) => break self.stopped(reason),
                    // The appender finished everything it was given.
                    None => break self.release(release_to.take()).await,
                },
                command = inbox.recv(), if accepting => match command {
                    Some(Command::Write { request, body, reply }) => self.accept(request, body, reply).await,
                    Some(Command::Seal { to }) => {
                        release_to = to;
                        self.appender = None;
                    }
                    Some(Command::Settle { reply }) => {
                        let newest = self.pending.back().map_or(0, |p| p.ticket);
                        self.settling.push_back((newest, reply));
                        self.settle();
                    }
                    None => self.appender = None,
                },
            }
        };
        // Whatever is still pending was answered by what ended the loop; new commands find the channel closed.
        inbox.close();
        while let Ok(command) = inbox.try_recv() {
            if let Command::Write { reply, .. } = command {
                answer(reply, Err(WriteError::NotOwner));
            }
        }
        // A publication under way must not hold up a handoff; the follower reads the manifest again anyway.
        if let Ok(manifest) = self.publisher.manifest.try_lock() {
            self.replica.manifest.clone_from(&manifest);
        }
        Finished {
            replica: self.replica,
            why,
        }
    }

    async fn accept(
        &mut self,
        request: Nonce,
        body: M::Request,
        reply: oneshot::Sender<WriteResult<M::Rejection>>,
    ) {
        let applied = self.replica.requests.lock().get(request);
        if let Some(at) = applied {
            return answer(reply, Ok(at));
        }
        if let Some(ticket) = self.by_request.get(&request) {
            let same = self.pending.iter_mut().find(|p| p.ticket == *ticket);
            if let Some(pending) = same {
                pending.replies.push(reply);
                return;
            }
        }
        let ticket = self.next_ticket;
        let payload = match self.replica.machine.stage(ticket, body) {
            Ok(payload) => payload,
            Err(rejection) => return answer(reply, Err(WriteError::Rejected(rejection))),
        };
        self.next_ticket += 1;
        self.pending.push_back(Pending {
            ticket,
            request,
            replies: vec![reply],
        });
        self.by_request.insert(request, ticket);
        if let Some(appender) = &self.appender {
            // Not taken: the appender has stopped, and its report, which is already on its way, answers the pending.
            let _taken = appender.append(Entry { request, payload }).await;
        }
    }

    /// Answers those whose writes are applied.
    fn settle(&mut self) {
        let oldest = self.pending.front().map_or(u64::MAX, |p| p.ticket);
        while let Some((ticket, reply)) = self.settling.pop_front() {
            if ticket >= oldest {
                self.settling.push_front((ticket, reply));
                return;
            }
            let _gone = reply.send(());
        }
    }

    /// Applies and acknowledges one slot.
    fn committed(&mut self, position: LogPosition, entries: &[Entry]) -> Result<(), MachineError> {
        // Before the machine contains them: whoever publishes what it contains publishes these too.
        {
            let mut requests = self.replica.requests.lock();
            for entry in entries {
                requests.insert(entry.request, position);
            }
        }
        let applied = self.replica.machine.apply(position, entries);
        if let Err(error) = applied {
            // Logged, durable, and not applicable: the next owner meets the same, so nobody is told yes or no.
            self.fail_pending(&WriteError::Unknown(error.to_string()));
            return Err(error);
        }
        self.replica.position = position;
        for _ in entries {
            let Some(done) = self.pending.pop_front() else {
                break;
            };
            self.by_request.remove(&done.request);
            self.replica.machine.unstage(done.ticket);
            for reply in done.replies {
                answer(reply, Ok(position));
            }
        }
        self.settle();
        Ok(())
    }

    fn stopped(&mut self, reason: StopReason) -> Stopped {
        let (error, why) = match reason {
            StopReason::Deposed => (WriteError::NotOwner, Stopped::Deposed),
            StopReason::Refused(e) => {
                let why = Stopped::Failed(e.to_string());
                (WriteError::StoreFailed(e), why)
            }
            StopReason::Unknown(e) => (
                WriteError::Unknown(e.to_string()),
                Stopped::Failed(e.to_string()),
            ),
        };
        self.fail_pending(&error);
        why
    }

    fn fail_pending(&mut self, error: &WriteError<M::Rejection>) {
        self.replica.machine.unstage(self.next_ticket);
        self.by_request.clear();
        for pending in self.pending.drain(..) {
            for reply in pending.replies {
                let error = match error {
                    WriteError::StoreFailed(e) => WriteError::StoreFailed(e.clone()),
                    WriteError::Unknown(text) => WriteError::Unknown(text.clone()),
                    _ => WriteError::NotOwner,
                };
                answer(reply, Err(error));
            }
        }
    }

    async fn release(&mut self, to: Option<InstanceId>) -> Stopped {
        let Replica {
            store,
            partition,
            position: at,
            ..
        } = &self.replica;
        let release = lease::release(store, partition, &self.lease, *at, to);
        // A successor that is told of the fence need not look for it; one that is not finds it, or makes its own.
        let fence = timeout(FENCE_WITHIN, self.fence(at.next()));
        let (released, fenced) = futures::future::join(release, fence).await;
        match released {
            Ok(Some(lease)) => {
                // A publication under way must not hold up a handoff.
                let manifest = self.publisher.manifest.try_lock().ok();
                let manifest = manifest.and_then(|m| m.clone());
                let handover = || Box::new(Handover { lease, manifest });
                Stopped::Released {
                    at: *at,
                    handover: (fenced == Ok(true)).then(handover),
                }
            }
            Ok(None) => Stopped::Deposed,
            Err(e) => Stopped::Failed(format!("the lease could not be released: {e}")),
        }
    }

    /// Ends this owner's log in its first free slot `at`, as a successor would. Says whether the fence is there and ours.
    async fn fence(&self, at: LogPosition) -> bool {
        let fence = LogObject::Fence {
            successor: self.lease.epoch + 1,
            by: self.lease.owner.instance.to_string(),
        };
        let key = keys::wal_slot(&self.replica.partition, at);
        let created = self.replica.store.create(&key, fence.encode(at)).await;
        matches!(created, Ok(Created::Ours(_)))
    }
}

/// Answers a caller that may have gone away.
fn answer<R>(reply: oneshot::Sender<WriteResult<R>>, result: WriteResult<R>) {
    let _gone = reply.send(result);
}
