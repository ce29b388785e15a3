//! Protocol simulation: the real lease, log, takeover, handoff, publication, garbage collection and rebalancing code in
//! several simulated processes over a simulated bucket, one seed a schedule of faults, pauses, crashes and moves.
//!
//! Clients read at every level of consistency; what they saw is judged by the checker of histories (`brainy-checker`).
//!
//! - `BRAINY_SIM_SEEDS=n` tries seeds 0 to n-1 (default 1000).
//! - `BRAINY_SIM_SEED=n` runs exactly one and prints what happens.
//!
//! Everything random follows from the seed and time is virtual, so a seed that fails fails again. `verdict` and `audit`
//! say what is checked; `sabotage` shows that the checks can fail; `cases` are single failures, told step by step.

// Clippy knows only functions marked `#[test]` as tests; everything here is one.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod audit;
mod cases;

mod chaos;
mod clients;
mod coordinators;
mod machine;
mod maintenance;
mod node;
mod run;
mod sabotage;
mod verdict;
mod world;

use crate::run::{run, run_all};
use crate::sabotage::Sabotage;
use crate::verdict::HISTORY;
use crate::world::Options;

/// Seeds in which every sabotage has to be noticed.
const ENOUGH: u64 = 200;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={value} is not a number")),
    )
}

fn replay(seed: u64) -> String {
    format!(
        "BRAINY_SIM_SEED={seed} cargo test -p brainy-coordination --test simulation no_schedule -- --nocapture"
    )
}

#[test]
fn no_schedule_loses_reorders_or_invents_a_write() {
    if let Some(seed) = number("BRAINY_SIM_SEED") {
        let report = run(Options {
            seed,
            verbose: true,
            sabotage: None,
        });
        println!("{:#?}", report.counts);
        assert!(
            report.violations.is_empty(),
            "seed {seed}: {:#?}",
            report.violations
        );
        return;
    }
    let seeds = number("BRAINY_SIM_SEEDS").unwrap_or(1000);
    match run_all(0..seeds, Options::default()) {
        Ok(counts) => {
            println!("{seeds} schedules:");
            for (what, count) in counts.rows() {
                println!("{count:>10} {what}");
                // A few seeds need not contain everything.
                assert!(count > 0 || seeds < 100, "the schedules contain no {what}");
            }
        }
        Err((seed, violations)) => {
            panic!("seed {seed}: {violations:#?}\nreplay: {}", replay(seed));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [3, 8, 42] {
        let options = Options {
            seed,
            ..Options::default()
        };
        let (first, second) = (run(options), run(options));
        assert!(!first.history.is_empty());
        let differs = first
            .history
            .iter()
            .zip(&second.history)
            .find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn reads_that_break_their_promise_are_noticed_by_the_checker_of_histories() {
    for sabotage in Sabotage::READS {
        let options = |seed| Options {
            seed,
            sabotage: Some(sabotage),
            ..Options::default()
        };
        let noticed = (0..ENOUGH).find_map(|seed| {
            let violations = run(options(seed)).violations;
            let found = violations.into_iter().find(|v| v.contains(HISTORY))?;
            Some((seed, found))
        });
        let (seed, found) =
            noticed.unwrap_or_else(|| panic!("{sabotage:?} passes {ENOUGH} seeds unnoticed"));
        println!("{sabotage:?}: seed {seed}: {found}");
    }
}

#[test]
fn every_sabotage_is_noticed() {
    for sabotage in Sabotage::ALL {
        let options = Options {
            sabotage: Some(sabotage),
            ..Options::default()
        };
        let outcome = run_all(0..ENOUGH, options);
        let (seed, violations) = outcome
            .err()
            .unwrap_or_else(|| panic!("{sabotage:?} passes {ENOUGH} seeds unnoticed"));
        println!("{sabotage:?}: seed {seed}: {}", violations[0]);
    }
}
