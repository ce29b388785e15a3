//! Options of the server: what its clients are allowed.

use std::time::Duration;

use brainy_http_server::Limits;
use clap::Args;

/// Limits of each listener.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Connections at a time, of clients and other nodes; more wait to be accepted.
    #[arg(long, env = "BRAINY_MAX_CONNECTIONS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub max_connections: u32,
    /// Longest time for the head of a request, milliseconds; the connection is closed after it.
    #[arg(long, env = "BRAINY_HEAD_TIMEOUT_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub head_timeout_ms: u64,
    /// Connections without a request are closed after this time, milliseconds.
    #[arg(long, env = "BRAINY_IDLE_TIMEOUT_MS", default_value_t = 75_000, value_parser = clap::value_parser!(u64).range(10_000..=86_400_000))]
    pub idle_timeout_ms: u64,
    /// How long a client is waited for that sends nothing of its body or reads nothing of its answer, milliseconds.
    #[arg(long, env = "BRAINY_SLOW_CLIENT_MS", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub slow_client_ms: u64,
    /// Bytes a second that a client sends or reads at least; whoever is slower is waited for as long as --slow-client-ms says.
    #[arg(long, env = "BRAINY_MIN_CLIENT_RATE", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1_073_741_824))]
    pub min_client_rate: u64,
    /// Largest head of a request, bytes; a larger one is answered with 431.
    #[arg(long, env = "BRAINY_MAX_HEAD_BYTES", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(8_192..=1_048_576))]
    pub max_head_bytes: u32,
    /// Requests at a time on one connection of HTTP/2.
    #[arg(long, env = "BRAINY_MAX_STREAMS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_streams: u32,
}

impl ServerArgs {
    /// As the server takes them.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            connections: self.max_connections as usize,
            head_timeout: Duration::from_millis(self.head_timeout_ms),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms),
            patience: Duration::from_millis(self.slow_client_ms),
            min_rate: self.min_client_rate,
            max_head_bytes: self.max_head_bytes,
            max_streams: self.max_streams,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn without_options_the_limits_are_the_servers_own() {
        let cli = Cli::try_parse_from(["brainyd"]).unwrap();
        assert_eq!(cli.server.limits(), Limits::default());
        let refused = Cli::try_parse_from(["brainyd", "--max-connections", "1"]).unwrap_err();
        assert!(refused.to_string().contains("16..="), "{refused}");
    }
}
