//! The lease: lost answers, and leases in the name of a run that is no more.

use brainy_coordination::lease::{self, LeaseState, OwnerEvidence, TakeReason, Verdict};

use super::{Bench, Step, contents, who};

#[tokio::test(start_paused = true)]
async fn a_takeover_whose_answers_are_all_lost_recognises_its_own_success() {
    let bench = Bench::new();
    let mut lost = Vec::new();
    let store = bench.scripted("a", move |what, key| {
        if what == "put" && !lost.contains(&key.to_owned()) {
            lost.push(key.to_owned());
            return Step::LoseAnswer;
        }
        Step::Go
    });
    let first = bench.own("old").await;
    first.write(1).await;
    let a = bench.own_over("a", store).await;
    assert_eq!(a.owner.epoch(), 2, "one takeover, one epoch");
    a.write(2).await;
    assert_eq!(contents(&a.machine), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_in_the_name_of_a_crashed_run_is_given_up_when_asked_for() {
    let bench = Bench::new();
    let (a, b) = (who("a"), who("b"));
    let running = bench.own("a").await;
    running.write(1).await;
    running.task.abort();

    // Another run of `a` is asked; nobody has called it gone.
    let store = bench.store("a2");
    let held = lease::load(&store, &bench.partition).await.unwrap();
    let verdict = lease::decide(held.as_deref(), &b, OwnerEvidence::Presumed);
    assert_eq!(verdict, Verdict::AskRelease(a.instance.clone()));
    let to = Some(b.instance.clone());
    assert!(
        lease::give_up(&store, &bench.partition, &a.instance, to.clone())
            .await
            .unwrap()
    );

    let released = lease::load(&store, &bench.partition)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(&released.state, LeaseState::Released { to: t, .. } if *t == to));
    let verdict = lease::decide(Some(&released), &b, OwnerEvidence::Presumed);
    assert_eq!(verdict, Verdict::Take(TakeReason::Released));
    let b = bench.own("b").await;
    assert_eq!(contents(&b.machine), [1]);
    // Asked once more, the former holder has nothing to give.
    assert!(
        !lease::give_up(&store, &bench.partition, &a.instance, None)
            .await
            .unwrap()
    );
}
