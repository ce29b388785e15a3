//! What a server allows its clients.

use std::time::Duration;

/// Limits of one listener. Those who break them lose their connection, others do not notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// Longest time for the handshake of TLS and the head of the first request, and from the first byte of a later request's
    /// head to its end.
    pub head_timeout: Duration,
    /// Connections without a request are closed after this time.
    pub idle_timeout: Duration,
    /// So long a client may send nothing of a body, or read nothing of an answer, that it is waited for; longer if it keeps
    /// to [`Limits::min_rate`].
    pub patience: Duration,
    /// Bytes a second that a client sends or reads at least. Whoever is slower uses up its patience.
    pub min_rate: u64,
    /// Largest head of a request in bytes.
    pub max_head_bytes: u32,
    /// Requests at a time on one connection of HTTP/2.
    pub max_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            head_timeout: Duration::from_secs(10),
            // Above what pools of clients keep by default where they close first; nginx has the same.
            idle_timeout: Duration::from_secs(75),
            patience: Duration::from_secs(20),
            min_rate: 1024,
            max_head_bytes: 64 << 10,
            max_streams: 256,
        }
    }
}
