//! Misfortune on demand: what a real bucket does rarely, a test asks for.
//!
//! Rules are looked at for each request in order; delays add up and the first other fault that fires is the one that
//! happens. Probabilities are drawn from a seed. Without rules, requests pass untouched.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 409 `ConditionalRequestConflict`, nothing changed. Only conditional PUTs meet it.
    Conflict,
    /// 503 `SlowDown`, nothing changed.
    SlowDown,
    /// 500 `InternalError`, nothing changed.
    InternalError,
    /// The request takes effect, then the connection is cut.
    LoseAnswer,
    /// The connection is cut before the request takes effect.
    Cut,
    /// The request waits.
    Delay(Duration),
}

/// When a rule fires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// For the next so many requests that it is for.
    Next(u32),
    /// With this probability for each.
    Probability(f64),
}

/// A fault for some requests.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What happens.
    pub fault: Fault,
    /// To requests of this method; `None`: all.
    pub method: Option<Method>,
    /// To keys in any bucket that begin so, percent-encoded as on the wire; the key of a listing is empty.
    pub key_prefix: String,
    /// How often.
    pub when: When,
}

impl Rule {
    /// `fault` for all requests.
    #[must_use]
    pub fn any(fault: Fault, when: When) -> Self {
        Self {
            fault,
            method: None,
            key_prefix: String::new(),
            when,
        }
    }

    /// `fault` for requests of `method`.
    #[must_use]
    pub fn on(method: Method, fault: Fault, when: When) -> Self {
        Self {
            method: Some(method),
            ..Self::any(fault, when)
        }
    }
}

/// Faults of a server, settable while it runs.
#[derive(Debug)]
pub struct Faults {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rules: Vec<Rule>,
    rng: ChaCha8Rng,
    injected: u64,
}

/// The fate of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) delay: Duration,
    pub(crate) fault: Option<Fault>,
}

impl Faults {
    /// No rules yet; probabilities follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                rules: Vec::new(),
                rng: ChaCha8Rng::seed_from_u64(seed),
                injected: 0,
            }),
        })
    }

    /// Replaces the rules.
    pub fn set(&self, rules: Vec<Rule>) {
        self.state.lock().rules = rules;
    }

    /// Adds a rule behind the others.
    pub fn add(&self, rule: Rule) {
        self.state.lock().rules.push(rule);
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.set(Vec::new());
    }

    /// Faults that have happened so far, delays included.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.state.lock().injected
    }

    pub(crate) fn decide(&self, method: &Method, path: &str, headers: &HeaderMap) -> Fate {
        // Path style: /bucket/key.
        let key = path.splitn(3, '/').nth(2).unwrap_or("");
        let conditional = *method == Method::PUT
            && (headers.contains_key(http::header::IF_MATCH)
                || headers.contains_key(http::header::IF_NONE_MATCH));
        let State {
            rules,
            rng,
            injected,
        } = &mut *self.state.lock();
        let mut fate = Fate::default();
        for rule in rules {
            let is_delay = matches!(rule.fault, Fault::Delay(_));
            if rule.method.as_ref().is_some_and(|m| m != method)
                || !key.starts_with(&rule.key_prefix)
                || (rule.fault == Fault::Conflict && !conditional)
                || (!is_delay && fate.fault.is_some())
            {
                continue;
            }
            let fires = match &mut rule.when {
                When::Next(0) => false,
                When::Next(left) => {
                    *left -= 1;
                    true
                }
                When::Probability(p) => rng.random_bool(p.clamp(0.0, 1.0)),
            };
            if !fires {
                continue;
            }
            *injected += 1;
            match rule.fault {
                Fault::Delay(time) => fate.delay += time,
                fault => fate.fault = Some(fault),
            }
        }
        fate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(faults: &Faults, path: &str, conditional: bool) -> Fate {
        let mut headers = HeaderMap::new();
        if conditional {
            headers.insert(
                http::header::IF_NONE_MATCH,
                http::HeaderValue::from_static("*"),
            );
        }
        faults.decide(&Method::PUT, path, &headers)
    }

    #[test]
    fn rules_choose_by_method_key_and_condition_and_run_out() {
        let faults = Faults::new(1);
        assert_eq!(put(&faults, "/b/k", true), Fate::default());
        faults.add(Rule {
            key_prefix: "wal/".to_owned(),
            ..Rule::on(Method::PUT, Fault::Conflict, When::Next(1))
        });
        let delay = Duration::from_millis(5);
        faults.add(Rule::any(Fault::Delay(delay), When::Next(1)));
        assert_eq!(put(&faults, "/b/other", true).fault, None, "another key");
        assert_eq!(put(&faults, "/b/wal/1", false).fault, None, "no condition");
        assert_eq!(put(&faults, "/b/wal/1", true).fault, Some(Fault::Conflict));
        assert_eq!(put(&faults, "/b/wal/1", true).fault, None, "used up");
        assert_eq!(faults.injected(), 2);
    }

    #[test]
    fn the_same_seed_brings_the_same_faults() {
        let run = |seed| {
            let faults = Faults::new(seed);
            faults.add(Rule::any(Fault::Cut, When::Probability(0.5)));
            let fates = (0..64).map(|_| put(&faults, "/b/k", true));
            fates.collect::<Vec<_>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }
}
