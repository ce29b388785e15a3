//! Events by way of a NATS server: every node of a cluster publishes to one subject and listens to it.
//!
//! The subject is named after bucket and prefix, so clusters that share a server never hear one another. NATS keeps nothing
//! (core NATS, at most once): what is said while the server is away is lost to it, and polling finds it.
//!
//! A server that is away never stops a node: it is tried again without end, at random moments at most `RETRY_MAX` apart.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event as ConnectionEvent, ServerAddr};
use async_trait::async_trait;
use brainy_http_server::tls::{self, TlsError};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_rustls::rustls::ClientConfig;
use tokio_util::sync::CancellationToken;

use super::{Backend, Deliver, Direction, Envelope, EventMetrics, Mailbox, OpenConnection, Pushed};

/// Its name in metrics and logs.
pub const NAME: &str = "pubsub";
/// Events that wait to be sent, and those that wait to be taken; more drop the oldest, respectively the newest.
const BUFFER: usize = 1024;
/// Longest time between two tries to connect.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// The first tries come within this time, and each next one within twice the time of the one before.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// A connection that says nothing for twice this long is given up.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Longest time for one try.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach the server. Its debug form has no secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsOptions {
    /// Servers, one of which is enough to find the others of theirs.
    pub servers: Vec<ServerAddr>,
    /// What the server is shown.
    pub credentials: NatsCredentials,
    /// PEM files with authorities besides the system's; need not exist.
    pub authorities: Vec<PathBuf>,
    /// What this client is called in the server's reports.
    pub client_name: String,
    /// What is published to and listened to, see [`subject`].
    pub subject: String,
}

/// What a server is shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum NatsCredentials {
    /// Nothing.
    #[default]
    None,
    /// A user's name and password.
    User(String, String),
    /// A token.
    Token(String),
}

impl fmt::Debug for NatsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::User(..) => "User(..)",
            Self::Token(_) => "Token(..)",
        })
    }
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions")
            .field("servers", &self.named())
            .field("credentials", &self.credentials)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl NatsOptions {
    /// The servers for people: hosts and ports, which hold no secret.
    fn named(&self) -> String {
        let hosts = self.servers.iter();
        let hosts: Vec<String> = hosts
            .map(|s| format!("{}:{}", s.host(), s.port()))
            .collect();
        hosts.join(", ")
    }

    fn needs_tls(&self) -> bool {
        !self.authorities.is_empty() || self.servers.iter().any(ServerAddr::tls_required)
    }
}

/// The subject of the cluster at `prefix` of `bucket`. A hash, because names may have characters that mean something in subjects.
#[must_use]
pub fn subject(bucket: &str, prefix: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((bucket.len() as u64).to_le_bytes());
    hash.update(bucket);
    hash.update(prefix.trim_matches('/'));
    let digits: String = hash.finalize()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("brainy.events.{digits}")
}

/// The back end.
#[derive(Debug)]
pub struct Nats {
    options: NatsOptions,
    tls: Option<ClientConfig>,
    outgoing: Mailbox,
    metrics: EventMetrics,
}

impl Nats {
    /// A back end that connects once it runs.
    ///
    /// # Errors
    /// [`TlsError`] for authorities that cannot be read, or where there are none and TLS is wanted.
    pub fn new(options: NatsOptions, metrics: EventMetrics) -> Result<Self, TlsError> {
        let tls = if options.needs_tls() {
            let mut config = (*tls::client_of_many(&options.authorities)?).clone();
            // Those of HTTP; NATS has none.
            config.alpn_protocols.clear();
            Some(config)
        } else {
            None
        };
        Ok(Self {
            options,
            tls,
            outgoing: Mailbox::new(BUFFER),
            metrics,
        })
    }

    fn connect_options(&self, link: &Arc<Link>) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .name(&self.options.client_name)
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(retry_after)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_EVERY)
            .client_capacity(BUFFER)
            .subscription_capacity(BUFFER)
            .no_echo()
            .event_callback({
                let link = link.clone();
                move |event| {
                    link.note(&event);
                    std::future::ready(())
                }
            });
        if let Some(tls) = &self.tls {
            options = options.tls_client_config(tls.clone());
        }
        match &self.options.credentials {
            NatsCredentials::None => options,
            NatsCredentials::User(user, password) => {
                options.user_and_password(user.clone(), password.clone())
            }
            NatsCredentials::Token(token) => options.token(token.clone()),
        }
    }

    /// Sends and takes until the client gives up, which it does only when it was closed.
    async fn talk(&self, deliver: &Deliver, link: &Arc<Link>) -> Result<(), async_nats::Error> {
        let options = self.connect_options(link);
        let client = options.connect(&self.options.servers[..]).await?;
        let mut heard = client.subscribe(self.options.subject.clone()).await?;
        let taking = async {
            while let Some(message) = heard.next().await {
                match Envelope::decode(&message.payload) {
                    Ok(envelope) => deliver.deliver(envelope),
                    Err(error) => {
                        self.metrics.failed(NAME);
                        tracing::debug!(%error, "passed over a message that is no event");
                    }
                }
            }
        };
        tokio::select! {
            () = taking => Ok(()),
            ended = self.send(&client, link) => ended,
        }
    }

    /// Sends what waits while there is a connection; without one it goes on waiting in the bounded buffer.
    async fn send(&self, client: &Client, link: &Link) -> Result<(), async_nats::Error> {
        let mut up = link.up.subscribe();
        loop {
            up.wait_for(|up| *up).await?;
            let envelope = self.outgoing.next().await;
            match envelope.encode() {
                Ok(text) => {
                    let subject = self.options.subject.clone();
                    client.publish(subject, Bytes::from(text)).await?;
                }
                Err(error) => {
                    self.metrics.failed(NAME);
                    tracing::warn!(%error, kind = envelope.event.kind(), "an event cannot be told");
                }
            }
        }
    }
}

