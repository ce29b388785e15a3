//! How clients reach the cluster, and how its nodes are named.

use brainy_crds::{BrainyCluster, Role};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::pod_template::PORT_NAME;
use super::{BuildError, labels, pod_template};

/// Name of the Service's port for gRPC.
const GRPC_PORT_NAME: &str = "grpc";

/// The Service that clients talk to: every ready pod of every role, because each node answers each request and passes on what is not
/// its own.
pub(super) fn client(cluster: &BrainyCluster) -> Result<Service, BuildError> {
    let spec = &cluster.spec.service;
    let mut metadata = labels::metadata(cluster, cluster.name_any(), labels::of_cluster(cluster))?;
    if !spec.annotations.is_empty() {
        metadata.annotations = Some(spec.annotations.clone());
    }
    Ok(Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(spec.type_.as_str().to_owned()),
            selector: Some(labels::match_cluster(cluster)),
            ports: Some(vec![
                port(cluster, spec.port),
                grpc_port(cluster, spec.grpc_port),
            ]),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

/// The Service that gives the pods of a role their names. Nodes talk to each other before they are ready, so it lists them all.
pub(super) fn headless(cluster: &BrainyCluster, role: Role) -> Result<Service, BuildError> {
    Ok(Service {
        metadata: labels::metadata(
            cluster,
            labels::headless_name(cluster, role),
            labels::of_role(cluster, role),
        )?,
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(labels::match_role(cluster, role)),
            ports: Some(vec![port(cluster, pod_template::PORT)]),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

/// Host of the data API inside the Kubernetes cluster.
///
/// # Errors
/// [`BuildError::NotStored`].
pub(crate) fn host(cluster: &BrainyCluster) -> Result<String, BuildError> {
    let namespace = labels::namespace(cluster)?;
    Ok(format!("{}.{namespace}.svc", cluster.name_any()))
}

/// URL of the data API inside the Kubernetes cluster.
///
/// # Errors
/// [`BuildError::NotStored`].
pub(crate) fn url(cluster: &BrainyCluster) -> Result<String, BuildError> {
    let scheme = scheme(cluster);
    let port = cluster.spec.service.port;
    Ok(format!("{scheme}://{}:{port}", host(cluster)?))
}

/// `https` with TLS, else `http`.
pub(super) fn scheme(cluster: &BrainyCluster) -> &'static str {
    if cluster.spec.tls.is_some() {
        "https"
    } else {
        "http"
    }
}

/// Nodes serve gRPC where they serve HTTP: a second port of the Service is enough for clients that want one of its own.
fn grpc_port(cluster: &BrainyCluster, number: i32) -> ServicePort {
    let app_protocol = match scheme(cluster) {
        "http" => "kubernetes.io/h2c",
        secure => secure,
    };
    ServicePort {
        name: Some(GRPC_PORT_NAME.to_owned()),
        app_protocol: Some(app_protocol.to_owned()),
        ..port(cluster, number)
    }
}

fn port(cluster: &BrainyCluster, port: i32) -> ServicePort {
    ServicePort {
        name: Some(PORT_NAME.to_owned()),
        port,
        target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
        protocol: Some("TCP".to_owned()),
        // Meshes and gateways read this before they guess from the port's name.
        app_protocol: Some(scheme(cluster).to_owned()),
        ..ServicePort::default()
    }
}
