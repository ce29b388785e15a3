//! A real Kubernetes for tests: the API server, controllers and scheduler of the pinned release, on this machine alone.
//!
//! [`ControlPlane::shared`] is the one that the tests of a program share, each in a namespace of its own. A test that
//! breaks the API server starts its own with [`ControlPlane::start`]. There are no nodes: pods stay pending until somebody
//! registers one. Nothing outlives the test program, however it ends.

mod assets;
mod audit;
mod components;
mod control_plane;
mod credentials;
pub(crate) mod keeper;

pub use assets::version;
pub use audit::{ApiRequest, AuditMark};
pub use components::{ADMIN, KUBELET};
pub use control_plane::{
    ControlPlane, FIELD_MANAGER, READY_WITHIN, client, config, service_account_user,
};
