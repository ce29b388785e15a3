//! The test kubelet under real controllers: what they see of its pods is what they would see of a real one.

#![allow(clippy::unwrap_used)]

mod place;

use std::collections::BTreeSet;

use brainy_tests::kube::{ControlPlane, config};
use brainy_tests::kubelet::{Happening, Outage, cordon, drain, reachable};
use brainy_tests::process::exists;
use brainy_tests::wait::{holds, until};
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use place::{Place, WITHIN, brainyd, last_exit, ready, shell, typed, waiting};

#[tokio::test]
async fn databases_become_ready_behind_their_service_and_keep_their_claims() {
    let plane = ControlPlane::shared().await.unwrap();
    let place = Place::new(plane, 2, "ready").await;
    let service: Service = typed(json!({
        "metadata": {"name": "db"},
        "spec": {"selector": {"app": "db"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }));
    let services: Api<Service> = Api::namespaced(place.client.clone(), &place.namespace);
    services
        .create(&PostParams::default(), &service)
        .await
        .unwrap();
    let claim = json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let claims = json!({"volumeClaimTemplates": [claim],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"}});
    place.run("db", 3, brainyd(), claims).await;
    place.wait_ready("db", 3).await;

    let slices: Api<EndpointSlice> = Api::namespaced(place.client.clone(), &place.namespace);
    let of_service = ListParams::default().labels("kubernetes.io/service-name=db");
    let endpoints = until("three endpoints are ready", WITHIN, async || {
        let slices = slices.list(&of_service).await.map_err(|e| e.to_string())?;
        let mut found = BTreeSet::new();
        for slice in &slices {
            let port = slice
                .ports
                .iter()
                .flatten()
                .find_map(|p| p.port)
                .unwrap_or(0);
            let endpoints = slice.endpoints.iter();
            let ready =
                endpoints.filter(|e| e.conditions.as_ref().is_some_and(|c| c.ready == Some(true)));
            found.extend(
                ready
                    .flat_map(|e| &e.addresses)
                    .map(|a| (reachable(a).unwrap(), port)),
            );
        }
        if found.len() == 3 {
            Ok(found)
        } else {
            Err(format!("{:?}", slices.items))
        }
    })
    .await
    .unwrap();
    for (address, port) in endpoints {
        assert_eq!(port, 6333);
        let answer = reqwest::get(format!("http://{address}:{port}/readyz"))
            .await
            .unwrap();
        assert!(answer.status().is_success());
    }
    let one = place.pods().get("db-0").await.unwrap();
    let status = one.status.unwrap();
    let address = reachable(&status.pod_ip.unwrap()).unwrap();
    let nodes: BTreeSet<String> = [0, 1].map(|n| place.kubelet.node(n).to_owned()).into();
    assert!(nodes.contains(&one.spec.unwrap().node_name.unwrap()));

    // What a database wrote is there when its pod comes back, at another address.
    let base = format!("http://{address}:6333/collections/kept");
    let schema = json!({"vectors": {"size": 2, "distance": "Dot"}});
    let made = reqwest::Client::new()
        .put(&base)
        .json(&schema)
        .send()
        .await
        .unwrap();
    assert!(made.status().is_success(), "{}", made.text().await.unwrap());
    let before = place.pods().get("db-0").await.unwrap().uid();
    place
        .pods()
        .delete("db-0", &DeleteParams::default())
        .await
        .unwrap();
    let after = place
        .wait_pod("db-0", "is back", |pod, _| {
            pod.uid() != before && ready(pod)
        })
        .await;
    let address = reachable(&after.status.unwrap().pod_ip.unwrap()).unwrap();
    let answer = reqwest::get(format!("http://{address}:6333/collections/kept"))
        .await
        .unwrap();
    assert!(answer.status().is_success());

    // A claim goes with the pod that its StatefulSet does not want any more.
    let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
    place
        .sets()
        .patch("db", &PatchParams::default(), &scale)
        .await
        .unwrap();
    let claims: Api<k8s_openapi::api::core::v1::PersistentVolumeClaim> =
        Api::namespaced(place.client.clone(), &place.namespace);
    until("one claim is left", WITHIN, async || {
        let claims = claims
            .list(&ListParams::default())
            .await
            .map_err(|e| e.to_string())?;
        let names: Vec<String> = claims.iter().map(ResourceExt::name_any).collect();
        holds(names == ["data-db-0"], || format!("{names:?}"))
    })
    .await
    .unwrap();
    plane.delete_namespace(&place.namespace).await.unwrap();
}

#[tokio::test]
async fn a_pod_ends_in_order_and_comes_back_and_a_crash_is_counted() {
    let plane = ControlPlane::shared().await.unwrap();
    let place = Place::new(plane, 1, "ends").await;
    let volumes = json!({"template": {"spec": {"volumes": [{"name": "data", "emptyDir": {}}]}}});
    place.run("db", 1, brainyd(), volumes).await;
    place.wait_ready("db", 1).await;

    let before = place.pods().get("db-0").await.unwrap();
    let pid = place.kubelet.pid(&place.namespace, "db-0").unwrap();
    place
        .pods()
        .delete("db-0", &DeleteParams::default())
        .await
        .unwrap();
    let after = place
        .wait_pod("db-0", "is back", |pod, _| {
            pod.uid() != before.uid() && ready(pod)
        })
        .await;
    assert!(!exists(pid));
    assert_ne!(after.status.unwrap().pod_ip, before.status.unwrap().pod_ip);
    let happened = place.happened("db-0");
    let expected = [
        Happening::Started { pid },
        Happening::PreStopBegan,
        Happening::PreStopEnded(Ok(())),
        Happening::Terminated,
        Happening::Exited(0),
    ];
    assert_eq!(happened[..5], expected);

    let killed = place.kubelet.kill_pod(&place.namespace, "db-0").unwrap();
    let pod = place
        .wait_pod("db-0", "was restarted", |pod, status| {
            status.restart_count == 1 && ready(pod)
        })
        .await;
    assert_eq!(pod.uid(), after.metadata.uid);
    let status = pod.status.unwrap().container_statuses.unwrap().remove(0);
    assert_eq!(last_exit(&status), Some(137));
    assert_ne!(place.kubelet.pid(&place.namespace, "db-0"), Some(killed));
    // Again and again, and it has to wait.
    place.kubelet.kill_pod(&place.namespace, "db-0").unwrap();
    place
        .wait_pod("db-0", "has to wait", |_, status| {
            waiting(status) == Some("CrashLoopBackOff")
        })
        .await;
    place
        .wait_pod("db-0", "runs again", |pod, status| {
            status.restart_count == 2 && ready(pod)
        })
        .await;

    // By force: at once, without a hook.
    let force = DeleteParams::default().grace_period(0);
    let count = place.happened("db-0").len();
    let pid = place.kubelet.pid(&place.namespace, "db-0").unwrap();
    place.pods().delete("db-0", &force).await.unwrap();
    until("the process is gone", WITHIN, async || {
        holds(!exists(pid), || format!("{pid} lives"))
    })
    .await
    .unwrap();
    let ended = &place.happened("db-0")[count..][..2];
    assert_eq!(ended, [Happening::Killed, Happening::Exited(137)]);
}

#[tokio::test]
async fn bad_images_and_missing_secrets_are_told_and_can_be_put_right() {
    let plane = ControlPlane::shared().await.unwrap();
    let place = Place::new(plane, 1, "bad").await;
    // The volume may come later than the container.
    let script = "until test -s /etc/app/key; do sleep 0.1; done
        echo \"$KEY at $ADDRESS in $(cat /etc/app/key)\"; exec sleep 1000";
    let mut container = shell(script);
    container["image"] = json!("registry.test/shell:broken");
    container["env"] = json!([
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "app", "key": "key"}}},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "ADDRESS", "value": "$(POD_IP):1"},
    ]);
    container["volumeMounts"] = json!([{"name": "app", "mountPath": "/etc/app"}]);
    let volume = json!({"name": "app", "secret": {"secretName": "app", "optional": true}});
    place.kubelet.images().refuse("*:broken");
    let more = json!({"template": {"spec": {"volumes": [volume]}}});
    place.run("app", 1, container, more).await;
    let pod = place
        .wait_pod("app-0", "cannot pull", |_, status| {
            waiting(status) == Some("ImagePullBackOff")
        })
        .await;
    assert_eq!(pod.status.unwrap().phase.as_deref(), Some("Pending"));

    // The StatefulSet is told another image; its stuck pod is replaced by hand.
    let image = json!([{"name": "shell", "image": "registry.test/shell:good"}]);
    let patch = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": image}}}}));
    place
        .sets()
        .patch("app", &PatchParams::default(), &patch)
        .await
        .unwrap();
    place
        .pods()
        .delete("app-0", &DeleteParams::default())
        .await
        .unwrap();
    let pod = place
        .wait_pod("app-0", "misses its Secret", |_, status| {
            waiting(status) == Some("CreateContainerConfigError")
        })
        .await;
    let status = pod.status.unwrap().container_statuses.unwrap().remove(0);
    let message = status.state.unwrap().waiting.unwrap().message.unwrap();
    assert_eq!(message, "secret \"app\" not found");

    let secrets: Api<Secret> = Api::namespaced(place.client.clone(), &place.namespace);
    let secret: Secret =
        typed(json!({"metadata": {"name": "app"}, "stringData": {"key": "first"}}));
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let pod = place
        .wait_pod("app-0", "is ready", |pod, _| ready(pod))
        .await;
    let address = pod.status.unwrap().pod_ip.unwrap();
    until("it has logged", WITHIN, async || {
        let logs = place.kubelet.logs(&place.namespace, "app-0");
        holds(
            logs.contains(&format!("first at {address}:1 in first")),
            || logs,
        )
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_unhealthy_container_is_restarted_and_mounted_secrets_follow() {
    let plane = ControlPlane::shared().await.unwrap();
    let place = Place::new(plane, 1, "health").await;
    let secrets: Api<Secret> = Api::namespaced(place.client.clone(), &place.namespace);
    let secret: Secret =
        typed(json!({"metadata": {"name": "app"}, "stringData": {"state": "good"}}));
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let mut container = shell("exec sleep 1000");
    let look = |state: &str| {
        let script = format!("grep -q {state} /etc/app/state");
        json!({"exec": {"command": ["sh", "-c", script]}, "periodSeconds": 1, "failureThreshold": 1})
    };
    container["readinessProbe"] = look("good");
    container["livenessProbe"] = look("o");
    container["volumeMounts"] = json!([{"name": "app", "mountPath": "/etc/app"}]);
    let volume = json!({"name": "app", "secret": {"secretName": "app"}});
    let more =
        json!({"template": {"spec": {"volumes": [volume], "terminationGracePeriodSeconds": 1}}});
    place.run("app", 1, container, more).await;
    place.wait_ready("app", 1).await;
    let pid = place.kubelet.pid(&place.namespace, "app-0").unwrap();

    let set = async |state: &str| {
        let patch = Patch::Merge(json!({"stringData": {"state": state}}));
        secrets
            .patch("app", &PatchParams::default(), &patch)
            .await
            .unwrap();
    };
    set("so-so").await;
    place
        .wait_pod("app-0", "is not ready but lives", |pod, status| {
            !ready(pod) && !status.ready && status.restart_count == 0
        })
        .await;
    assert_eq!(place.kubelet.pid(&place.namespace, "app-0"), Some(pid));
    set("bad").await;
    place
        .wait_pod("app-0", "was restarted", |_, status| {
            status.restart_count > 0
        })
        .await;
    let happened = place.happened("app-0");
    let at = happened
        .iter()
        .position(|h| matches!(h, Happening::Unhealthy(_)))
        .unwrap();
    assert_eq!(happened[at + 1], Happening::Terminated);
    set("good").await;
    place
        .wait_pod("app-0", "is ready again", |pod, _| ready(pod))
        .await;
}

#[tokio::test]
async fn a_lost_node_takes_readiness_with_it_until_it_is_back() {
    let plane = ControlPlane::shared().await.unwrap();
    let place = Place::new(plane, 2, "lost").await;
    let anti = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "app"}}}]}});
    let more =
        json!({"template": {"spec": {"affinity": anti, "terminationGracePeriodSeconds": 1}}});
    place.run("app", 2, shell("exec sleep 1000"), more).await;
    place.wait_ready("app", 2).await;
    let mut on_node = vec![String::new(); 2];
    for pod in place.pods().list(&ListParams::default()).await.unwrap() {
        let node = pod.spec.as_ref().unwrap().node_name.clone().unwrap();
        let n = (0..2).find(|&n| place.kubelet.node(n) == node).unwrap();
        on_node[n] = pod.name_any();
    }
    let pid = |pod: &str| place.kubelet.pid(&place.namespace, pod);
    let before = [pid(&on_node[0]), pid(&on_node[1])];
    place.kubelet.stop_node(0, Outage::Partition).await;
    place.kubelet.stop_node(1, Outage::PowerOff).await;
    assert_eq!([pid(&on_node[0]), pid(&on_node[1])], [before[0], None]);
    for pod in &on_node {
        // The container was ready when it was last heard of: only the node is to blame.
        place
            .wait_pod(pod, "is not ready", |pod, status| {
                !ready(pod) && status.ready
            })
            .await;
    }
    place.kubelet.start_node(0);
    place.kubelet.start_node(1);
    let restarts = async |pod: &str| {
        let pod = place
            .wait_pod(pod, "is ready again", |pod, _| ready(pod))
            .await;
        pod.status.unwrap().container_statuses.unwrap()[0].restart_count
    };
    assert_eq!(restarts(&on_node[0]).await, 0);
    assert_eq!(pid(&on_node[0]), before[0]);
    place
        .wait_pod(&on_node[1], "was started again", |pod, status| {
            ready(pod) && status.restart_count == 1 && last_exit(status) == Some(255)
        })
        .await;
}

