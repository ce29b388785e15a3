//! The life of one process: when it counts as up, when it may start again. Pure; the time is an argument.

use std::time::{Duration, Instant};

use crate::reconcile::plan::{Observation, Run};

/// Pause after the first failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between two starts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A process that ran this long has earned a short pause again.
const STEADY_AFTER: Duration = Duration::from_secs(60);

/// What a look at a process brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// It serves all that is assigned to it.
    Ready,
    /// It answers and lacks this.
    NotReady(String),
    /// It does not answer.
    Silent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Ended,
    Running { since: Instant },
    Stopping { since: Instant, killed: bool },
}

/// What is known of one instance's processes, of the present one and those before.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    state: State,
    probe: Probe,
    answered: bool,
    detail: String,
    /// Since when it has not answered.
    down_since: Option<Instant>,
    draining_since: Option<Instant>,
    retry_at: Option<Instant>,
    failures: u32,
    starts: u32,
}

impl Life {
    /// An instance without a process.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: State::Absent,
            probe: Probe::Silent,
            answered: false,
            detail: String::new(),
            down_since: Some(now),
            draining_since: None,
            retry_at: None,
            failures: 0,
            starts: 0,
        }
    }

    /// A process was started.
    pub(crate) fn started(&mut self, now: Instant) {
        self.state = State::Running { since: now };
        self.probe = Probe::Silent;
        self.answered = false;
        self.detail = "starting".to_owned();
        self.starts += 1;
    }

    /// It could not be started.
    pub(crate) fn start_failed(&mut self, now: Instant, why: String) {
        self.state = State::Ended;
        self.fail(now, why);
    }

    /// It was asked to stop.
    pub(crate) fn stopping(&mut self, now: Instant, why: &str) {
        if let State::Running { .. } = self.state {
            self.state = State::Stopping {
                since: now,
                killed: false,
            };
            why.clone_into(&mut self.detail);
        }
    }

    /// It was killed.
    pub(crate) fn killed(&mut self, now: Instant) {
        match self.state {
            State::Running { .. } => {
                // Nobody asked it to stop: it failed.
                self.fail(now, "did not answer and was killed".to_owned());
                self.state = State::Stopping {
                    since: now,
                    killed: true,
                };
            }
            State::Stopping { since, .. } => {
                self.state = State::Stopping {
                    since,
                    killed: true,
                }
            }
            State::Absent | State::Ended => {}
        }
    }

    /// It ended; `why` says how. Returns whether that was unexpected.
    pub(crate) fn ended(&mut self, now: Instant, why: String) -> bool {
        let unexpected = matches!(self.state, State::Running { .. });
        if let State::Running { since } = self.state {
            if now.duration_since(since) >= STEADY_AFTER {
                self.failures = 0;
            }
            self.fail(now, why);
        } else if self.failures == 0 {
            self.detail = why;
        }
        self.state = State::Ended;
        self.silent(now);
        unexpected
    }

    fn fail(&mut self, now: Instant, why: String) {
        self.failures += 1;
        self.retry_at = Some(now + pause(self.failures));
        self.detail = why;
    }

    fn silent(&mut self, now: Instant) {
        self.probe = Probe::Silent;
        self.down_since.get_or_insert(now);
    }

    /// It was looked at.
    pub(crate) fn probed(&mut self, now: Instant, probe: Probe) {
        let (State::Running { .. } | State::Stopping { .. }) = self.state else {
            return;
        };
        let stopping = matches!(self.state, State::Stopping { .. });
        match &probe {
            Probe::Silent => {
                self.silent(now);
                if self.answered && !stopping {
                    "does not answer".clone_into(&mut self.detail);
                }
                return;
            }
            Probe::NotReady(missing) if !stopping => self.detail.clone_from(missing),
            Probe::Ready if !stopping => self.detail.clear(),
            Probe::NotReady(_) | Probe::Ready => {}
        }
        self.down_since = None;
        self.answered = true;
        self.probe = probe;
    }

    /// Whether the table says that it hands over.
    pub(crate) fn set_draining(&mut self, now: Instant, draining: bool) {
        if draining {
            self.draining_since.get_or_insert(now);
        } else {
            self.draining_since = None;
        }
    }

    /// What the planner gets to see.
    pub(crate) fn observe(
        &self,
        now: Instant,
        revision: Option<String>,
        address: Option<String>,
    ) -> Observation {
        let ago = |then: Instant| now.duration_since(then);
        let steady = matches!(self.state, State::Running { since } if ago(since) >= STEADY_AFTER);
        Observation {
            run: match self.state {
                State::Absent => Run::Absent,
                State::Ended => Run::Ended,
                State::Running { since } => Run::Running(ago(since)),
                State::Stopping { since, killed } => Run::Stopping {
                    since: ago(since),
                    killed,
                },
            },
            live: self.probe != Probe::Silent,
            ready: self.probe == Probe::Ready,
            detail: self.detail.clone(),
            down_for: self.down_since.map(ago),
            answered: self.answered,
            draining_for: self.draining_since.map(ago),
            revision,
            address,
            may_start: self.retry_at.is_none_or(|at| now >= at),
            failures: if steady && self.probe == Probe::Ready {
                0
            } else {
                self.failures
            },
            restarts: self.starts.saturating_sub(1),
        }
    }
}

