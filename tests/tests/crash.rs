//! Processes are killed; nothing acknowledged is lost.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use brainy_coordination::assignment::MemberState;
use brainy_tests::cluster::{LocalCluster, SETTLED_WITHIN, Setup};
use brainy_tests::history::History;
use brainy_tests::load::{Load, Shape, random_rows, write_all};
use brainy_tests::manifest::Manifest;
use brainy_tests::process::{program, wait_silent};
use brainy_tests::wait::{holds, until};

async fn writes_go_on(history: &History, more: u64) {
    let from = history.writes().await;
    until("writes go on", SETTLED_WITHIN, async || {
        let now = history.writes().await;
        holds(now >= from + more, || format!("{} since then", now - from))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_instances_come_back_and_nothing_is_lost() {
    let mut cluster = LocalCluster::start(Manifest::new(2, 2)).await.unwrap();
    let (client, history) = (cluster.client(), History::default());
    client
        .create_collection("things", 8, Some(6))
        .await
        .unwrap();
    let rows = random_rows(0, 600, 8, 3);
    let clients = [client.clone()];
    let load = Load::start(&clients, "things", &history, &rows, 1, &Shape::default());
    writes_go_on(&history, 300).await;
    let victims: [&[&str]; 3] = [
        &["writer-0"],
        &["reader-1"],
        &["writer-0", "writer-1", "reader-0"],
    ];
    for together in victims {
        let mut killed = Vec::new();
        for instance in together {
            killed.push((*instance, cluster.kill(instance).unwrap()));
        }
        for (instance, pid) in killed {
            cluster.wait_recovered(instance, pid).await.unwrap();
        }
        writes_go_on(&history, 200).await;
    }
    let observed = load.stop().await;
    assert_eq!(
        (observed.stale, observed.failed),
        (vec![], vec![]),
        "{}",
        cluster.logs()
    );
    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}\n{}", cluster.logs());
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_end_with_their_operator_and_the_next_start_recovers_everything() {
    let mut cluster = LocalCluster::start(Manifest::new(2, 1)).await.unwrap();
    let (client, history) = (cluster.client(), History::default());
    client
        .create_collection("things", 8, Some(4))
        .await
        .unwrap();
    let rows = random_rows(0, 400, 8, 4);
    write_all(&client, "things", &history, &rows, 1)
        .await
        .unwrap();
    let members = client.assignments().await.unwrap().table.members;

    cluster.kill_operator().await.unwrap();
    for member in members.values() {
        wait_silent(&member.address, Duration::from_secs(60))
            .await
            .unwrap();
    }

    cluster.start_again().await.unwrap();
    let client = cluster.client();
    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}\n{}", cluster.logs());
    write_all(&client, "things", &history, &rows, 2)
        .await
        .unwrap();
    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_stays_away_loses_its_partitions_and_gets_a_share_when_it_is_back() {
    // A data plane that does not start as writer-1 while a file is there.
    let dir = tempfile::tempdir().unwrap();
    let (away, script) = (dir.path().join("away"), dir.path().join("brainyd"));
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in *' --instance writer-1 '*) if [ -e '{}' ]; then exit 75; fi;; esac\nexec '{}' \"$@\"\n",
        away.display(),
        program("brainyd").unwrap().display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let manifest = Manifest::new(2, 1).with("spec.rebalance.unreadyGracePeriod", "2s");
    let mut cluster = Setup::new(manifest)
        .with_brainyd(script)
        .start()
        .await
        .unwrap();
    let (client, history) = (cluster.client(), History::default());
    client
        .create_collection("things", 8, Some(6))
        .await
        .unwrap();
    let rows = random_rows(0, 300, 8, 5);
    write_all(&client, "things", &history, &rows, 1)
        .await
        .unwrap();

    std::fs::write(&away, "").unwrap();
    cluster.kill("writer-1").unwrap();
    until("writer-0 owns everything", SETTLED_WITHIN, async || {
        let table = client.assignments().await.map_err(|e| e.to_string())?.table;
        let gone = table
            .members
            .iter()
            .any(|(id, m)| id.as_str() == "writer-1" && m.state == MemberState::Gone);
        let taken = table.partitions.values().all(|p| {
            p.handoff.is_none() && p.owner.as_ref().is_some_and(|o| o.as_str() == "writer-0")
        });
        holds(gone && taken, || format!("{table:?}"))
    })
    .await
    .unwrap();
    write_all(&client, "things", &history, &rows, 2)
        .await
        .unwrap();

    std::fs::remove_file(&away).unwrap();
    let table = cluster.wait_settled().await.unwrap().table;
    let back = table
        .partitions
        .values()
        .filter(|p| p.owner.as_ref().is_some_and(|o| o.as_str() == "writer-1"));
    assert_eq!(back.count(), 3);
    write_all(&client, "things", &history, &rows, 3)
        .await
        .unwrap();
    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    cluster.stop().await.unwrap();
}
