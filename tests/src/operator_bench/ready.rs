//! From `kubectl apply` to Ready, and how much of that is the operator's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use brainy_crds::{BrainyCluster, CLUSTER_LABEL, ConditionType};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};

use super::report::{Report, Row};
use crate::HarnessError;
use crate::kubelet::Happening;
use crate::kubernetes::{Place, SETTLED_WITHIN, World};
use crate::manifest::Manifest;

const WRITERS: u32 = 1;
const READERS: u32 = 1;

/// When what happened to one cluster. Instants are those at which a watch told it.
#[derive(Debug)]
struct Timeline {
    applied: Instant,
    pods: BTreeMap<String, PodTimes>,
    ready: Instant,
}

#[derive(Debug)]
struct PodTimes {
    created: Instant,
    ready: Option<Instant>,
}

/// Makes clusters ready, one after another.
pub(super) async fn measure(report: &mut Report, runs: u16) -> Result<(), HarnessError> {
    super::say("from apply to Ready");
    let world = World::here(Place::Own).await?;
    let mut figures: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for run in 0..runs {
        let name = format!("bench-{run}");
        let manifest = Manifest::new(WRITERS, READERS).with("metadata.name", name.as_str());
        let timeline = one(&world, manifest, &name).await?;
        for (what, took) in split(&world, &timeline)? {
            figures.entry(what).or_default().push(took.as_secs_f64());
        }
    }
    for (what, _) in STEPS {
        let values = figures.remove(what).unwrap_or_default();
        let detail = STEPS
            .iter()
            .find(|(name, _)| *name == what)
            .map_or("", |(_, d)| d);
        report.add(Row::new("ready", what, "s", &values).detail(detail));
    }
    Ok(())
}

/// What is told of each run, with what it means.
const STEPS: [(&str, &str); 6] = [
    ("apply to Ready", "1 writer, 1 reader, without collections"),
    (
        "apply to pods created",
        "operator: Secret, bucket probe, objects; StatefulSet controller",
    ),
    (
        "pods created to containers started",
        "pod start: scheduler, kubelet",
    ),
    (
        "containers started to pods Ready",
        "brainyd; the probes look every 2 s",
    ),
    ("pods Ready to Ready", "operator"),
    ("apply to Ready beyond pod start", ""),
];

async fn one(world: &World, manifest: Manifest, name: &str) -> Result<Timeline, HarnessError> {
    let mut news = news(world, name);
    let applied = Instant::now();
    let cluster = world.deploy(manifest).await?;
    let mut pods: BTreeMap<String, PodTimes> = BTreeMap::new();
    let follow = async {
        while let Some(told) = news.next().await {
            let now = Instant::now();
            match told {
                News::Pod { name, ready } => {
                    let times = pods.entry(name).or_insert(PodTimes {
                        created: now,
                        ready: None,
                    });
                    times.ready = times.ready.or(ready.then_some(now));
                }
                News::Ready => return Some(now),
            }
        }
        None
    };
    let followed = tokio::time::timeout(SETTLED_WITHIN, follow).await;
    let ready = match followed {
        Ok(Some(ready)) => ready,
        _ => {
            return Err(HarnessError::Late {
                what: format!("{name} is Ready"),
                within: SETTLED_WITHIN,
                seen: world.logs().await,
            });
        }
    };
    let timeline = Timeline {
        applied,
        pods,
        ready,
    };
    cluster.delete().await?;
    cluster.wait_gone().await?;
    Ok(timeline)
}

enum News {
    Pod { name: String, ready: bool },
    Ready,
}

/// What the API server tells of a cluster and its pods.
fn news(world: &World, name: &str) -> impl Stream<Item = News> + Unpin {
    let clusters: Api<BrainyCluster> = Api::namespaced(world.client().clone(), world.namespace());
    let own = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let clusters = watcher::watcher(clusters, own)
        .default_backoff()
        .applied_objects()
        .filter_map(async |cluster| {
            let status = cluster.ok()?.status?;
            let ready = status.condition(ConditionType::Ready)?;
            (ready.status == "True").then_some(News::Ready)
        });
    let pods: Api<Pod> = Api::namespaced(world.client().clone(), world.namespace());
    let of_cluster = watcher::Config::default().labels(&format!("{CLUSTER_LABEL}={name}"));
    let pods = watcher::watcher(pods, of_cluster)
        .default_backoff()
        .applied_objects()
        .filter_map(async |pod| {
            let pod = pod.ok()?;
            let conditions = pod
                .status
                .as_ref()
                .and_then(|status| status.conditions.as_ref());
            let mut conditions = conditions.into_iter().flatten();
            Some(News::Pod {
                name: pod.name_any(),
                ready: conditions.any(|c| c.type_ == "Ready" && c.status == "True"),
            })
        });
    Box::pin(stream::select(pods, clusters))
}

/// The steps of one run, one after another; each ends with the last pod.
fn split(
    world: &World,
    timeline: &Timeline,
) -> Result<Vec<(&'static str, Duration)>, HarnessError> {
    let Timeline {
        applied,
        pods,
        ready,
    } = timeline;
    let mut started = *applied;
    for name in pods.keys() {
        let journal = world.kubelet()?.journal(world.namespace(), name);
        let first = journal
            .iter()
            .find(|e| matches!(e.what, Happening::Started { .. }));
        started = started.max(first.map_or(started, |entry| entry.at));
    }
    let created = pods
        .values()
        .map(|pod| pod.created)
        .max()
        .unwrap_or(*applied);
    let pods_ready = pods
        .values()
        .filter_map(|pod| pod.ready)
        .max()
        .unwrap_or(*ready);
    let total = *ready - *applied;
    let start = started.saturating_duration_since(created);
    let steps = [
        total,
        created - *applied,
        start,
        pods_ready.saturating_duration_since(started),
        ready.saturating_duration_since(pods_ready),
        total.saturating_sub(start),
    ];
    Ok(STEPS.iter().map(|(what, _)| *what).zip(steps).collect())
}
