//! What the API server would refuse, or what would not find each other.

use std::collections::BTreeSet;

use brainy_crds::{BrainyCluster, Role};
use serde_json::Value;

use super::Built;
use super::fixtures::{clusters, hybrid, objects, of_kind, production, quickstart};

/// The longest name that a BrainyCluster may have.
const LONGEST_NAME: &str = "a234567890123456789012345678901234567890";
/// The highest ordinal of a pod.
const LAST_ORDINAL: u32 = 255;

/// All fixtures, and one with the longest name and every role.
fn all() -> Vec<(String, BrainyCluster)> {
    let mut all: Vec<_> = clusters().map(|(n, c)| (n.to_owned(), c)).into();
    let mut longest = production();
    longest.metadata.name = Some(LONGEST_NAME.to_owned());
    longest.spec.hybrids.replicas = 1;
    longest.spec.monitoring.dashboard.enabled = true;
    all.push(("longest name".to_owned(), longest));
    all
}

/// RFC 1123 label.
fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Qualified name: an optional DNS prefix and a name of at most 63 characters.
fn is_key(text: &str) -> bool {
    let (prefix, name) = text
        .split_once('/')
        .map_or((None, text), |(p, n)| (Some(p), n));
    prefix.is_none_or(|p| p.len() <= 253 && p.split('.').all(is_dns_label)) && is_name(name)
}

/// Letters, digits and `-_.` between letters or digits.
fn is_name(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn text<'a>(value: &'a Value, what: &str) -> &'a str {
    value.as_str().unwrap_or_else(|| panic!("{what}: {value}"))
}

fn check_labels(labels: &Value, what: &str) {
    for (key, value) in labels.as_object().unwrap() {
        assert!(is_key(key), "{what}: {key}");
        let value = text(value, what);
        assert!(value.is_empty() || is_name(value), "{what}: {key}={value}");
    }
}

#[test]
fn names_labels_and_owners_are_accepted() {
    for (name, cluster) in all() {
        let mut seen = BTreeSet::new();
        for Built {
            resource,
            name: object,
            body,
        } in objects(&cluster)
        {
            let what = format!("{name}: {} {object}", resource.kind);
            assert!(is_dns_label(&object), "{what}");
            assert!(
                seen.insert((resource.kind.clone(), object.clone())),
                "{what} is there twice"
            );
            assert_eq!(body["kind"], resource.kind.as_str(), "{what}");
            assert_eq!(body["apiVersion"], resource.api_version.as_str(), "{what}");
            let metadata = &body["metadata"];
            assert_eq!(metadata["name"], object.as_str(), "{what}");
            assert_eq!(
                metadata["namespace"],
                cluster.metadata.namespace.as_deref().unwrap()
            );
            check_labels(&metadata["labels"], &what);
            for (key, value) in [
                ("app.kubernetes.io/name", "brainy"),
                ("app.kubernetes.io/managed-by", "brainy-operator"),
                (
                    "brainy.io/cluster",
                    cluster.metadata.name.as_deref().unwrap(),
                ),
            ] {
                assert_eq!(metadata["labels"][key], value, "{what}");
            }
            let owners = metadata["ownerReferences"].as_array().unwrap();
            assert_eq!(owners.len(), 1, "{what}");
            assert_eq!(owners[0]["controller"], true, "{what}");
            assert_eq!(owners[0]["uid"], cluster.metadata.uid.as_deref().unwrap());
            assert_eq!(owners[0]["kind"], "BrainyCluster", "{what}");
            assert!(
                body["status"].is_null(),
                "{what}: only its controller writes it"
            );
            assert!(body.to_string().len() < 1 << 20, "{what}");
        }
    }
}

#[test]
fn plurals_are_those_of_the_apis() {
    let mut cluster = hybrid();
    cluster.spec.hybrids.replicas = 2;
    let plurals: BTreeSet<String> = objects(&cluster)
        .into_iter()
        .map(|built| built.resource.plural)
        .collect();
    let expected = [
        "configmaps",
        "networkpolicies",
        "poddisruptionbudgets",
        "prometheusrules",
        "serviceaccounts",
        "servicemonitors",
        "services",
        "statefulsets",
    ];
    assert_eq!(plurals, expected.map(str::to_owned).into());
}

/// What the StatefulSet controller adds has its limits, too.
#[test]
fn pods_of_the_longest_name_can_be_made() {
    let mut cluster = quickstart();
    cluster.metadata.name = Some(LONGEST_NAME.to_owned());
    for role in Role::ALL {
        let pod = cluster.instance_name(role, LAST_ORDINAL);
        assert!(
            is_dns_label(&pod),
            "{pod}: host name and label statefulset.kubernetes.io/pod-name"
        );
        let revision = format!("{}-{}", cluster.role_name(role), "0123456789");
        assert!(
            is_name(&revision),
            "{revision}: label controller-revision-hash"
        );
    }
}

