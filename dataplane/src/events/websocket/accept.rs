//! Connections that peers open.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket as Socket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use brainy_coordination::types::InstanceId;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{INSTANCE, NAME, WebSocket};
use crate::events::{Bus, Direction, Envelope, MAX_ENVELOPE};

/// Connections of peers at a time; clusters are smaller.
const MAX_PEERS: usize = 1024;
/// Peers ping more often than this.
const SILENCE: Duration = Duration::from_secs(30);

/// The side of a node that is dialed.
#[derive(Clone, Debug)]
pub(crate) struct Inbound {
    bus: Arc<Bus>,
    /// What dials the peers, if this node does.
    dialer: Option<Arc<WebSocket>>,
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Inbound {
    /// Hands what peers say to `bus`, until `stop`.
    pub(crate) fn new(
        bus: Arc<Bus>,
        dialer: Option<Arc<WebSocket>>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            bus,
            dialer,
            room: Arc::new(Semaphore::new(MAX_PEERS)),
            stop,
        }
    }
}

/// Answers a peer that dials. Its key has been checked.
///
/// A node takes what others say whatever its own way to say things is: while a cluster changes it, nodes differ.
pub(crate) fn accept(inbound: Inbound, headers: &HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    // Browsers open WebSockets to any address for any page, and say for whose.
    if headers.contains_key(header::ORIGIN) {
        let text = "header 'origin': web pages have no business here";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let peer = headers.get(INSTANCE).and_then(|name| name.to_str().ok());
    let Some(peer) = peer.and_then(|name| InstanceId::new(name).ok()) else {
        let text = format!("header '{INSTANCE}': the name of the node that dials is needed");
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    let Ok(place) = inbound.room.clone().try_acquire_owned() else {
        let text = format!("{MAX_PEERS} connections for events are open, which is the limit");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    upgrade
        .max_message_size(MAX_ENVELOPE)
        .max_frame_size(MAX_ENVELOPE)
        .read_buffer_size(4 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_ENVELOPE)
        .on_upgrade(move |socket| async move {
            let _place = place;
            let _open = inbound.bus.metrics().connected(NAME, Direction::In);
            if let Some(dialer) = &inbound.dialer {
                dialer.peer_is_up(&peer);
            }
            let why = hear(socket, &inbound).await;
            tracing::debug!(%peer, why, "a peer's connection for events ended");
        })
}

/// Takes events until the connection ends; says why it did.
async fn hear(mut socket: Socket, inbound: &Inbound) -> &'static str {
    loop {
        let message = tokio::select! {
            () = inbound.stop.cancelled() => return "this node stops",
            message = timeout(SILENCE, socket.recv()) => message,
        };
        match message {
            Err(_) => return "the peer says nothing",
            Ok(None | Some(Err(_) | Ok(Message::Close(_)))) => return "the peer is gone",
            Ok(Some(Ok(Message::Text(text)))) => match Envelope::decode(text.as_bytes()) {
                Ok(envelope) => inbound.bus.receive(NAME, &envelope),
                Err(error) => {
                    inbound.bus.metrics().failed(NAME);
                    tracing::debug!(%error, "a peer said something else");
                }
            },
            // Pings are answered by the library.
            Ok(Some(Ok(_))) => {}
        }
    }
}
