//! The control plane that the suites of the operator stand on: real controllers act, the definition of `BrainyCluster` is
//! held to, requests are counted, and a killed API server comes back with what it knew.

#![allow(clippy::unwrap_used)]

#[path = "../../crds/tests/cases/mod.rs"]
mod cases;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use brainy_crds::{BrainyCluster, validate, validate_update};
use brainy_tests::kube::{ControlPlane, FIELD_MANAGER, client, service_account_user, version};
use brainy_tests::wait::{holds, until};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use cases::Case;

const WITHIN: Duration = Duration::from_secs(60);

fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A node as its kubelet registers it; nobody runs pods there but the test.
struct FakeNode {
    client: Client,
    name: String,
}

impl FakeNode {
    async fn register(client: &Client, name: &str) -> Self {
        let condition = json!({"type": "Ready", "status": "True", "reason": "Test", "lastHeartbeatTime": Timestamp::now(),
            "lastTransitionTime": Timestamp::now()});
        let room =
            json!({"cpu": "8", "memory": "16Gi", "pods": "110", "ephemeral-storage": "100Gi"});
        let node: Node = typed(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"capacity": room, "allocatable": room, "conditions": [condition]},
        }));
        let nodes: Api<Node> = Api::all(client.clone());
        nodes.create(&PostParams::default(), &node).await.unwrap();
        let made = Self {
            client: client.clone(),
            name: name.to_owned(),
        };
        made.beat().await;
        made
    }

    /// Says that it is alive.
    async fn beat(&self) {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let renewed = Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
            .to_string();
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self.name},
            "spec": {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": renewed},
        });
        let apply = PatchParams::apply(FIELD_MANAGER).force();
        leases
            .patch(&self.name, &apply, &Patch::Apply(&lease))
            .await
            .unwrap();
    }

    /// Reports a pod as running and ready.
    async fn report_ready(&self, pods: &Api<Pod>, pod: &str) {
        let condition = |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": Timestamp::now()});
        let status = json!({"status": {
            "phase": "Running",
            "conditions": [condition("Ready"), condition("ContainersReady"), condition("Initialized")],
        }});
        pods.patch_status(pod, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }
}

/// A StatefulSet within the `restricted` standard whose pods go to one node.
fn stateful_set(name: &str, node: &str, replicas: u32) -> StatefulSet {
    typed(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": node},
                    "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{
                        "name": "main",
                        "image": "none",
                        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                    }],
                },
            },
        },
    }))
}

