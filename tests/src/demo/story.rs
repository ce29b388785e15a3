//! What happens in the demo, in order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use brainy_coordination::planner::minimal_moves;
use futures::future::try_join_all;

use super::progress::Progress;
use super::report::{Latency, PhaseFigures, Recalls, Report};
use crate::HarnessError;
use crate::client::{Client, Read};
use crate::cluster::{LocalCluster, SETTLED_WITHIN, moves};
use crate::dataset::Dataset;
use crate::history::{History, Row};
use crate::load::{Load, Observed, Shape, write_all};
use crate::probe::{Probed, Probes, one_per_partition, percentile};
use crate::wait::{holds, until};

/// The collection that everything is shown on.
const COLLECTION: &str = "wordnet";
/// A second one with partitions large enough for a graph.
const WITH_GRAPH: &str = "wordnet-graph";
/// Its partitions: with twelve, each would hold so few rows that scanning them is faster than a graph.
const GRAPH_PARTITIONS: u32 = 2;
/// Answers to each question.
const ANSWERS: usize = 3;
/// How many neighbours recall looks at.
const NEIGHBORS: usize = 10;
/// Searches under way at once while recall is measured.
const SEARCHES: usize = 4;
/// Segments are made this often while the demo waits for them, and this often under load; milliseconds.
const FLUSH_SOON_MS: u64 = 1_000;
const FLUSH_LATER_MS: u64 = 15_000;

