//! The pod of a role: one container that runs `brainyd`, within the restricted Pod Security Standard.
//!
//! Everything here is part of the [revision](super::revision()): a change restarts the pods of all clusters when the operator is upgraded.

use std::collections::BTreeMap;

use brainy_crds::{BrainyCluster, PullPolicy, Role, SchedulingSpec};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, EmptyDirVolumeSource, ExecAction,
    HTTPGetAction, Lifecycle, LifecycleHandler, LocalObjectReference, PodAffinityTerm,
    PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, SeccompProfile,
    SecretVolumeSource, SecurityContext, Volume, VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pod_env::{ADVERTISE, POD_NAME, env};
use super::{BuildContext, BuildError, labels, service_account};
use crate::reconcile::arguments::fixed_arguments;

/// Name of the container.
pub(crate) const CONTAINER: &str = "brainyd";
/// Name of the port of the data API.
pub(super) const PORT_NAME: &str = "http";
/// The port of the data API.
pub(crate) const PORT: i32 = 6333;
/// Name of the volume with the disk cache.
pub(super) const CACHE: &str = "cache";

/// Nobody in particular, as in distroless images. Also the group that may write to the volumes.
const USER: i64 = 65532;
/// How long a pod may take to flush, release and end, in seconds; the hook before it takes half of it at most.
const GRACE_SECONDS: i64 = 90;
/// Waits until the node holds no partition, or nobody could take one over, and returns early when there is nothing to wait for.
const PRE_STOP: [&str; 4] = ["brainyd", "pre-stop", "--timeout", "45s"];
const DATA_DIR: &str = "/var/lib/brainy";
const TLS_DIR: &str = "/etc/brainy/tls";
/// Readable by the owner and the pod's group.
const SECRET_MODE: i32 = 0o440;

/// The pod template of a role, without its revision.
///
/// # Errors
/// [`BuildError`], for a cluster without namespace or bucket.
pub(super) fn unrevised(
    cluster: &BrainyCluster,
    role: Role,
    context: &BuildContext<'_>,
) -> Result<PodTemplateSpec, BuildError> {
    let spec = cluster.spec.role(role);
    let added = &spec.pod_template.metadata;
    let SchedulingSpec {
        node_selector,
        tolerations,
        affinity,
        topology_spread_constraints,
        priority_class_name,
    } = &spec.scheduling;
    let pull_secrets = cluster.spec.image.pull_secrets.iter();
    let pod = PodSpec {
        service_account_name: Some(service_account::name(cluster)),
        // Nodes never talk to the API server.
        automount_service_account_token: Some(service_account::is_workload_identity(cluster)),
        // A Service named `brainy` would set BRAINY_PORT and the like, which brainyd would read.
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        image_pull_secrets: some_vec(
            pull_secrets
                .map(|secret| LocalObjectReference {
                    name: secret.name.clone(),
                })
                .collect(),
        ),
        security_context: Some(pod_security()),
        containers: vec![container(cluster, role, context)?],
        volumes: Some(volumes(cluster, role)),
        node_selector: some_map(node_selector.clone()),
        tolerations: some_vec(tolerations.clone()),
        affinity: Some(
            affinity
                .clone()
                .unwrap_or_else(|| apart_if_possible(cluster, role)),
        ),
        topology_spread_constraints: some_vec(topology_spread_constraints.clone()),
        priority_class_name: priority_class_name.clone(),
        ..PodSpec::default()
    };
    Ok(PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels::overlay(
                &added.labels,
                labels::of_role(cluster, role),
            )),
            annotations: some_map(added.annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(pod),
    })
}

