//! What clusters become, object by object, compared with files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use brainy_crds::{BrainyCluster, Role};

use super::fixtures::{clusters, context, hybrid, objects, of_kind, quickstart, replicas};
use super::labels::selector;
use super::{BuildError, Built, build, image, services, unsupported};

fn yaml(objects: &[Built]) -> String {
    objects
        .iter()
        .map(|built| format!("---\n{}", serde_yaml::to_string(&built.body).unwrap()))
        .collect()
}

#[test]
fn clusters_become_what_the_golden_files_say() {
    for (name, cluster) in clusters() {
        assert_eq!(unsupported(&cluster), [], "{name}");
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join(format!("src/resources/golden/{name}.yaml"));
        let is = yaml(&objects(&cluster));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &is).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        let differs = is.lines().zip(expected.lines()).find(|(a, b)| a != b);
        assert!(
            is == expected,
            "{}: first different line, is and was: {differs:?}. If that is meant, write the file anew with \
             UPDATE_GOLDEN=1 cargo test -p brainy-operator, and look at the difference",
            path.display()
        );
    }
}

#[test]
fn building_twice_gives_the_same() {
    for (name, cluster) in clusters() {
        assert_eq!(objects(&cluster), objects(&cluster), "{name}");
    }
}

fn statefulset_replicas(cluster: &BrainyCluster, kept: &BTreeMap<Role, i32>) -> Vec<(String, i64)> {
    let objects = build(cluster, &context(kept)).unwrap();
    of_kind(&objects, "StatefulSet")
        .into_iter()
        .map(|set| {
            let name = set["metadata"]["name"].as_str().unwrap().to_owned();
            (name, set["spec"]["replicas"].as_i64().unwrap())
        })
        .collect()
}

#[test]
fn pods_stay_as_long_as_the_plan_keeps_them() {
    let mut cluster = quickstart();
    let named = |pairs: &[(&str, i64)]| -> Vec<(String, i64)> {
        pairs
            .iter()
            .map(|(n, r)| (format!("quickstart-{n}"), *r))
            .collect()
    };
    cluster.spec.writers.replicas = 1;
    let draining = BTreeMap::from([(Role::Writer, 3), (Role::Reader, 2), (Role::Hybrid, 0)]);
    assert_eq!(
        statefulset_replicas(&cluster, &draining),
        named(&[("writer", 3), ("reader", 2)])
    );
    cluster.spec.readers.replicas = 0;
    assert_eq!(
        statefulset_replicas(&cluster, &draining),
        named(&[("writer", 3), ("reader", 2)]),
        "a role that nobody wants any more has its StatefulSet until it is empty"
    );
    let empty = BTreeMap::from([(Role::Writer, 1), (Role::Reader, 0)]);
    assert_eq!(
        statefulset_replicas(&cluster, &empty),
        named(&[("writer", 1)])
    );
    cluster.spec.stopped = true;
    let stopped = BTreeMap::from([(Role::Writer, 0), (Role::Reader, 0)]);
    assert_eq!(
        statefulset_replicas(&cluster, &stopped),
        named(&[("writer", 0)]),
        "a stopped cluster keeps the StatefulSets of its spec"
    );
}

#[test]
fn a_number_of_pods_is_never_guessed() {
    let error = build(&quickstart(), &context(&BTreeMap::new())).unwrap_err();
    assert!(
        matches!(error, BuildError::UndecidedReplicas(Role::Writer)),
        "{error}"
    );
}

#[test]
fn nothing_is_built_without_a_bucket_or_an_owner() {
    let mut cluster = quickstart();
    cluster.spec.storage.bucket = None;
    let kept = replicas(&cluster);
    let error = build(&cluster, &context(&kept)).unwrap_err();
    assert!(matches!(error, BuildError::NoBucket), "{error}");

    let mut cluster = quickstart();
    cluster.metadata.uid = None;
    let error = build(&cluster, &context(&kept)).unwrap_err();
    assert!(matches!(error, BuildError::NotStored(_)), "{error}");
}

#[test]
fn a_single_pod_blocks_no_node() {
    let budgets = |kept: i32| {
        let cluster = quickstart();
        let kept = BTreeMap::from([(Role::Writer, kept), (Role::Reader, 0)]);
        of_kind(
            &build(&cluster, &context(&kept)).unwrap(),
            "PodDisruptionBudget",
        )
        .len()
    };
    assert_eq!([budgets(0), budgets(1), budgets(2)], [0, 0, 1]);
}