/// A phase under load.
struct Phase {
    name: &'static str,
    from: Instant,
    to: Instant,
    /// What changes of hands in it are.
    hands: Hands,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hands {
    None,
    Planned,
    Crash,
}

/// Tells the story on `cluster`, which was just launched.
pub(super) async fn tell(
    cluster: &mut LocalCluster,
    at_least: Duration,
    progress: &Progress,
) -> Result<Report, HarnessError> {
    let mut report = Report::default();
    progress.live("starting an S3 server, 3 writers and 2 readers");
    cluster.wait_ready().await?;
    report.steps.insert("start", progress.seconds());
    progress.say(&format!(
        "3 writers and 2 readers serve at {}",
        cluster.url()
    ));

    let data = Dataset::wordnet()?;
    let client = cluster.client();
    let history = History::default();
    let rows = rows(&data);
    let began = Instant::now();
    client
        .create_collection(COLLECTION, data.dimensions, None)
        .await?;
    write_all(&client, COLLECTION, &history, &rows, 1).await?;
    let took = began.elapsed().as_secs_f64();
    report.steps.insert("load", took);
    progress.say(&format!(
        "{} texts with their vectors written in {took:.1} s: durable in S3",
        rows.len()
    ));
    ask(&client, &data, progress).await?;
    report.recall = recalls(cluster, &client, &data, &rows, progress, &mut report.steps).await?;

    let (probed, observed, phases) =
        under_load(cluster, &history, rows, at_least, progress, &mut report).await?;

    let began = Instant::now();
    progress.live("looking up every acknowledged write");
    let verdict = history.verify(&client, COLLECTION).await?;
    report.steps.insert("verify", began.elapsed().as_secs_f64());
    progress.say(&format!(
        "looked up {} points after {} acknowledged writes: {} lost, {} duplicated",
        verdict.distinct, verdict.acknowledged, verdict.lost, verdict.duplicated
    ));
    report.recall.at_the_end = recall(&client, COLLECTION, &data).await?;
    let Recalls {
        buffers,
        segments,
        graph,
        at_the_end,
    } = report.recall;
    report.recall_at_10 = buffers.min(segments).min(graph).min(at_the_end);

    (report.acknowledged, report.lost) = (verdict.acknowledged, verdict.lost);
    (report.duplicated, report.unexpected) = (verdict.duplicated, verdict.unexpected);
    report.findings = verdict.findings;
    fill(&mut report, &probed, &observed, &phases);
    report.seconds = progress.seconds();
    Ok(report)
}

fn rows(data: &Dataset) -> Vec<Row> {
    let rows = data.vectors.iter().zip(&data.texts).zip(0..);
    rows.map(|((vector, text), id)| Row {
        id,
        vector: vector.clone(),
        text: text.clone(),
    })
    .collect()
}

/// Asks the questions that read well.
async fn ask(client: &Client, data: &Dataset, progress: &Progress) -> Result<(), HarnessError> {
    for &question in &data.showcase {
        let hits = client
            .search(COLLECTION, &data.queries[question], ANSWERS, &Read::Strong)
            .await?;
        let mut text = format!("\n  {}\n", data.query_texts[question]);
        for hit in hits {
            let answer = hit.payload["text"].as_str().unwrap_or_default().to_owned();
            text += &format!("    {:.3}  {answer}\n", hit.score);
        }
        progress.show(&text);
    }
    progress.show("\n");
    Ok(())
}

/// Recall while everything is in write buffers, and after segments were made of it.
async fn recalls(
    cluster: &mut LocalCluster,
    client: &Client,
    data: &Dataset,
    rows: &[Row],
    progress: &Progress,
    steps: &mut BTreeMap<&'static str, f64>,
) -> Result<Recalls, HarnessError> {
    let began = Instant::now();
    let buffers = recall(client, COLLECTION, data).await?;
    progress.say(&format!(
        "recall@10 {buffers:.3} on 100 queries, from write buffers"
    ));
    // Settings under sharedConfig reach running instances.
    cluster.edit(|m| {
        m.set("spec.sharedConfig.flushIntervalMs", FLUSH_SOON_MS);
    })?;
    client
        .create_collection(WITH_GRAPH, data.dimensions, Some(GRAPH_PARTITIONS))
        .await?;
    write_all(client, WITH_GRAPH, &History::default(), rows, 1).await?;
    progress.live("waiting for segments");
    let wanted = rows.len() as u64;
    until("segments hold everything", SETTLED_WITHIN, async || {
        let small = client
            .collection(COLLECTION)
            .await
            .map_err(|e| e.to_string())?;
        let large = client
            .collection(WITH_GRAPH)
            .await
            .map_err(|e| e.to_string())?;
        let done = small.segments > 0 && large.indexed >= wanted;
        holds(done, || format!("{small:?}, {large:?}"))
    })
    .await?;
    let segments = recall(client, COLLECTION, data).await?;
    let graph = recall(client, WITH_GRAPH, data).await?;
    progress.say(&format!(
        "recall@10 {segments:.3} from segments in S3, {graph:.3} through a graph"
    ));
    client.drop_collection(WITH_GRAPH).await?;
    cluster.edit(|m| {
        m.set("spec.sharedConfig.flushIntervalMs", FLUSH_LATER_MS);
    })?;
    steps.insert("recall", began.elapsed().as_secs_f64());
    Ok(Recalls {
        buffers,
        segments,
        graph,
        at_the_end: 0.0,
    })
}

/// The part of the true ten nearest that searches find.
async fn recall(client: &Client, collection: &str, data: &Dataset) -> Result<f64, HarnessError> {
    let all: Vec<_> = data.queries.iter().zip(&data.neighbors).collect();
    let mut found = 0;
    for group in all.chunks(SEARCHES) {
        let searches = group.iter().map(|(query, neighbors)| async move {
            let hits = client
                .search(collection, query, NEIGHBORS, &Read::Strong)
                .await?;
            let right = hits
                .iter()
                .filter(|h| neighbors.iter().any(|n| u64::from(*n) == h.id));
            Ok::<_, HarnessError>(right.count())
        });
        found += try_join_all(searches).await?.into_iter().sum::<usize>();
    }
    Ok(found as f64 / (all.len() * NEIGHBORS) as f64)
}

/// Scales and kills while tasks write, read and search.
async fn under_load(
    cluster: &mut LocalCluster,
    history: &History,
    rows: Vec<Row>,
    at_least: Duration,
    progress: &Progress,
    report: &mut Report,
) -> Result<(Probed, Observed, Vec<Phase>), HarnessError> {
    let client = cluster.client();
    cluster.wait_settled().await?;
    let partitions = cluster
        .manifest()
        .number("spec.partitioning.partitionsPerCollection");
    let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
    let (probe_rows, load_rows) = one_per_partition(rows, partitions)?;
    // Steady, and well below what two cores can do: a saturated machine would be measured instead of the protocol.
    let shape = Shape {
        writers: 3,
        searchers: 2,
        pause: Duration::from_millis(100),
        ..Shape::default()
    };
    // Values go on after those of the first load.
    let load = Load::start(
        std::slice::from_ref(&client),
        COLLECTION,
        history,
        &load_rows,
        2,
        &shape,
    );
    let probes = Probes::start(&client, COLLECTION, history, probe_rows, 2);
    progress.say("writes to every partition, strong reads of what was acknowledged, and searches go on from here");

    let mut phases = Vec::new();
    let told = tokio::select! {
        told = disturb(cluster, at_least, progress, report, &mut phases) => told,
        () = show_counts(history, progress) => Ok(()),
    };
    let (probed, observed) = (probes.stop().await, load.stop().await);
    told?;
    report.repeated_requests = client.repeated();
    Ok((probed, observed, phases))
}

async fn disturb(
    cluster: &mut LocalCluster,
    at_least: Duration,
    progress: &Progress,
    report: &mut Report,
    phases: &mut Vec<Phase>,
) -> Result<(), HarnessError> {
    let phase = Phase::begin("undisturbed", Hands::None);
    phase.end(at_least, phases).await;
    for (name, writers) in [("3 to 4 writers", 4), ("4 to 2 writers", 2)] {
        let phase = Phase::begin(name, Hands::Planned);
        let before = cluster.client().assignments().await?.table;
        cluster.edit(|m| {
            m.set("spec.writers.replicas", writers);
        })?;
        let after = cluster.wait_settled().await?.table;
        let (moved, minimum) = (
            moves(&before, &after),
            minimal_moves(&before.partitions, &after.members),
        );
        (report.moves, report.minimal_moves) =
            (report.moves + moved, report.minimal_moves + minimum);
        progress.say(&format!(
            "{name}: {moved} partitions moved (at least {minimum} must), settled after {:.1} s",
            phase.from.elapsed().as_secs_f64()
        ));
        phase.end(at_least, phases).await;
    }
    for (name, instance, hands) in [
        ("writer killed", "writer-0", Hands::Crash),
        ("reader killed", "reader-0", Hands::None),
    ] {
        let phase = Phase::begin(name, hands);
        let pid = cluster.kill(instance)?;
        cluster.wait_recovered(instance, pid).await?;
        progress.say(&format!(
            "{instance} killed (kill -9): started again and serving after {:.1} s",
            phase.from.elapsed().as_secs_f64()
        ));
        phase.end(at_least, phases).await;
    }
    Ok(())
}

impl Phase {
    fn begin(name: &'static str, hands: Hands) -> Self {
        let from = Instant::now();
        Self {
            name,
            from,
            to: from,
            hands,
        }
    }

