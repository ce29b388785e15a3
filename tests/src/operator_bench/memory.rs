//! Resident memory of the operator without a cluster, with one, and with many.
//!
//! The clusters are complete but for their processes: one writer and one reader each, their StatefulSets, Services and
//! other objects made by the operator, their pods by Kubernetes and "run" by a [hollow](super::hollow) node, and in the
//! bucket a prefix each with a collection of twelve partitions, assigned by the operator.

use std::ops::Range;
use std::time::{Duration, Instant};

use brainy_coordination::store::s3::Connector;
use brainy_crds::{BrainyCluster, ConditionType};
use futures::{StreamExt, TryStreamExt, stream};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::hollow::{self, HollowNode};
use super::membership::counts;
use super::nodes;
use super::report::{Report, Row};
use super::usage::Usage;
use crate::HarnessError;
use crate::kube::service_account_user;
use crate::kubernetes::{ACCESS_KEY, BUCKET, Place, RELEASE, SECRET_KEY, World, apply};
use crate::wait::{holds, until};

const SECRET: &str = "bench-bucket-keys";
const IMAGE: (&str, &str) = ("brainy.test/brainyd", "test");
/// All clusters are settled within this time.
const SETTLED_WITHIN: Duration = Duration::from_secs(1800);
/// Clusters that are made at the same time.
const WAVE: usize = 25;
/// Requests that this program has under way at once.
const AT_ONCE: usize = 16;
/// An operator that has asked the API server for nothing for so long is at rest.
const QUIET: Duration = Duration::from_secs(10);
/// Looks at the operator at rest, a second apart.
const LOOKS: usize = 30;
/// Between two looks at all clusters.
const LOOK: Duration = Duration::from_secs(2);
/// MiB that the operator should stay below with one cluster.
const AIM_ONE: f64 = 30.0;
/// And with many.
const AIM_MANY: f64 = 100.0;

/// Measures with none, one and `many` clusters.
///
/// # Errors
/// Something cannot be started, or the operator ends.
pub(super) async fn measure(report: &mut Report, many: usize) -> Result<(), HarnessError> {
    let world = World::here(Place::Own).await?;
    let _node = HollowNode::start(world.client().clone()).await?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET},
        "stringData": {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY},
    });
    apply(world.client(), world.namespace(), secret).await?;
    alive(&world, at_rest(report, &world, "no cluster", None)).await?;
    let connector = Connector::new();
    let mut there = 0;
    for (clusters, aim) in [(1, AIM_ONE), (many, AIM_MANY)] {
        let what = match clusters {
            1 => "1 cluster".to_owned(),
            n => format!("{n} clusters"),
        };
        super::say(&format!("memory: {what}"));
        let since = Instant::now();
        while there < clusters {
            let next = (there + WAVE).min(clusters);
            alive(&world, wave(&world, there..next, &connector)).await?;
            there = next;
            super::say(&format!("  {there} of {clusters} are settled"));
        }
        let took = since.elapsed().as_secs_f64();
        let detail = format!("made {WAVE} at a time");
        report.add(
            Row::new("many", format!("until {what} are settled"), "s", &[took]).detail(detail),
        );
        alive(&world, at_rest(report, &world, &what, Some(aim))).await?;
    }
    super::say("memory: another operator takes over");
    let mark = world.control_plane()?.audit_mark();
    let since = Instant::now();
    world.kill_operator().await?;
    alive(&world, quiet(&world)).await?;
    let took = since.elapsed().saturating_sub(QUIET).as_secs_f64();
    let what = format!("another operator takes over {many} clusters");
    report.add(Row::new(
        "many",
        format!("{what}, until it rests"),
        "s",
        &[took],
    ));
    let user = service_account_user(world.namespace(), RELEASE);
    let requests = world.control_plane()?.requests_by(&user, mark)?;
    let requests = requests.iter().filter(|r| counts(r)).count() as f64;
    report.add(Row::new(
        "many",
        format!("{what}, API requests"),
        "",
        &[requests],
    ));
    let what = format!("{many} clusters, after that");
    alive(&world, at_rest(report, &world, &what, Some(AIM_MANY))).await
}

/// Makes some clusters and waits until they are settled.
async fn wave(
    world: &World,
    which: Range<usize>,
    connector: &Connector,
) -> Result<(), HarnessError> {
    let until = which.end;
    stream::iter(which.clone())
        .map(|n| deploy(world, n, connector))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    stream::iter(which)
        .map(|n| serve(world, n, connector))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    settled(world, until).await
}

