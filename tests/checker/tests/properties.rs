//! The checker against a register that is right, against one that is not, and against trying all orders.

use std::collections::BTreeMap;

use brainy_checker::{Action, Level, Nanos, Op, Value, check, linearize};
use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Whether some order of all of `ops` explains them; tries every one.
fn explained(ops: &[Op], left: &mut Vec<usize>, value: Value) -> bool {
    if left.iter().all(|i| ops[*i].end.is_none()) {
        return true;
    }
    for n in 0..left.len() {
        let next = ops[left[n]];
        let too_early = left
            .iter()
            .any(|i| ops[*i].end.is_some_and(|end| end < next.begin));
        let after = match next.action {
            Action::Write(written) => written,
            Action::Read(_, read) if read == value => value,
            Action::Read(..) => continue,
        };
        if too_early {
            continue;
        }
        let item = left.remove(n);
        let found = explained(ops, left, after);
        left.insert(n, item);
        if found {
            return true;
        }
    }
    false
}

fn any_history() -> impl Strategy<Value = Vec<Op>> {
    let one = (0..30_u64, 0..12_u64, 0..4_u64, prop::bool::ANY, 0..10_u8);
    prop::collection::vec(one, 1..8).prop_map(|raw| {
        let ops = raw.into_iter().zip(0..);
        ops.map(|((begin, length, value, reads, luck), client)| Op {
            client,
            begin,
            end: (reads || luck > 0).then_some(begin + length),
            action: match reads {
                true => Action::Read(Level::Strong, (value > 0).then_some(value)),
                false => Action::Write((value > 0).then_some(value)),
            },
        })
        .collect()
    })
}

