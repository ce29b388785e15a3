//! Which parts of segments are in memory, and which segments are on the local disk.
//!
//! Every part of every open segment takes its bytes of one account ([`memory::Memory`]) before it is loaded, so the limit holds
//! whatever is opened or searched; what gets none is read from its file. A task looks at what was read since its last look, and
//! moves parts by [`plan`]: the most reads per byte are held. Files follow the same plan on the disk, with the bucket below.

mod disk;
mod memory;
mod metrics;
mod plan;
mod remote;
mod work;

pub(super) use disk::Disk;
pub(super) use disk::bytes_of;
pub(super) use memory::Memory;
pub(super) use metrics::CacheMetrics;
pub(super) use remote::Objects;
pub(super) use work::run;