/// The pause after `failures` failures in a row.
fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Clock(Instant);

    impl Clock {
        fn at(&self, seconds: u64) -> Instant {
            self.0 + Duration::from_secs(seconds)
        }
    }

    fn see(life: &Life, now: Instant) -> Observation {
        life.observe(now, None, None)
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let seconds: Vec<f64> = (1..=9).map(|n| pause(n).as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn a_crash_pauses_and_a_steady_run_forgets_earlier_ones() {
        let clock = Clock(Instant::now());
        let mut life = Life::new(clock.at(0));
        for n in 1..=3 {
            life.started(clock.at(0));
            assert!(life.ended(clock.at(1), "status 70".to_owned()));
            assert_eq!(see(&life, clock.at(1)).failures, n);
        }
        assert!(!see(&life, clock.at(2)).may_start);
        assert!(see(&life, clock.at(3)).may_start);
        life.started(clock.at(3));
        life.probed(clock.at(4), Probe::Ready);
        assert_eq!(see(&life, clock.at(5)).failures, 3);
        assert_eq!(see(&life, clock.at(63)).failures, 0);
        assert!(life.ended(clock.at(64), "status 70".to_owned()));
        assert_eq!(
            (
                see(&life, clock.at(64)).failures,
                see(&life, clock.at(64)).restarts
            ),
            (1, 3)
        );
    }

    #[test]
    fn an_end_that_was_asked_for_is_no_failure() {
        let clock = Clock(Instant::now());
        let mut life = Life::new(clock.at(0));
        life.started(clock.at(0));
        life.probed(clock.at(1), Probe::Ready);
        life.stopping(clock.at(2), "new settings");
        assert!(!life.ended(clock.at(3), "status 0".to_owned()));
        let seen = see(&life, clock.at(3));
        assert_eq!(
            (seen.run, seen.failures, seen.may_start, seen.live),
            (Run::Ended, 0, true, false)
        );
    }

    #[test]
    fn the_time_away_begins_with_the_silence_and_ends_with_an_answer() {
        let clock = Clock(Instant::now());
        let mut life = Life::new(clock.at(0));
        life.started(clock.at(0));
        life.probed(clock.at(1), Probe::NotReady("1 of 2".to_owned()));
        let seen = see(&life, clock.at(9));
        assert_eq!(
            (seen.down_for, seen.ready, seen.detail.as_str()),
            (None, false, "1 of 2")
        );
        life.probed(clock.at(10), Probe::Silent);
        life.probed(clock.at(12), Probe::Silent);
        assert_eq!(
            see(&life, clock.at(15)).down_for,
            Some(Duration::from_secs(5))
        );
        // A restart does not begin it anew: the partitions have been waiting all the time.
        life.ended(clock.at(16), "signal 9".to_owned());
        life.started(clock.at(17));
        assert_eq!(
            see(&life, clock.at(20)).down_for,
            Some(Duration::from_secs(10))
        );
        life.probed(clock.at(21), Probe::Ready);
        assert_eq!(see(&life, clock.at(22)).down_for, None);
    }

    #[test]
    fn a_kill_for_silence_counts_as_failure() {
        let clock = Clock(Instant::now());
        let mut life = Life::new(clock.at(0));
        life.started(clock.at(0));
        life.killed(clock.at(40));
        life.ended(clock.at(40), "signal 9".to_owned());
        let seen = see(&life, clock.at(40));
        assert_eq!((seen.failures, seen.may_start), (1, false));
        assert_eq!(seen.detail, "did not answer and was killed");
    }

    #[test]
    fn a_late_answer_of_an_ended_process_changes_nothing() {
        let clock = Clock(Instant::now());
        let mut life = Life::new(clock.at(0));
        life.started(clock.at(0));
        life.ended(clock.at(1), "status 1".to_owned());
        life.probed(clock.at(2), Probe::Ready);
        assert!(!see(&life, clock.at(2)).live);
    }
}