/// What happened to a register that keeps every promise, with the position of each operation in the order in which they took
/// effect.
fn lawful(seed: u64) -> Vec<Op> {
    const CLIENTS: u32 = 5;
    const BOUND: Nanos = 40;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // (client, begin, when it takes effect, end, kind)
    let mut moments = Vec::new();
    for client in 0..CLIENTS {
        let mut now = rng.random_range(0..20_u64);
        for _ in 0..rng.random_range(1..25) {
            let begin = now;
            let effect = begin + rng.random_range(0..15);
            let end = effect + rng.random_range(0..15);
            let kind = rng.random_range(0..10_u8);
            // A write without an answer takes effect much later, or never.
            let (effect, end) = match kind {
                0 if rng.random_bool(0.5) => (begin + rng.random_range(0..200), None),
                0 => (Nanos::MAX, None),
                _ => (effect, Some(end)),
            };
            moments.push((effect, client, begin, end, kind));
            now = end.unwrap_or(begin + 10) + rng.random_range(1..10);
        }
    }
    moments.shuffle(&mut rng);
    moments.sort_by_key(|m| m.0);
    // Versions of the register: when each began, and its value.
    let mut versions: Vec<(Nanos, Value)> = vec![(0, None)];
    let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
    let mut ops = Vec::new();
    let mut next = 1;
    for (effect, client, begin, end, kind) in moments {
        let newest = versions.len() - 1;
        let own = seen.get(&client).copied().unwrap_or(0);
        let since = |moment: Nanos| versions.iter().rposition(|v| v.0 <= moment).unwrap_or(0);
        let action = match kind {
            0..4 => {
                let value = (kind > 1 || rng.random_bool(0.7)).then_some(next);
                next += 1;
                if effect < Nanos::MAX {
                    versions.push((effect, value));
                }
                if end.is_some() {
                    seen.insert(client, versions.len() - 1);
                }
                Action::Write(value)
            }
            _ => {
                let (level, oldest) = match kind {
                    4..7 => (Level::Strong, newest),
                    7 => (Level::Bounded(BOUND), since(begin.saturating_sub(BOUND))),
                    8 => (Level::Session, own),
                    _ => (Level::Eventual, 0),
                };
                let version = rng.random_range(oldest..=newest);
                // Every read of a client is of its session, whatever it was promised itself.
                seen.insert(client, own.max(version));
                Action::Read(level, versions[version].1)
            }
        };
        ops.push(Op {
            client,
            begin,
            end,
            action,
        });
    }
    ops
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_search_finds_an_order_exactly_where_there_is_one(ops in any_history()) {
        let mut all: Vec<usize> = (0..ops.len()).collect();
        prop_assert_eq!(linearize(&ops).is_ok(), explained(&ops, &mut all, None), "{:#?}", ops);
    }

    #[test]
    fn what_a_lawful_register_does_is_accepted(seed in any::<u64>()) {
        let ops = lawful(seed);
        if let Err(what) = check(&ops) {
            prop_assert!(false, "{what}\n{ops:#?}");
        }
    }

    #[test]
    fn a_read_of_what_was_long_overwritten_is_refused(seed in any::<u64>(), level in 0..3_u8) {
        let mut ops = lawful(seed);
        let over = ops.iter().filter_map(|op| op.end).max().unwrap_or(0) + 1000;
        let level = match level {
            0 => Level::Strong,
            1 => Level::Bounded(40),
            _ => Level::Session,
        };
        let write = |value, begin| Op {
            client: 7,
            begin,
            end: Some(begin + 5),
            action: Action::Write(Some(value)),
        };
        let read = |value, begin| Op {
            client: 7,
            begin,
            end: Some(begin + 5),
            action: Action::Read(level, Some(value)),
        };
        ops.extend([write(100_000, over), write(100_001, over + 10)]);
        let right = [&ops[..], &[read(100_001, over + 100)]].concat();
        prop_assert!(check(&right).is_ok());
        let stale = [&ops[..], &[read(100_000, over + 100)]].concat();
        prop_assert!(check(&stale).is_err(), "{level:?}");
        let invented = [&ops[..], &[read(100_002, over + 100)]].concat();
        prop_assert!(check(&invented).is_err());
        let early = [&ops[..], &[read(100_001, over - 100)]].concat();
        prop_assert!(check(&early).is_err());
    }

    #[test]
    fn a_session_that_goes_back_is_refused(seed in any::<u64>()) {
        let mut ops = lawful(seed);
        let over = ops.iter().filter_map(|op| op.end).max().unwrap_or(0) + 1000;
        let op = |client, begin, action| Op { client, begin, end: Some(begin + 5), action };
        ops.push(op(7, over, Action::Write(Some(100_000))));
        ops.push(op(7, over + 10, Action::Write(Some(100_001))));
        ops.push(op(8, over + 20, Action::Read(Level::Eventual, Some(100_001))));
        // Another session may still see the older one, this one may not.
        let back = |client| op(client, over + 30, Action::Read(Level::Session, Some(100_000)));
        let other = [&ops[..], &[back(9)]].concat();
        prop_assert!(check(&other).is_ok());
        let same = [&ops[..], &[back(8)]].concat();
        prop_assert!(check(&same).is_err());
    }
}

#[test]
fn a_write_without_an_answer_may_happen_late_or_never_but_not_twice() {
    let op = |client, begin, end, action| Op {
        client,
        begin,
        end,
        action,
    };
    let strong = |begin, value| {
        op(
            2,
            begin,
            Some(begin + 1),
            Action::Read(Level::Strong, value),
        )
    };
    let first = op(0, 0, Some(1), Action::Write(Some(1)));
    let lost = op(1, 2, None, Action::Write(Some(2)));
    for reads in [
        vec![strong(10, Some(1)), strong(20, Some(1))],
        vec![strong(10, Some(1)), strong(20, Some(2))],
        vec![strong(10, Some(2)), strong(20, Some(2))],
    ] {
        let ops = [&[first, lost][..], &reads].concat();
        check(&ops).unwrap();
    }
    let back = [first, lost, strong(10, Some(2)), strong(20, Some(1))];
    let error = check(&back).unwrap_err();
    assert!(
        error.contains("not linearizable") || error.contains("older"),
        "{error}"
    );
    // Two strong reads that only an order of all operations shows to contradict each other.
    let a = op(0, 0, Some(100), Action::Write(Some(1)));
    let b = op(1, 0, Some(100), Action::Write(Some(2)));
    let flip = [
        a,
        b,
        strong(10, Some(1)),
        strong(20, Some(2)),
        strong(30, Some(1)),
    ];
    let error = check(&flip).unwrap_err();
    assert!(error.contains("not linearizable"), "{error}");
}
