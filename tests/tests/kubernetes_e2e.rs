//! The scenarios of `kubernetes`, in whatever Kubernetes KUBECONFIG names: containers, images, a network and a kubelet that
//! are not ours. `make e2e` installs what they need and runs them one after the other; docs/kind.md makes a Kubernetes.

#![allow(clippy::unwrap_used)]

#[path = "kubernetes/scenarios/mod.rs"]
mod scenarios;

use brainy_tests::kubernetes::World;

/// Runs a scenario and removes its clusters.
async fn run(scenario: impl AsyncFnOnce(&World)) {
    let world = World::elsewhere().await.unwrap();
    world.tidy().await.unwrap();
    scenario(&world).await;
    world.tidy().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes: `make e2e`"]
async fn the_sample_becomes_ready() {
    run(scenarios::the_sample_becomes_ready).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes: `make e2e`"]
async fn scaling_under_load() {
    run(scenarios::scaling_under_load).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes: `make e2e`"]
async fn a_scale_down_can_be_taken_back() {
    run(scenarios::a_scale_down_can_be_taken_back).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes: `make e2e`"]
async fn the_scale_subresource_sets_readers() {
    run(scenarios::the_scale_subresource_sets_readers).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes: `make e2e`"]
async fn a_rolling_restart_under_load() {
    run(scenarios::a_rolling_restart_under_load).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes: `make e2e`"]
async fn a_bad_image_is_rolled_back() {
    run(scenarios::a_bad_image_is_rolled_back).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes: `make e2e`"]
async fn an_evicted_pod_hands_over_first() {
    run(scenarios::an_evicted_pod_hands_over_first).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes: `make e2e`"]
async fn killed_pods_lose_nothing() {
    run(scenarios::killed_pods_lose_nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes: `make e2e`"]
async fn the_operator_is_killed_at_every_step() {
    run(scenarios::the_operator_is_killed_at_every_step).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes: `make e2e`"]
async fn a_paused_cluster_waits() {
    run(scenarios::a_paused_cluster_waits).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes: `make e2e`"]
async fn a_stopped_cluster_keeps_its_data() {
    run(scenarios::a_stopped_cluster_keeps_its_data).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes: `make e2e`"]
async fn deletion_keeps_the_data_by_default() {
    run(scenarios::deletion_keeps_the_data_by_default).await;
}