#[test]
fn what_is_not_asked_for_is_not_built() {
    let kinds: Vec<String> = objects(&quickstart())
        .into_iter()
        .map(|built| built.resource.kind)
        .collect();
    for kind in ["ServiceMonitor", "PrometheusRule", "ConfigMap", "Secret"] {
        assert!(!kinds.iter().any(|k| k == kind), "{kinds:?}");
    }
}

#[test]
fn an_existing_service_account_is_used_and_left_alone() {
    let manifest = "apiVersion: brainy.io/v1alpha1\nkind: BrainyCluster\nmetadata:\n  name: test\nspec:\n  storage:\n    bucket: mine\n    credentials:\n      workloadIdentity:\n        serviceAccountName: theirs\n";
    let objects = objects(&super::fixtures::stored(manifest));
    assert!(of_kind(&objects, "ServiceAccount").is_empty());
    for set in of_kind(&objects, "StatefulSet") {
        let pod = &set["spec"]["template"]["spec"];
        assert_eq!(pod["serviceAccountName"], "theirs");
        assert_eq!(pod["automountServiceAccountToken"], true);
    }
}

#[test]
fn what_the_status_tells() {
    let cluster = hybrid();
    assert_eq!(
        selector(&cluster, Role::Hybrid),
        "brainy.io/cluster=small,brainy.io/role=hybrid"
    );
    assert_eq!(
        services::url(&cluster).unwrap(),
        "https://small.team-a.svc:443"
    );
    let chosen = image::image(&cluster.spec.image, None, super::fixtures::IMAGE);
    assert!(
        chosen.starts_with("registry.example.com/brainy/brainyd@sha256:"),
        "{chosen}"
    );
}

#[test]
fn the_region_is_not_expanded_by_kubernetes() {
    let mut cluster = quickstart();
    cluster.spec.storage.region = Some("$(BRAINY_API_KEY)".to_owned());
    let objects = objects(&cluster);
    let args =
        &of_kind(&objects, "StatefulSet")[0]["spec"]["template"]["spec"]["containers"][0]["args"];
    let args: Vec<&str> = args
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|a| a.as_str())
        .collect();
    assert!(args.contains(&"$$(BRAINY_API_KEY)"), "{args:?}");
}

/// Names that the data plane registers, as they appear in its sources.
fn registered(source: &str, prefix: &str) -> Vec<String> {
    source
        .split("registry.register(")
        .skip(1)
        .filter_map(|call| call.split('"').nth(1))
        .map(|name| format!("{prefix}{name}"))
        .collect()
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let mut known = registered(
        include_str!("../../../dataplane/src/node/metrics.rs"),
        "brainy_",
    );
    known.extend(registered(
        include_str!("../../../dataplane/src/api/metrics.rs"),
        "",
    ));
    assert!(known.len() > 15, "{known:?}");
    let texts = [
        include_str!("monitoring/alerts.yaml"),
        include_str!("monitoring/dashboard.json"),
    ];
    let names = words(&texts.concat());
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let base = ["_total", "_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(&name);
        assert!(
            name == "brainy_cluster" || known.iter().any(|k| k == base),
            "{name} is not exported by the data plane"
        );
    }
}

/// Words that begin with `brainy_`.
fn words(text: &str) -> Vec<String> {
    let mut names: Vec<String> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("brainy_"))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn alerts_and_dashboard_of_a_cluster_are_about_that_cluster() {
    let objects = objects(&hybrid());
    let rule = of_kind(&objects, "PrometheusRule")[0].to_string();
    assert!(!rule.contains("__selector__"));
    let expressions = rule.matches("brainy_cluster=\\\"small\\\"").count();
    assert!(expressions >= 8, "{expressions}");

    let board = of_kind(&objects, "ConfigMap")[0];
    let text = board["data"]["brainy-team-a-small.json"].as_str().unwrap();
    let board: serde_json::Value = serde_json::from_str(text).unwrap();
    assert!(board["uid"].as_str().unwrap().len() <= 40);
    assert_eq!(board["templating"]["list"][2]["current"]["value"], "small");
}
