//! What a change of membership costs: requests to the API server, time of a reconcile, time until all is settled.

use std::collections::BTreeMap;
use std::time::Instant;

use super::report::{Report, Row};
use crate::HarnessError;
use crate::kube::{ApiRequest, service_account_user};
use crate::kubernetes::{KubeCluster, Place, RELEASE, World};
use crate::manifest::Manifest;

const HISTOGRAM: &str = "brainy_operator_reconcile_duration_seconds";
const PARTITIONS: u32 = 12;

/// What one change cost.
#[derive(Debug, Default)]
struct Cost {
    seconds: f64,
    /// Number by verb and resource.
    requests: BTreeMap<String, usize>,
}

/// Adds a writer and removes it again, as often as asked for.
pub(super) async fn measure(report: &mut Report, runs: u16) -> Result<(), HarnessError> {
    super::say("a writer comes and goes");
    let world = World::here(Place::Own).await?;
    let mut cluster = world.deploy(Manifest::new(2, 1)).await?;
    cluster.wait_settled().await?;
    cluster
        .client()
        .create_collection("points", 4, Some(PARTITIONS))
        .await?;
    cluster.wait_settled().await?;
    let before = Histogram::read(&world.operator_metrics().await?);
    let (mut more, mut fewer) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        more.push(change(&world, &mut cluster, 3).await?);
        fewer.push(change(&world, &mut cluster, 2).await?);
    }
    let looks = Histogram::read(&world.operator_metrics().await?).since(&before);
    for (what, costs) in [("2 to 3 writers", &more), ("3 to 2 writers", &fewer)] {
        let total = |cost: &Cost| cost.requests.values().sum::<usize>() as f64;
        let requests: Vec<f64> = costs.iter().map(total).collect();
        let detail = listed(costs);
        report.add(
            Row::new("membership", format!("API requests, {what}"), "", &requests).detail(detail),
        );
        let seconds: Vec<f64> = costs.iter().map(|cost| cost.seconds).collect();
        let detail = format!(
            "{PARTITIONS} partitions, until all conditions say so and pods are as asked for"
        );
        report.add(Row::new("membership", format!("time, {what}"), "s", &seconds).detail(detail));
    }
    let looked = format!("{} looks", looks.count());
    for (part, what) in [
        (0.5, "reconcile, half are below"),
        (0.99, "reconcile, 99 of 100 are below"),
    ] {
        let bound = looks.bound(part) * 1000.0;
        report.add(Row::new("membership", what, "ms", &[bound]).detail(looked.clone()));
    }
    report.add(
        Row::new(
            "membership",
            "reconcile, mean",
            "ms",
            &[looks.mean() * 1000.0],
        )
        .detail(looked),
    );
    Ok(())
}

async fn change(
    world: &World,
    cluster: &mut KubeCluster,
    writers: u32,
) -> Result<Cost, HarnessError> {
    let plane = world.control_plane()?;
    let mark = plane.audit_mark();
    let since = Instant::now();
    cluster
        .edit(|manifest| {
            manifest.set("spec.writers.replicas", writers);
        })
        .await?;
    cluster.wait_settled().await?;
    let seconds = since.elapsed().as_secs_f64();
    let user = service_account_user(world.namespace(), RELEASE);
    let mut requests = BTreeMap::new();
    for request in plane.requests_by(&user, mark)?.iter().filter(|r| counts(r)) {
        let name = format!("{} {}", request.verb, request.resource);
        *requests.entry(name).or_default() += 1;
    }
    Ok(Cost { seconds, requests })
}

/// The lease of leader election and watches that time out go on without any change.
pub(super) fn counts(request: &ApiRequest) -> bool {
    request.resource != "leases" && request.verb != "watch"
}

/// Which requests there were, with the range of their number.
fn listed(costs: &[Cost]) -> String {
    let names: std::collections::BTreeSet<&String> =
        costs.iter().flat_map(|cost| cost.requests.keys()).collect();
    let shown = names.into_iter().map(|name| {
        let numbers = costs
            .iter()
            .map(|cost| cost.requests.get(name).copied().unwrap_or(0));
        let (min, max) = numbers.fold((usize::MAX, 0), |(min, max), n| (min.min(n), max.max(n)));
        if min == max {
            format!("{name} {max}")
        } else {
            format!("{name} {min} to {max}")
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// A histogram of Prometheus: upper bounds with how many are at or below.
#[derive(Debug, Default)]
struct Histogram {
    buckets: Vec<(f64, f64)>,
    sum: f64,
}

impl Histogram {
    fn read(metrics: &str) -> Self {
        let mut read = Self::default();
        for line in metrics.lines() {
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let value: f64 = value.parse().unwrap_or(0.0);
            if name == format!("{HISTOGRAM}_sum") {
                read.sum = value;
            } else if let Some(bound) = name.strip_prefix(&format!("{HISTOGRAM}_bucket{{le=\"")) {
                let bound = bound.trim_end_matches("\"}");
                read.buckets
                    .push((bound.parse().unwrap_or(f64::INFINITY), value));
            }
        }
        read
    }

    fn since(mut self, before: &Self) -> Self {
        self.sum -= before.sum;
        for (bucket, before) in self.buckets.iter_mut().zip(&before.buckets) {
            bucket.1 -= before.1;
        }
        self
    }

    fn count(&self) -> f64 {
        self.buckets.last().map_or(0.0, |(_, count)| *count)
    }

    fn mean(&self) -> f64 {
        self.sum / self.count().max(1.0)
    }

    /// The smallest bound that `part` of all values are at or below.
    fn bound(&self, part: f64) -> f64 {
        let enough = self.count() * part;
        let found = self.buckets.iter().find(|(_, count)| *count >= enough);
        found.map_or(0.0, |(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_later_is_told_from_what_was_there() {
        let text = |counts: [u32; 3], sum: f64| {
            let [a, b, all] = counts;
            format!(
                "{HISTOGRAM}_sum {sum}\n{HISTOGRAM}_count {all}\n{HISTOGRAM}_bucket{{le=\"0.001\"}} {a}\n\
                 {HISTOGRAM}_bucket{{le=\"0.01\"}} {b}\n{HISTOGRAM}_bucket{{le=\"+Inf\"}} {all}\n"
            )
        };
        let before = Histogram::read(&text([1, 2, 3], 10.0));
        let later = Histogram::read(&text([9, 12, 13], 10.5)).since(&before);
        assert_eq!(
            (later.count(), later.bound(0.5), later.bound(0.99)),
            (10.0, 0.001, 0.01)
        );
        assert!((later.mean() - 0.05).abs() < 1e-9);
    }
}