fn container(
    cluster: &BrainyCluster,
    role: Role,
    context: &BuildContext<'_>,
) -> Result<Container, BuildError> {
    let pull_policy = match cluster.spec.image.pull_policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    };
    let tls = cluster.spec.tls.is_some();
    let probe = |path: &str, period, failures, timeout| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PORT_NAME.to_owned()),
            scheme: tls.then(|| "HTTPS".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(timeout),
        ..Probe::default()
    };
    let mut mounts = vec![mount(CACHE, DATA_DIR), mount("tmp", "/tmp")];
    if tls {
        mounts.push(VolumeMount {
            read_only: Some(true),
            ..mount("tls", TLS_DIR)
        });
    }
    Ok(Container {
        name: CONTAINER.to_owned(),
        image: Some(context.image.to_owned()),
        image_pull_policy: Some(pull_policy.to_owned()),
        // Not left to the image's entry point: the hook below needs the same name.
        command: Some(vec![CONTAINER.to_owned()]),
        args: Some(arguments(cluster, role)?),
        env: Some(env(cluster, role)?),
        ports: Some(vec![ContainerPort {
            name: Some(PORT_NAME.to_owned()),
            container_port: PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(cluster.spec.role(role).resources.clone()),
        // Three minutes to listen; then a hung process is restarted after half a minute, and one late answer changes nothing.
        startup_probe: Some(probe("/livez", 2, 90, 5)),
        liveness_probe: Some(probe("/livez", 10, 3, 5)),
        readiness_probe: Some(probe("/readyz", 2, 3, 2)),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                exec: Some(ExecAction {
                    command: Some(PRE_STOP.map(str::to_owned).to_vec()),
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        // The last lines of the log say why it ended.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts),
        ..Container::default()
    })
}

fn arguments(cluster: &BrainyCluster, role: Role) -> Result<Vec<String>, BuildError> {
    let storage = &cluster.spec.storage;
    let bucket = storage.bucket.as_ref().ok_or(BuildError::NoBucket)?;
    let mut all: Vec<String> = [
        ("--role", role.as_str()),
        ("--instance", &format!("$({POD_NAME})")),
        ("--listen", &format!("0.0.0.0:{PORT}")),
        ("--advertise", &format!("$({ADVERTISE})")),
        ("--data-dir", DATA_DIR),
        ("--log-format", "json"),
        ("--s3-bucket", bucket),
        ("--s3-prefix", &cluster.storage_prefix()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
    .collect();
    if let Some(endpoint) = &storage.endpoint {
        all.extend(["--s3-endpoint".to_owned(), endpoint.clone()]);
    }
    if let Some(region) = &storage.region {
        // The one text here that no pattern restricts: Kubernetes would expand $(...).
        all.extend(["--s3-region".to_owned(), region.replace('$', "$$")]);
    }
    if storage.path_style {
        all.push("--s3-path-style".to_owned());
    }
    if cluster.spec.tls.is_some() {
        for (flag, file) in [
            ("--tls-cert", "tls.crt"),
            ("--tls-key", "tls.key"),
            ("--tls-ca", "ca.crt"),
        ] {
            all.extend([flag.to_owned(), format!("{TLS_DIR}/{file}")]);
        }
    }
    all.extend(fixed_arguments(&cluster.spec, role, None));
    Ok(all)
}

/// All that is written: the cache, unless the StatefulSet claims a volume for it, and temporary files.
fn volumes(cluster: &BrainyCluster, role: Role) -> Vec<Volume> {
    let empty = |name: &str| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    let mut all = Vec::new();
    if cluster.spec.role(role).cache_volume.is_none() {
        all.push(empty(CACHE));
    }
    all.push(empty("tmp"));
    if let Some(tls) = &cluster.spec.tls {
        all.push(Volume {
            name: "tls".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(tls.secret_ref.name.clone()),
                default_mode: Some(SECRET_MODE),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    all
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        // A cache of a million files is not walked at each start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

/// Pods of one role prefer different nodes, and share one where there are too few.
fn apart_if_possible(cluster: &BrainyCluster, role: Role) -> Affinity {
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                WeightedPodAffinityTerm {
                    weight: 100,
                    pod_affinity_term: PodAffinityTerm {
                        topology_key: "kubernetes.io/hostname".to_owned(),
                        label_selector: Some(labels::selecting(labels::match_role(cluster, role))),
                        ..PodAffinityTerm::default()
                    },
                },
            ]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

/// Empty lists and maps are left out, so that nothing is owned that nobody asked for.
fn some_vec<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn some_map(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then_some(map)
}