#[tokio::test]
async fn evictions_keep_to_the_budget_and_a_drain_gets_there() {
    let plane = ControlPlane::shared().await.unwrap();
    let place = Place::new(plane, 2, "drain").await;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(place.client.clone(), &place.namespace);
    let budget: PodDisruptionBudget = typed(json!({"metadata": {"name": "app"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "app"}}}}));
    budgets
        .create(&PostParams::default(), &budget)
        .await
        .unwrap();
    // It becomes ready after a while, so that evictions have to wait.
    let mut container =
        shell("trap 'exit 0' TERM; sleep 2; : > ready; while :; do sleep 0.1; done");
    let command = json!(["sh", "-c", "test -e ready"]);
    container["readinessProbe"] = json!({"exec": {"command": command}, "periodSeconds": 1});
    let full = place.kubelet.node(1);
    cordon(&place.client, full, true).await.unwrap();
    place.run("app", 2, container, json!({})).await;
    place.wait_ready("app", 2).await;
    until("one may be disrupted", WITHIN, async || {
        let status = budgets.get("app").await.map_err(|e| e.to_string())?.status;
        holds(
            status.as_ref().is_some_and(|s| s.disruptions_allowed == 1),
            || format!("{status:?}"),
        )
    })
    .await
    .unwrap();

    cordon(&place.client, full, false).await.unwrap();
    let node = place.kubelet.node(0);
    // By a client that does not itself repeat what was refused.
    let mut config = config(&plane.kubeconfig()).await.unwrap();
    config.default_retry = false;
    let once: Api<Pod> = Api::namespaced(Client::try_from(config).unwrap(), &place.namespace);
    once.evict("app-0", &EvictParams::default()).await.unwrap();
    let refused = once.evict("app-1", &EvictParams::default()).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 429));
    drain(&place.client, node, WITHIN).await.unwrap();
    place.wait_ready("app", 2).await;
    for pod in place.pods().list(&ListParams::default()).await.unwrap() {
        assert_eq!(pod.spec.unwrap().node_name.as_deref(), Some(full));
    }
}