    /// Lets the load go on until the phase has lasted `at_least`, and notes it.
    async fn end(mut self, at_least: Duration, phases: &mut Vec<Self>) {
        tokio::time::sleep_until((self.from + at_least).into()).await;
        self.to = Instant::now();
        phases.push(self);
    }

    fn contains(&self, at: Instant) -> bool {
        self.from <= at && at < self.to
    }
}

/// Shows how many writes were acknowledged; never returns.
async fn show_counts(history: &History, progress: &Progress) {
    if !progress.is_terminal() {
        return std::future::pending().await;
    }
    loop {
        progress.live(&format!("{} writes acknowledged", history.writes().await));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

/// Figures from what was seen during the phases.
fn fill(report: &mut Report, probed: &Probed, observed: &Observed, phases: &[Phase]) {
    let gaps = |hands: Hands| -> Vec<Duration> {
        let of_kind = |at| phases.iter().any(|p| p.hands == hands && p.contains(at));
        let takeovers = probed.takeovers.iter().filter(|t| of_kind(t.at));
        takeovers.map(|t| t.gap).collect()
    };
    let planned = gaps(Hands::Planned);
    report.planned_handoffs = planned.len();
    report.planned_pause_ms_p50 = ms(percentile(&planned, 50.0));
    report.planned_pause_ms_p99 = ms(percentile(&planned, 99.0));
    report.planned_pause_ms_max = ms(percentile(&planned, 100.0));
    let crash = gaps(Hands::Crash);
    report.crash_takeovers = crash.len();
    report.crash_pause_ms_max = ms(percentile(&crash, 100.0));
    let undisturbed: Vec<Duration> = probed
        .steady
        .iter()
        .filter(|(at, _)| phases.first().is_some_and(|p| p.contains(*at)))
        .map(|(_, gap)| *gap)
        .collect();
    report.undisturbed_gap_ms_p99 = ms(percentile(&undisturbed, 99.0));
    report.phases = phases
        .iter()
        .map(|phase| {
            let searches = observed.searches.iter().filter(|s| phase.contains(s.at));
            let times: Vec<Duration> = searches.map(|s| s.took).collect();
            PhaseFigures {
                name: phase.name,
                seconds: phase.to.duration_since(phase.from).as_secs_f64(),
                search: Latency {
                    count: times.len(),
                    p50_ms: ms(percentile(&times, 50.0)),
                    p99_ms: ms(percentile(&times, 99.0)),
                },
            }
        })
        .collect();
    report.strong_reads = observed.reads;
    report.stale_reads = observed.stale.len();
    report.failed_requests = observed.failed.len() + probed.failed.len();
    let wrong = observed
        .stale
        .iter()
        .chain(&observed.failed)
        .chain(&probed.failed);
    report.findings.extend(wrong.take(10).cloned());
}
