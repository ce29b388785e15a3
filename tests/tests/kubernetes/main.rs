//! The real controllers of Kubernetes, the real operator with the chart's rights, and real `brainyd` processes work
//! together: what users do and what breaks, each with an account of every acknowledged write. Pods run as processes of
//! this machine; `make e2e` does the same in any cluster.

#![allow(clippy::unwrap_used)]

mod breakage;
mod data;
mod rest;
mod scenarios;

use brainy_tests::kubernetes::{Place, World};

async fn world() -> World {
    World::here(Place::Shared).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_becomes_ready_and_serves() {
    scenarios::the_sample_becomes_ready(&world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_under_load_loses_nothing_and_moves_no_more_than_it_must() {
    scenarios::scaling_under_load(&world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_down_can_be_taken_back() {
    scenarios::a_scale_down_can_be_taken_back(&world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scale_subresource_sets_readers() {
    scenarios::the_scale_subresource_sets_readers(&world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_loses_nothing() {
    scenarios::a_rolling_restart_under_load(&world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_image_takes_one_pod_and_is_rolled_back() {
    scenarios::a_bad_image_is_rolled_back(&world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_pod_hands_over_first() {
    scenarios::an_evicted_pod_hands_over_first(&world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_pods_lose_nothing_and_keep_their_partitions() {
    scenarios::killed_pods_lose_nothing(&world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_die_at_every_step() {
    scenarios::the_operator_is_killed_at_every_step(&world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_cluster_waits() {
    scenarios::a_paused_cluster_waits(&world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_cluster_keeps_its_data() {
    scenarios::a_stopped_cluster_keeps_its_data(&world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_keeps_the_data_by_default() {
    scenarios::deletion_keeps_the_data_by_default(&world().await).await;
}