#[test]
fn selectors_select_the_pods_of_their_role_and_no_others() {
    for (name, cluster) in all() {
        let objects = objects(&cluster);
        let sets = of_kind(&objects, "StatefulSet");
        let matching = |selector: &Value| {
            let wanted = selector.as_object().unwrap();
            assert!(!wanted.is_empty());
            let selected = sets.iter().filter(|set| {
                let labels = &set["spec"]["template"]["metadata"]["labels"];
                wanted.iter().all(|(key, value)| labels[key] == *value)
            });
            selected.count()
        };
        for set in &sets {
            check_labels(&set["spec"]["template"]["metadata"]["labels"], &name);
            assert_eq!(
                matching(&set["spec"]["selector"]["matchLabels"]),
                1,
                "{name}"
            );
            let service = text(&set["spec"]["serviceName"], &name);
            let services = of_kind(&objects, "Service");
            let headless = services
                .iter()
                .find(|s| s["metadata"]["name"] == service)
                .unwrap();
            assert_eq!(headless["spec"]["clusterIP"], "None");
            assert_eq!(
                headless["spec"]["selector"],
                set["spec"]["selector"]["matchLabels"]
            );
        }
        for budget in of_kind(&objects, "PodDisruptionBudget") {
            assert_eq!(
                matching(&budget["spec"]["selector"]["matchLabels"]),
                1,
                "{name}"
            );
        }
        for policy in of_kind(&objects, "NetworkPolicy") {
            let selector = &policy["spec"]["podSelector"]["matchLabels"];
            assert_eq!(matching(selector), sets.len(), "{name}");
        }
        let client = of_kind(&objects, "Service")
            .into_iter()
            .find(|s| s["metadata"]["name"] == cluster.metadata.name.as_deref().unwrap())
            .unwrap();
        assert_eq!(matching(&client["spec"]["selector"]), sets.len(), "{name}");
    }
}

#[test]
fn what_a_pod_refers_to_is_there() {
    for (name, cluster) in all() {
        for set in of_kind(&objects(&cluster), "StatefulSet") {
            let pod = &set["spec"]["template"]["spec"];
            let container = &pod["containers"][0];
            let claims = set["spec"]["volumeClaimTemplates"].as_array();
            let claims = claims
                .into_iter()
                .flatten()
                .map(|c| text(&c["metadata"]["name"], &name));
            let volumes = pod["volumes"].as_array().unwrap().iter();
            let volumes: Vec<&str> = volumes
                .map(|v| text(&v["name"], &name))
                .chain(claims)
                .collect();
            let unique: BTreeSet<&&str> = volumes.iter().collect();
            assert_eq!(unique.len(), volumes.len(), "{name}: {volumes:?}");
            let mounts = container["volumeMounts"].as_array().unwrap();
            let mounted: BTreeSet<&str> = mounts.iter().map(|m| text(&m["name"], &name)).collect();
            assert_eq!(mounted, volumes.into_iter().collect(), "{name}");

            let port = text(&container["ports"][0]["name"], &name);
            assert!(port.len() <= 15 && is_dns_label(port));
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                assert_eq!(container[probe]["httpGet"]["port"], port, "{name}: {probe}");
                let tls = cluster.spec.tls.is_some();
                let https = container[probe]["httpGet"]["scheme"] == "HTTPS";
                assert_eq!(https, tls, "{name}: {probe}");
            }

            let env = container["env"].as_array().unwrap();
            let names: BTreeSet<&str> = env.iter().map(|e| text(&e["name"], &name)).collect();
            assert_eq!(names.len(), env.len(), "{name}: a variable is there twice");
            for argument in container["args"].as_array().unwrap() {
                let argument = text(argument, &name);
                if let Some(variable) = argument.split("$(").nth(1) {
                    let variable = variable.split(')').next().unwrap();
                    assert!(names.contains(variable), "{name}: {argument}");
                }
            }
            let grace = pod["terminationGracePeriodSeconds"].as_i64().unwrap();
            let hook = &container["lifecycle"]["preStop"]["exec"]["command"];
            let hook: i64 = text(&hook[3], &name).trim_end_matches('s').parse().unwrap();
            assert!(
                hook + 30 <= grace,
                "{name}: time is left to flush after the hook"
            );
        }
    }
}

/// A budget that allows nothing, or a volume that outlives its use, would need a person.
#[test]
fn nodes_can_be_drained_and_volumes_go() {
    for (name, cluster) in all() {
        let objects = objects(&cluster);
        for budget in of_kind(&objects, "PodDisruptionBudget") {
            assert_eq!(budget["spec"]["maxUnavailable"], 1, "{name}");
            assert!(budget["spec"]["minAvailable"].is_null(), "{name}");
        }
        for set in of_kind(&objects, "StatefulSet") {
            let policy = &set["spec"]["persistentVolumeClaimRetentionPolicy"];
            assert_eq!(policy["whenDeleted"], "Delete", "{name}");
            assert_eq!(policy["whenScaled"], "Delete", "{name}");
            assert_eq!(set["spec"]["updateStrategy"]["type"], "OnDelete", "{name}");
            assert_eq!(set["spec"]["podManagementPolicy"], "Parallel", "{name}");
        }
    }
}
