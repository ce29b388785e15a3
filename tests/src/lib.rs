//! What the suites that cross crates share, and the demo.
//!
//! Everything here works on real processes: [`cluster`] runs `brainy-operator local`, [`standalone`] runs `brainyd`,
//! [`kube`] runs a control plane of Kubernetes, [`client`] speaks the REST API, [`load`] writes and reads and remembers in
//! [`history`] what was acknowledged. Waiting is for a condition with a deadline ([`wait`]), never for a time to pass.

pub mod by_hand;
pub mod client;
pub mod cluster;
pub mod config_bench;
pub mod coordination_bench;
pub mod dataset;
pub mod demo;
pub mod error;
pub mod exchange_bench;
pub mod figures;
pub mod flood;
pub mod freshness_bench;
pub mod history;
pub mod kube;
pub mod kubelet;
pub mod kubernetes;
pub mod load;
pub mod manifest;
pub mod modes_bench;
pub mod nats;
pub mod operator_bench;
pub mod probe;
pub mod process;
pub mod registers;
pub mod standalone;
pub mod two_clusters;
pub mod wait;

pub use error::HarnessError;
