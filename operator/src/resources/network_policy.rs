//! What may reach the pods.

use brainy_crds::BrainyCluster;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{BuildError, labels, pod_template};

/// The port of the data API, from anywhere, and no other. Who may use it is decided by keys; policies add up, so a stricter one of
/// your own would have no effect, and egress (the bucket, DNS) is left alone.
pub(super) fn network_policy(cluster: &BrainyCluster) -> Result<NetworkPolicy, BuildError> {
    Ok(NetworkPolicy {
        metadata: labels::metadata(cluster, cluster.name_any(), labels::of_cluster(cluster))?,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels::selecting(labels::match_cluster(cluster))),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                ports: Some(vec![NetworkPolicyPort {
                    port: Some(IntOrString::Int(pod_template::PORT)),
                    protocol: Some("TCP".to_owned()),
                    end_port: None,
                }]),
                from: None,
            }]),
            egress: None,
        }),
    })
}