/// Waits until exactly these pods are scheduled to the node.
async fn wait_scheduled(pods: &Api<Pod>, node: &FakeNode, names: &[&str]) {
    until(&format!("{names:?} are scheduled"), WITHIN, async || {
        node.beat().await;
        let list = pods.list(&ListParams::default()).await.unwrap();
        let scheduled = list.iter().filter(|pod| {
            let spec = pod.spec.as_ref();
            spec.and_then(|s| s.node_name.as_deref()) == Some(&node.name)
        });
        let scheduled: BTreeSet<String> = scheduled.map(ResourceExt::name_any).collect();
        let expected = names.iter().map(|&name| name.to_owned()).collect();
        holds(scheduled == expected, || json!(list.items).to_string())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_stateful_set_becomes_scheduled_pods_one_after_the_other_and_shrinks_again() {
    let plane = ControlPlane::shared().await.unwrap();
    let client = plane.client().await.unwrap();
    let namespace = plane.namespace("sets").await.unwrap();
    let node = FakeNode::register(&client, &format!("{namespace}-node")).await;
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let set = stateful_set("web", &node.name, 2);
    sets.create(&PostParams::default(), &set).await.unwrap();

    wait_scheduled(&pods, &node, &["web-0"]).await;
    node.report_ready(&pods, "web-0").await;
    wait_scheduled(&pods, &node, &["web-0", "web-1"]).await;
    node.report_ready(&pods, "web-1").await;
    let ready = async |replicas: i32| {
        until(
            &format!("{replicas} replicas are ready"),
            WITHIN,
            async || {
                node.beat().await;
                let status = sets.get("web").await.unwrap().status.unwrap();
                let now = (status.replicas, status.ready_replicas.unwrap_or(0));
                holds(now == (replicas, replicas), || format!("{status:?}"))
            },
        )
        .await
        .unwrap();
    };
    ready(2).await;

    let to_zero = Patch::Merge(json!({"spec": {"replicas": 0}}));
    let params = PatchParams::default();
    sets.patch_scale("web", &params, &to_zero).await.unwrap();
    for pod in ["web-1", "web-0"] {
        until(&format!("{pod} is to end"), WITHIN, async || {
            node.beat().await;
            let list = pods.list(&ListParams::default()).await.unwrap();
            let ending = list
                .iter()
                .filter(|p| p.metadata.deletion_timestamp.is_some());
            let ending: Vec<String> = ending.map(ResourceExt::name_any).collect();
            holds(ending == [pod], || json!(list.items).to_string())
        })
        .await
        .unwrap();
        // What a kubelet does when the processes have ended.
        let now = DeleteParams::default().grace_period(0);
        pods.delete(pod, &now).await.unwrap();
    }
    ready(0).await;
    plane.delete_namespace(&namespace).await.unwrap();
}

#[tokio::test]
async fn it_is_the_pinned_kubernetes() {
    let plane = ControlPlane::shared().await.unwrap();
    let running = plane
        .client()
        .await
        .unwrap()
        .apiserver_version()
        .await
        .unwrap();
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none() {
        assert_eq!(running.git_version, format!("v{}", version()));
    }
    // Rules of the definition need CEL with these libraries, server-side apply and so on: nothing older is supported.
    let number = |text: &str| text.trim_end_matches('+').parse::<u32>().unwrap();
    let release = (number(&running.major), number(&running.minor));
    assert!(release >= (1, 34), "{running:?}");
}

#[tokio::test]
async fn the_definition_is_established_with_its_names() {
    let plane = ControlPlane::shared().await.unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(plane.client().await.unwrap());
    let found = definitions.get("brainyclusters.brainy.io").await.unwrap();
    let status = found.status.unwrap();
    assert_eq!(status.accepted_names.unwrap().short_names.unwrap(), ["bc"]);
    let conditions: BTreeSet<(String, String)> = status
        .conditions
        .unwrap()
        .into_iter()
        .map(|c| (c.type_, c.status))
        .collect();
    let expected = ["NamesAccepted", "Established"].map(|t| (t.to_owned(), "True".to_owned()));
    assert_eq!(
        conditions,
        BTreeSet::from(expected),
        "NonStructuralSchema or the like"
    );
}

#[tokio::test]
async fn the_examples_are_accepted() {
    let plane = ControlPlane::shared().await.unwrap();
    let clusters: Api<BrainyCluster> = Api::default_namespaced(plane.client().await.unwrap());
    for example in ["quickstart.yaml", "production.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../examples")
            .join(example);
        // As it is written: whatever the types would drop or fill in must not hide a mistake.
        let mut manifest: Value =
            serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        manifest["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("namespace");
        let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
        let dry_run = PatchParams {
            dry_run: true,
            field_validation: Some(kube::api::ValidationDirective::Strict),
            ..PatchParams::apply(FIELD_MANAGER)
        };
        let applied = clusters
            .patch(&name, &dry_run, &Patch::Apply(&manifest))
            .await;
        let applied = applied.unwrap_or_else(|e| panic!("{example}: {e}"));
        validate(&applied).unwrap();
    }
}

/// Field and message of everything that the API server finds wrong with a resource; nothing is stored.
async fn refused(
    clusters: &Api<BrainyCluster>,
    new: &BrainyCluster,
    update: bool,
) -> BTreeSet<(String, String)> {
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let answer = if update {
        clusters.replace(&new.name_any(), &dry_run, new).await
    } else {
        clusters.create(&dry_run, new).await
    };
    match answer {
        Ok(_) => BTreeSet::new(),
        Err(kube::Error::Api(status)) if status.code == 422 => {
            let causes = status.details.unwrap().causes.into_iter();
            causes
                .map(|cause| match cause.field.as_str() {
                    // A rule cannot point into metadata; the one on the whole resource is about its name.
                    "<nil>" => ("metadata.name".to_owned(), cause.message),
                    _ => (cause.field, cause.message),
                })
                .collect()
        }
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_rule_refuses_what_it_should_and_names_the_field() {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = plane.namespace("rules").await.unwrap();
    let clusters: Api<BrainyCluster> = Api::namespaced(plane.client().await.unwrap(), &namespace);
    for case in cases::table() {
        let Case {
            name,
            old,
            spec,
            cluster,
            blamed,
        } = case;
        let make = |spec: &Value| {
            let mut made = cases::cluster(cluster, spec);
            made.metadata.namespace = Some(namespace.clone());
            made
        };
        let mut new = make(&spec);
        let (found, by_rust) = if let Some(old) = &old {
            let old = clusters
                .create(&PostParams::default(), &make(old))
                .await
                .unwrap();
            new.metadata.resource_version = old.resource_version();
            let found = refused(&clusters, &new, true).await;
            clusters
                .delete(cluster, &DeleteParams::default())
                .await
                .unwrap();
            (found, validate_update(&new, &old))
        } else {
            (refused(&clusters, &new, false).await, validate(&new))
        };
        let fields: BTreeSet<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
        let expected: BTreeSet<&str> = blamed.iter().copied().collect();
        assert_eq!(fields, expected, "{name}: {spec}: {found:?}");
        for error in by_rust.err().unwrap_or_default() {
            // Kubernetes itself has something to say about a name that ends with a dash.
            let said = found.iter().any(|(field, message)| {
                *field == error.field
                    && (message.contains(&error.message()) || message.contains("RFC 1123"))
            });
            assert!(said, "{name}: {error} is not in {found:?}");
        }
    }
}

#[tokio::test]
async fn a_service_account_may_do_what_its_role_says_and_its_requests_are_counted() {
    let plane = ControlPlane::shared().await.unwrap();
    let admin = plane.client().await.unwrap();
    let namespace = plane.namespace("roles").await.unwrap();
    let new = PostParams::default();
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), &namespace);
    let account = typed(json!({"metadata": {"name": "robot"}}));
    accounts.create(&new, &account).await.unwrap();
    let roles: Api<Role> = Api::namespaced(admin.clone(), &namespace);
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]});
    let role = typed(json!({"metadata": {"name": "robot"}, "rules": [rule]}));
    roles.create(&new, &role).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), &namespace);
    let binding = typed(json!({
        "metadata": {"name": "robot"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "robot"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": namespace}],
    }));
    bindings.create(&new, &binding).await.unwrap();

    let file = plane.service_account_kubeconfig(&namespace, "robot").await;
    let robot = client(&file.unwrap()).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(robot.clone(), &namespace);
    // The authorizer learns of new roles by watching.
    until("the role is in force", WITHIN, async || {
        let list = maps.list(&ListParams::default()).await;
        list.map(drop).map_err(|e| e.to_string())
    })
    .await
    .unwrap();

    let since = plane.audit_mark();
    assert_eq!(
        maps.list(&ListParams::default()).await.unwrap().items.len(),
        1
    );
    let secrets: Api<Secret> = Api::namespaced(robot, &namespace);
    let forbidden = secrets.get("any").await.unwrap_err();
    assert!(
        matches!(&forbidden, kube::Error::Api(s) if s.code == 403),
        "{forbidden}"
    );
    let user = service_account_user(&namespace, "robot");
    // How a request was answered is written when it is over, which may be a little after its answer.
    let requests = until("all is answered", WITHIN, async || {
        let requests = plane.requests_by(&user, since).unwrap();
        let over = requests.iter().all(|r| r.code.is_some());
        if over {
            Ok(requests)
        } else {
            Err(format!("{requests:?}"))
        }
    })
    .await
    .unwrap();
    let seen: Vec<_> = requests
        .iter()
        .map(|r| {
            (
                r.verb.as_str(),
                r.resource.as_str(),
                r.name.as_str(),
                r.code,
            )
        })
        .collect();
    let expected = [
        ("list", "configmaps", "", Some(200)),
        ("get", "secrets", "any", Some(403)),
    ];
    assert_eq!(seen, expected);
    assert!(
        requests.iter().all(|r| r.namespace == namespace),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_killed_api_server_comes_back_with_its_data_and_controllers_go_on() {
    let plane = ControlPlane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let namespace = plane.namespace("crash").await.unwrap();
    let clusters: Api<BrainyCluster> = Api::namespaced(client.clone(), &namespace);
    let quickstart = BrainyCluster::new("quickstart", typed(json!({})));
    let stored = clusters
        .create(&PostParams::default(), &quickstart)
        .await
        .unwrap();

    plane.kill_api_server().await.unwrap();
    clusters.get("quickstart").await.unwrap_err();
    plane.start_api_server().await.unwrap();
    assert_eq!(clusters.get("quickstart").await.unwrap(), stored);

    let node = FakeNode::register(&client, "node").await;
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &namespace);
    let set = stateful_set("after", &node.name, 1);
    sets.create(&PostParams::default(), &set).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    wait_scheduled(&pods, &node, &["after-0"]).await;
}