#[async_trait]
impl Backend for Nats {
    fn name(&self) -> &'static str {
        NAME
    }

    fn publish(&self, envelope: &Envelope) {
        if self.outgoing.push(envelope.clone()) == Pushed::DroppedOldest {
            self.metrics.dropped(NAME);
        }
    }

    async fn run(self: Arc<Self>, deliver: Deliver, stop: CancellationToken) {
        let link = Arc::new(Link {
            up: watch::Sender::new(false),
            open: Mutex::default(),
            servers: self.options.named(),
            metrics: self.metrics.clone(),
        });
        let mut tries = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                ended = self.talk(&deliver, &link) => {
                    link.down();
                    if let Err(error) = ended {
                        self.metrics.failed(NAME);
                        tracing::warn!(%error, servers = link.servers, "cannot use the NATS server; trying again");
                    }
                }
            }
            tries += 1;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(retry_after(tries)) => {}
            }
        }
    }
}

/// A random time that grows with the tries, so that the nodes of a cluster do not come back all at once.
fn retry_after(tries: usize) -> Duration {
    let doubled = u32::try_from(tries.min(16)).unwrap_or(16);
    let most = RETRY_FIRST
        .saturating_mul(2_u32.saturating_pow(doubled))
        .min(RETRY_MAX);
    most.mul_f64(rand::random::<f64>())
}

/// What is known of the connection.
#[derive(Debug)]
struct Link {
    up: watch::Sender<bool>,
    /// Counts it in metrics.
    open: Mutex<Option<OpenConnection>>,
    servers: String,
    metrics: EventMetrics,
}

impl Link {
    fn note(&self, event: &ConnectionEvent) {
        let servers = &self.servers;
        match event {
            ConnectionEvent::Connected => {
                *self.open.lock() = Some(self.metrics.connected(NAME, Direction::Out));
                self.up.send_replace(true);
                tracing::info!(servers, "connected to NATS");
            }
            ConnectionEvent::Disconnected | ConnectionEvent::Closed => {
                if self.down() {
                    tracing::warn!(
                        servers,
                        "the connection to NATS ended; changes are found by polling until it is back"
                    );
                }
            }
            ConnectionEvent::SlowConsumer(_) => self.metrics.dropped(NAME),
            ConnectionEvent::ServerError(error) => {
                self.metrics.failed(NAME);
                tracing::warn!(servers, %error, "the NATS server refuses");
            }
            ConnectionEvent::ClientError(error) => {
                self.metrics.failed(NAME);
                tracing::debug!(servers, %error, "no connection to NATS");
            }
            ConnectionEvent::LameDuckMode | ConnectionEvent::Draining => {}
        }
    }

    /// Whether there was a connection.
    fn down(&self) -> bool {
        self.open.lock().take();
        self.up.send_replace(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_have_subjects_of_their_own() {
        let one = subject("vectors", "team-a/search");
        assert_eq!(one, subject("vectors", "/team-a/search/"));
        for other in [
            subject("vectors", "team-b/search"),
            subject("vectorst", "eam-a/search"),
            subject("vectors", ""),
        ] {
            assert_ne!(one, other);
        }
        // Nodes of different versions must meet.
        assert_eq!(
            subject("vectors", "a"),
            "brainy.events.23c433052821a605a333129a1fe46419"
        );
        assert!(!one.contains(['*', '>', ' ']));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let options = NatsOptions {
            servers: vec!["nats://nats:4222".parse().unwrap()],
            credentials: NatsCredentials::User("ann".to_owned(), "hunter2".to_owned()),
            authorities: Vec::new(),
            client_name: "writer-0".to_owned(),
            subject: subject("b", ""),
        };
        let printed = format!("{options:?}");
        assert!(printed.contains("nats:4222"), "{printed}");
        assert!(
            !printed.contains("hunter2") && !printed.contains("ann"),
            "{printed}"
        );
    }

    #[test]
    fn tries_are_bounded_and_spread() {
        for tries in [0, 1, 5, 100, usize::MAX] {
            assert!(retry_after(tries) <= RETRY_MAX);
        }
        let some: std::collections::BTreeSet<Duration> = (0..50).map(|_| retry_after(20)).collect();
        assert!(some.len() > 1);
    }
}
