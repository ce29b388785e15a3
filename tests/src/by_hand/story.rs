//! What happens to the nodes, under load from the first collection on.

use std::fmt;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use super::{ByHand, SETTLED_WITHIN, STOPPED_WITHIN, planner_of};
use crate::HarnessError;
use crate::client::{Client, Read};
use crate::history::History;
use crate::load::{Load, Shape, random_rows};
use crate::wait::{holds, until};

const COLLECTION: &str = "things";
const DIMENSIONS: usize = 8;
/// Rows that are written again and again.
const ROWS: usize = 400;
/// Writes that are to be acknowledged before the next step.
const GOES_ON: u64 = 200;
/// Exit code of a process whose name another took.
const SUPERSEDED: i32 = 76;

/// How it went. There is none if anything was lost.
#[derive(Clone, Debug)]
pub struct Story {
    /// Writes of points that were acknowledged, and found.
    pub acknowledged: u64,
    /// From three kills to balance among those left.
    pub takeover: Duration,
    /// From three starts to balance among all.
    pub comeback: Duration,
    /// From SIGTERM to the end of the process.
    pub departure: Duration,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} acknowledged writes were found, none lost, doubled or stale; balanced {:.1} s after three kills, {:.1} s after three starts; a node left in {:.1} s",
            self.acknowledged,
            self.takeover.as_secs_f64(),
            self.comeback.as_secs_f64(),
            self.departure.as_secs_f64()
        )
    }
}

/// Tells the story with so many nodes.
///
/// # Errors
/// The first thing that is not as it should be.
pub async fn tell(
    cluster: &mut ByHand,
    nodes: usize,
    say: &impl Fn(&str),
) -> Result<Story, HarnessError> {
    let names: Vec<String> = (0..nodes).map(|n| format!("node-{n}")).collect();
    say(&format!(
        "starting {nodes} nodes on an empty bucket, all at once"
    ));
    cluster.start(&names).await?;
    let before = cluster.settled(&names, 0).await?;
    let planner = planner_of(&before).unwrap_or_default();
    say(&format!("{planner} was elected to plan"));

    let others: Vec<&String> = names.iter().filter(|name| **name != planner).collect();
    let (victims, stay): (Vec<String>, Vec<String>) = {
        let mut victims = vec![planner.clone()];
        victims.extend(others[..2].iter().map(|name| (*name).clone()));
        (
            victims,
            others[2..].iter().map(|name| (*name).clone()).collect(),
        )
    };
    let partitions = nodes * 2;
    let clients: Result<Vec<Client>, HarnessError> =
        stay[1..].iter().map(|name| cluster.client(name)).collect();
    let clients = clients?;
    let any = clients[0].clone();
    any.create_collection(COLLECTION, DIMENSIONS, u32::try_from(partitions).ok())
        .await?;
    cluster.settled(&names, partitions).await?;
    let history = History::default();
    let rows = random_rows(0, ROWS, DIMENSIONS, 6);
    let shape = Shape {
        writers: 3,
        ..Shape::default()
    };
    let load = Load::start(&clients, COLLECTION, &history, &rows, 1, &shape);
    writes_go_on(&history).await?;
    for name in &names {
        cluster
            .client(name)?
            .count(COLLECTION, &Read::Strong)
            .await?;
    }
    say(&format!(
        "{partitions} partitions are shared evenly, every node answers, writes go on"
    ));

    let asked = rebalance(&any).await?;
    if asked["planner"].as_str() != Some(planner.as_str()) || !asked["moves"].is_array() {
        return Err(wrong("POST /coordinate/rebalance", &asked.to_string()));
    }
    say(&format!(
        "asked another node to rebalance: {planner} planned and answered"
    ));

    let began = Instant::now();
    for name in &victims {
        cluster.kill(name).await?;
    }
    say(&format!(
        "killed {} with SIGKILL, the planner among them",
        victims.join(", ")
    ));
    let after = cluster.settled(&stay, partitions).await?;
    let takeover = began.elapsed();
    let next = planner_of(&after).unwrap_or_default();
    writes_go_on(&history).await?;
    say(&format!(
        "{next} plans now; {} nodes share the partitions {:.1} s after the kills",
        stay.len(),
        takeover.as_secs_f64()
    ));

    let began = Instant::now();
    cluster.start(&victims).await?;
    cluster.settled(&names, partitions).await?;
    let comeback = began.elapsed();
    writes_go_on(&history).await?;
    say(&format!(
        "they are back, and have their share {:.1} s after their start",
        comeback.as_secs_f64()
    ));

    let leaver = &stay[0];
    let began = Instant::now();
    let said = cluster.stop(leaver).await?;
    let departure = began.elapsed();
    if !said.contains("nothing is left to hand over") {
        return Err(wrong(&format!("SIGTERM to {leaver}"), &said));
    }
    let rest: Vec<String> = names
        .iter()
        .filter(|name| *name != leaver)
        .cloned()
        .collect();
    cluster.settled(&rest, partitions).await?;
    writes_go_on(&history).await?;
    say(&format!(
        "{leaver} was told to stop: it handed everything over and ended after {:.1} s",
        departure.as_secs_f64()
    ));

    let namesake = &victims[1];
    for mut older in cluster.start(std::slice::from_ref(namesake)).await? {
        let status = older.process.exit(STOPPED_WITHIN).await?;
        if status.code() != Some(SUPERSEDED) {
            return Err(wrong(
                "the older of two processes of one name",
                &status.to_string(),
            ));
        }
    }
    cluster.settled(&rest, partitions).await?;
    writes_go_on(&history).await?;
    say(&format!(
        "a second {namesake} was started: the first one ended by itself"
    ));

    let observed = load.stop().await;
    if !observed.stale.is_empty() || !observed.failed.is_empty() {
        let text = format!("stale {:?}, failed {:?}", observed.stale, observed.failed);
        return Err(wrong("the load", &text));
    }
    let verdict = history.verify(&any, COLLECTION).await?;
    if !verdict.is_clean() {
        return Err(wrong(
            "the check of all acknowledged writes",
            &format!("{verdict:?}"),
        ));
    }
    Ok(Story {
        acknowledged: verdict.acknowledged,
        takeover,
        comeback,
        departure,
    })
}

async fn rebalance(client: &Client) -> Result<Value, HarnessError> {
    let path = "/coordinate/rebalance";
    let answer = client.send(Method::POST, path, &[], None).await?;
    if answer.status != 200 {
        return Err(HarnessError::Refused {
            request: format!("POST {path}"),
            status: answer.status,
            message: answer.message(),
        });
    }
    serde_json::from_str(&answer.body).map_err(|e| wrong(path, &e.to_string()))
}

async fn writes_go_on(history: &History) -> Result<(), HarnessError> {
    let from = history.writes().await;
    until("writes go on", SETTLED_WITHIN, async || {
        let now = history.writes().await;
        holds(now >= from + GOES_ON, || {
            format!("{} since then", now - from)
        })
    })
    .await
}

fn wrong(what: &str, message: &str) -> HarnessError {
    HarnessError::Unexpected {
        request: what.to_owned(),
        message: message.to_owned(),
    }
}
