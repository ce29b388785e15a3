//! A Kubernetes with the operator in it, and clusters that users apply there.
//!
//! A [`World`] is one namespace. On this machine it has a control plane ([`crate::kube`]), nodes ([`crate::kubelet`]), a
//! bucket and an operator of its own, with the rights that the chart gives; all of it can be broken. Elsewhere it is a
//! namespace of whatever Kubernetes the kubeconfig names, with an operator that was installed there before. A
//! [`KubeCluster`] is a `BrainyCluster` in it, [`ServiceForward`] is how a client reaches its Service.

mod bucket;
mod chart;
mod cluster;
mod operator;
mod service;
mod world;

pub use bucket::{ACCESS_KEY, BUCKET, Bucket, SECRET_KEY};
pub use chart::{RELEASE, apply, grant, helm, render};
pub use cluster::{KubeCluster, SETTLED_WITHIN};
pub use operator::{OperatorOptions, OperatorProcess};
pub use service::{Endpoint, Reach, ServiceForward};
pub use world::{Place, World};