/// Does `work`, or says at once that the operator has ended.
async fn alive<T>(
    world: &World,
    work: impl Future<Output = Result<T, HarnessError>>,
) -> Result<T, HarnessError> {
    let pid = world.operator_pid().await?;
    let ended = async {
        // A process that was not waited for has a number still, but no memory.
        while Usage::of(pid).is_ok_and(|usage| usage.resident > 0.0) {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        done = work => done,
        () = ended => Err(HarnessError::Ended {
            what: "the operator".to_owned(),
            status: "an error".to_owned(),
            log: world.logs().await,
        }),
    }
}

fn name(n: usize) -> String {
    format!("bench-{n:04}")
}

fn prefix(world: &World, n: usize) -> String {
    format!("{}/{}", world.namespace(), name(n))
}

async fn deploy(world: &World, n: usize, connector: &Connector) -> Result<(), HarnessError> {
    let endpoint = world.bucket()?.endpoint();
    nodes::create(&endpoint, &prefix(world, n), connector).await?;
    apply(world.client(), world.namespace(), manifest(n, &endpoint)).await
}

async fn serve(world: &World, n: usize, connector: &Connector) -> Result<(), HarnessError> {
    nodes::serve(&world.bucket()?.endpoint(), &prefix(world, n), connector).await
}

fn manifest(n: usize, endpoint: &str) -> Value {
    let role = json!({"replicas": 1, "scheduling": {"nodeSelector": {hollow::LABEL: "true"}}});
    json!({
        "apiVersion": "brainy.io/v1alpha1", "kind": "BrainyCluster", "metadata": {"name": name(n)},
        "spec": {
            "image": {"repository": IMAGE.0, "tag": IMAGE.1},
            "storage": {
                "bucket": BUCKET, "endpoint": endpoint, "region": "us-east-1", "pathStyle": true,
                "credentials": {"secretRef": {"name": SECRET}},
            },
            "writers": role,
            "readers": role,
        },
    })
}

/// Waits until all clusters say that they are ready and balanced, and that nothing is under way.
async fn settled(world: &World, clusters: usize) -> Result<(), HarnessError> {
    let api: Api<BrainyCluster> = Api::namespaced(world.client().clone(), world.namespace());
    let deadline = Instant::now() + SETTLED_WITHIN;
    loop {
        let listed = api.list(&ListParams::default()).await;
        let listed = listed.map_err(HarnessError::kube("list BrainyClusters"))?;
        let is = |cluster: &BrainyCluster, type_, wanted: &str| {
            let status = cluster.status.as_ref();
            status
                .and_then(|s| s.condition(type_))
                .is_some_and(|c| c.status == wanted)
        };
        let done = listed.iter().filter(|cluster| {
            is(cluster, ConditionType::Ready, "True")
                && is(cluster, ConditionType::RingBalanced, "True")
                && is(cluster, ConditionType::Progressing, "False")
        });
        let done = done.count();
        if done >= clusters {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(HarnessError::Late {
                what: format!("{clusters} clusters are settled"),
                within: SETTLED_WITHIN,
                seen: format!("{done}\n{}", world.logs().await),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Looks at the operator while nothing happens.
async fn at_rest(
    report: &mut Report,
    world: &World,
    what: &str,
    aim: Option<f64>,
) -> Result<(), HarnessError> {
    let pid = world.operator_pid().await?;
    quiet(world).await?;
    let mark = world.control_plane()?.audit_mark();
    let (since, first) = (Instant::now(), Usage::of(pid)?);
    let mut looks = vec![first];
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while looks.len() < LOOKS {
        ticks.tick().await;
        looks.push(Usage::of(pid)?);
    }
    let last = looks.last().copied().unwrap_or(first);
    let column = |value: fn(&Usage) -> f64| looks.iter().map(value).collect::<Vec<f64>>();
    let anonymous = Row::new(
        "memory",
        format!("heap and stacks, {what}"),
        "MiB",
        &column(|u| u.anonymous),
    );
    let detail = format!("{:.1} MiB at most before that", last.peak);
    let resident = Row::new(
        "memory",
        format!("resident, {what}"),
        "MiB",
        &column(|u| u.resident),
    )
    .detail(detail);
    report.add(match aim {
        Some(aim) => resident.aim(aim),
        None => resident,
    });
    report.add(anonymous);
    let elapsed = since.elapsed().as_secs_f64();
    let busy = (last.processor.saturating_sub(first.processor)).as_secs_f64() / elapsed * 100.0;
    report.add(Row::new(
        "rest",
        format!("processor, {what}"),
        "% of one",
        &[busy],
    ));
    let user = service_account_user(world.namespace(), RELEASE);
    let requests = world.control_plane()?.requests_by(&user, mark)?;
    let counted = requests.iter().filter(|r| counts(r)).count() as f64;
    let row = Row::new(
        "rest",
        format!("API requests in a minute, {what}"),
        "",
        &[counted / elapsed * 60.0],
    );
    report.add(row.detail("without watches and the leader's lease"));
    Ok(())
}

/// Waits until the operator has asked the API server for nothing for a while: what follows from settling has arrived.
async fn quiet(world: &World) -> Result<(), HarnessError> {
    let user = service_account_user(world.namespace(), RELEASE);
    let plane = world.control_plane()?;
    let mut since = (Instant::now(), plane.audit_mark());
    until("the operator rests", SETTLED_WITHIN, async || {
        let requests = plane
            .requests_by(&user, since.1)
            .map_err(|e| e.to_string())?;
        let asked = requests.iter().filter(|r| counts(r)).count();
        if asked > 0 {
            since = (Instant::now(), plane.audit_mark());
        }
        holds(asked == 0 && since.0.elapsed() >= QUIET, || {
            format!("{asked} requests")
        })
    })
    .await
}
