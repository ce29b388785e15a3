//! The restricted profile of the Pod Security Standards, rule by rule.
//!
//! Source: <https://kubernetes.io/docs/concepts/security/pod-security-standards/>, of Kubernetes 1.34.

use serde_json::Value;

use super::fixtures::{clusters, objects, of_kind};

/// The pod templates of all clusters, with their names.
fn pods() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (cluster, spec) in clusters() {
        for set in of_kind(&objects(&spec), "StatefulSet") {
            let name = &set["metadata"]["name"];
            all.push((
                format!("{cluster}: {name}"),
                set["spec"]["template"].clone(),
            ));
        }
    }
    assert_eq!(all.len(), 5);
    all
}

/// Containers of every sort.
fn containers(pod: &Value) -> Vec<&Value> {
    ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .filter_map(|list| pod["spec"][list].as_array())
        .flatten()
        .collect()
}

/// The security contexts of the pod and of its containers.
fn contexts(pod: &Value) -> Vec<&Value> {
    let of_containers = containers(pod).into_iter().map(|c| &c["securityContext"]);
    std::iter::once(&pod["spec"]["securityContext"])
        .chain(of_containers)
        .collect()
}

/// Absent, or one of these.
fn is_one_of(value: &Value, allowed: &[Value]) -> bool {
    value.is_null() || allowed.contains(value)
}

#[test]
fn baseline_rules_hold() {
    for (name, pod) in pods() {
        let spec = &pod["spec"];
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(is_one_of(&spec[field], &[false.into()]), "{name}: {field}");
        }
        for context in contexts(&pod) {
            assert!(context["windowsOptions"].is_null(), "{name}");
            assert!(is_one_of(&context["privileged"], &[false.into()]), "{name}");
            assert!(context["seLinuxOptions"].is_null(), "{name}");
            assert!(context["appArmorProfile"].is_null(), "{name}");
            assert!(
                is_one_of(&context["procMount"], &["Default".into()]),
                "{name}"
            );
            assert!(context["sysctls"].is_null(), "{name}");
        }
        for container in containers(&pod) {
            for port in container["ports"].as_array().into_iter().flatten() {
                assert!(is_one_of(&port["hostPort"], &[0.into()]), "{name}: {port}");
            }
            let handlers = [
                &container["startupProbe"],
                &container["livenessProbe"],
                &container["readinessProbe"],
                &container["lifecycle"]["preStop"],
                &container["lifecycle"]["postStart"],
            ];
            for handler in handlers {
                for kind in ["httpGet", "tcpSocket"] {
                    assert!(handler[kind]["host"].is_null(), "{name}: {handler}");
                }
            }
        }
    }
}

#[test]
fn volumes_are_of_allowed_types() {
    let allowed = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    for (name, pod) in pods() {
        for volume in pod["spec"]["volumes"].as_array().unwrap() {
            let mut kinds = volume
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "name");
            assert!(
                kinds.all(|kind| allowed.contains(&kind.as_str())),
                "{name}: {volume}"
            );
        }
    }
}

#[test]
fn privileges_cannot_grow_and_capabilities_are_dropped() {
    for (name, pod) in pods() {
        for container in containers(&pod) {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            let drop = context["capabilities"]["drop"].as_array().unwrap();
            assert!(drop.contains(&"ALL".into()), "{name}");
            let add = context["capabilities"]["add"].as_array();
            assert!(add.is_none_or(Vec::is_empty), "{name}");
        }
    }
}

#[test]
fn nobody_is_root() {
    for (name, pod) in pods() {
        let context = &pod["spec"]["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{name}");
        assert!(context["runAsUser"].as_i64().unwrap() > 0, "{name}");
        assert!(context["runAsGroup"].as_i64().unwrap() > 0, "{name}");
        for container in containers(&pod) {
            let own = &container["securityContext"];
            assert!(is_one_of(&own["runAsNonRoot"], &[true.into()]), "{name}");
            assert!(
                own["runAsUser"].as_i64().is_none_or(|user| user > 0),
                "{name}"
            );
        }
    }
}

#[test]
fn system_calls_are_filtered() {
    for (name, pod) in pods() {
        let profile = &pod["spec"]["securityContext"]["seccompProfile"]["type"];
        assert_eq!(profile, "RuntimeDefault", "{name}");
        for container in containers(&pod) {
            let own = &container["securityContext"]["seccompProfile"]["type"];
            let allowed = ["RuntimeDefault".into(), "Localhost".into()];
            assert!(is_one_of(own, &allowed), "{name}");
        }
    }
}

/// Beyond the profile: nothing is written but the volumes, and no token of the API server lies around.
#[test]
fn the_root_file_system_is_read_only_and_tokens_are_not_mounted() {
    for (name, pod) in pods() {
        for container in containers(&pod) {
            assert_eq!(
                container["securityContext"]["readOnlyRootFilesystem"], true,
                "{name}"
            );
        }
        let workload_identity = name.starts_with("production");
        assert_eq!(
            pod["spec"]["automountServiceAccountToken"], workload_identity,
            "{name}"
        );
    }
}
