//! The write-ahead log of a partition: one object a slot, slots numbered from 1 in every epoch, each created once.
//!
//! `object` is the format, `append` the owner's side, `read` everybody else's. The protocol is argued in
//! `docs/architecture.md`, section "The log".

mod append;
mod object;
mod read;

pub use append::{Appender, AppenderConfig, Commit, StopReason};
pub use object::{Entry, LogObject, ObjectError};
pub(crate) use read::loss_accepted;
pub use read::{Slot, WalError, accept_loss, is_damaged, read_slot, slots_beyond};
