//! Options of who plans the cluster.

use std::time::Duration;

use brainy_coordination::self_coordination::ownership::Wish;
use clap::{Args, ValueEnum};

/// Who decides which node has which partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlannerArg {
    /// An operator where one has claimed the prefix, the nodes among themselves where none has.
    #[default]
    Auto,
    /// An operator; this node waits for it.
    Operator,
    /// The nodes among themselves: they elect one. Refused where an operator has claimed the prefix.
    #[value(name = "self")]
    Nodes,
}

/// Who plans, and how soon a dead node is noticed where the nodes do.
#[derive(Clone, Debug, Args)]
pub struct PlannerArgs {
    /// Who decides which node has which partition.
    #[arg(long, env = "BRAINY_PLANNER", value_enum, default_value = "auto")]
    pub planner: PlannerArg,
    /// Where nodes coordinate themselves: how often each renews its heartbeat, one PUT, milliseconds.
    #[arg(long, env = "BRAINY_HEARTBEAT_INTERVAL_MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..=300_000))]
    pub heartbeat_interval_ms: u64,
    /// Where nodes coordinate themselves: how long a heartbeat stands still before its node is taken for dead, milliseconds; at least
    /// three intervals.
    #[arg(long, env = "BRAINY_LEASE_TTL_MS", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1_000..=900_000))]
    pub lease_ttl_ms: u64,
}

impl PlannerArgs {
    /// What the user asked for.
    #[must_use]
    pub fn wish(&self) -> Wish {
        match self.planner {
            PlannerArg::Auto => Wish::Auto,
            PlannerArg::Operator => Wish::Operator,
            PlannerArg::Nodes => Wish::Myself,
        }
    }

    /// How often the heartbeat is renewed, and how long it may stand still.
    ///
    /// # Errors
    /// The two do not fit together.
    pub fn times(&self) -> Result<(Duration, Duration), String> {
        let (interval, ttl) = (self.heartbeat_interval_ms, self.lease_ttl_ms);
        if ttl < interval * 3 {
            return Err(format!(
                "--lease-ttl-ms {ttl} is less than three times --heartbeat-interval-ms {interval}: one slow request would end a node. Raise the first or lower the second"
            ));
        }
        Ok((Duration::from_millis(interval), Duration::from_millis(ttl)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn parsed(args: &[&str]) -> Result<PlannerArgs, clap::Error> {
        let args = ["brainyd"].iter().chain(args);
        Cli::try_parse_from(args).map(|cli| cli.planner)
    }

    #[test]
    fn the_prefix_decides_who_plans_unless_told() {
        assert_eq!(parsed(&[]).unwrap().wish(), Wish::Auto);
        let told = parsed(&["--planner", "self"]).unwrap();
        assert_eq!(told.wish(), Wish::Myself);
        let told = parsed(&["--planner", "operator"]).unwrap();
        assert_eq!(told.wish(), Wish::Operator);
        assert!(parsed(&["--planner", "nobody"]).is_err());
    }

    #[test]
    fn a_time_to_live_covers_three_heartbeats() {
        let times = parsed(&[]).unwrap().times().unwrap();
        assert_eq!(times, (Duration::from_secs(5), Duration::from_secs(20)));
        let close = ["--heartbeat-interval-ms", "400", "--lease-ttl-ms", "1200"];
        assert!(parsed(&close).unwrap().times().is_ok());
        let short = ["--heartbeat-interval-ms", "401", "--lease-ttl-ms", "1200"];
        let error = parsed(&short).unwrap().times().unwrap_err();
        assert!(error.contains("--lease-ttl-ms 1200"), "{error}");
        assert!(parsed(&["--lease-ttl-ms", "999"]).is_err());
    }
}
