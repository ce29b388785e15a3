//! The gRPC endpoint: whole connections, each to a ready instance, in turn, as a Kubernetes Service does it.
//!
//! A connection that breaks is the client's to make again, which clients of gRPC do by themselves; writes carry no identity that this
//! endpoint could add. Bytes are passed on as they are, so the instance sees HTTP/2 from end to end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Proxy;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 1024;
/// An instance that has not accepted by then is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after an accept that failed: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Proxy {
    /// Passes connections on until `stop`, which cuts those that are left.
    pub(crate) async fn serve_streams(self, listener: TcpListener, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let connections = TaskTracker::new();
        while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &permits)).await {
            let (stream, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (proxy, stop) = (self.clone(), stop.clone());
            connections.spawn(async move {
                if let Some(Err(error)) =
                    stop.run_until_cancelled(proxy.pass_on_stream(stream)).await
                {
                    tracing::debug!(%error, "a gRPC connection ended");
                }
                drop(permit);
            });
        }
        connections.close();
        connections.wait().await;
    }

    async fn pass_on_stream(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut instance = self.connect().await?;
        tokio::io::copy_bidirectional(&mut client, &mut instance).await?;
        Ok(())
    }

    /// A connection to the instance whose turn it is, or the next that takes one.
    async fn connect(&self) -> io::Result<TcpStream> {
        let ready = self.shared.routes.read().ready.clone();
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        for n in 0..ready.len() {
            let (instance, address) = &ready[turn.wrapping_add(n) % ready.len()];
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => tracing::debug!(%instance, %error, "trying another instance"),
                Err(_) => {
                    tracing::debug!(%instance, "trying another instance: no connection in time")
                }
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "no instance takes connections",
        ))
    }
}

/// A connection, and the right to have it.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}
