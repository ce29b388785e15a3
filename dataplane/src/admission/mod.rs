//! What a node takes on at a time, and what it refuses: bytes in memory, reads at work, reads that wait.
//!
//! Nothing here waits without a bound. What does not fit is refused at once with [`ServiceError::Overloaded`], so that
//! clients slow down while the node still answers.
//!
//! [`ServiceError::Overloaded`]: crate::error::ServiceError::Overloaded

mod bytes;
mod gate;
mod metrics;
mod work;

pub use bytes::{BODY_COPIES, ByteBudget, Charge, RequestMemory};
pub use gate::{Gate, Visit};
pub use metrics::AdmissionMetrics;
pub(crate) use work::{Threads, run};