#[tokio::test]
async fn what_happens_while_the_api_server_is_away_is_told_when_it_is_back() {
    let plane = ControlPlane::start().await.unwrap();
    let place = Place::new(&plane, 1, "away").await;
    let container = shell("trap 'exit 0' TERM; while :; do sleep 0.1; done");
    place.run("app", 1, container, json!({})).await;
    place.wait_ready("app", 1).await;
    plane.kill_api_server().await.unwrap();
    let killed = place.kubelet.kill_pod(&place.namespace, "app-0").unwrap();
    until("it runs again", WITHIN, async || {
        let pid = place.kubelet.pid(&place.namespace, "app-0");
        holds(pid.is_some_and(|pid| pid != killed), || format!("{pid:?}"))
    })
    .await
    .unwrap();
    plane.start_api_server().await.unwrap();
    place
        .wait_pod("app-0", "was restarted", |pod, status| {
            status.restart_count == 1 && ready(pod)
        })
        .await;
    let before = place.pods().get("app-0").await.unwrap().uid();
    place
        .pods()
        .delete("app-0", &DeleteParams::default())
        .await
        .unwrap();
    place
        .wait_pod("app-0", "is another", |pod, _| {
            pod.uid() != before && ready(pod)
        })
        .await;
    let running = place.kubelet.pods_running();
    drop(place);
    assert_eq!(running.len(), 1);
    assert!(
        running.iter().all(|(_, pid)| !exists(*pid)),
        "processes end with the kubelet"
    );
}
