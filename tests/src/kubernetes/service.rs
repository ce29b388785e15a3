//! What kube-proxy does for a Service, for a client outside the cluster: each new connection goes to one of its endpoints.
//!
//! The endpoints are those of the Service's EndpointSlices, which the cluster's own controllers write: ready ones, or, if
//! there is none, those that serve while they terminate (KEP-1669), as kube-proxy chooses.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::HarnessError;
use crate::kubelet::reachable;

/// An endpoint that does not accept within this time is given up.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How pods are reached from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At their addresses.
    Direct,
    /// Through the API server, as `kubectl port-forward` does.
    PortForward,
}

/// An endpoint of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's name.
    pub pod: String,
    /// Its address.
    pub address: String,
    /// Port of the pod.
    pub port: u16,
}

/// A local port in front of a Service. It closes when dropped.
#[derive(Debug)]
pub struct ServiceForward {
    address: SocketAddr,
    slices: Store<EndpointSlice>,
    _watch: AbortOnDropHandle<()>,
    _serve: AbortOnDropHandle<()>,
}

impl ServiceForward {
    /// Opens a port for `service` in `namespace`, whether the Service exists yet or not.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(
        client: Client,
        namespace: &str,
        service: &str,
        reach: Reach,
    ) -> Result<Self, HarnessError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.map_err(HarnessError::io("listen on", "127.0.0.1"))?;
        let address = listener.local_addr();
        let address = address.map_err(HarnessError::io("listen on", "127.0.0.1"))?;
        let (slices, writer) = reflector::store();
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        let of_service =
            watcher::Config::default().labels(&format!("kubernetes.io/service-name={service}"));
        let watch = reflector::reflector(writer, watcher(api, of_service))
            .default_backoff()
            .for_each(|_| std::future::ready(()));
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        let serve = serve(listener, slices.clone(), pods, reach);
        Ok(Self {
            address,
            slices,
            _watch: AbortOnDropHandle::new(tokio::spawn(watch)),
            _serve: AbortOnDropHandle::new(tokio::spawn(serve)),
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The endpoints that connections go to now.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        endpoints(&self.slices)
    }
}

fn endpoints(slices: &Store<EndpointSlice>) -> Vec<Endpoint> {
    let (mut ready, mut terminating) = (Vec::new(), Vec::new());
    for slice in slices.state() {
        let port = slice.ports.iter().flatten().find_map(|p| p.port);
        let Some(port) = port.and_then(|p| u16::try_from(p).ok()) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            let Some(address) = endpoint.addresses.first() else {
                continue;
            };
            let target = endpoint.target_ref.as_ref();
            let found = Endpoint {
                pod: target.and_then(|t| t.name.clone()).unwrap_or_default(),
                address: address.clone(),
                port,
            };
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            if conditions.ready.unwrap_or(true) {
                ready.push(found);
            } else if conditions.serving.unwrap_or(false) {
                terminating.push(found);
            }
        }
    }
    if ready.is_empty() { terminating } else { ready }
}

async fn serve(listener: TcpListener, slices: Store<EndpointSlice>, pods: Api<Pod>, reach: Reach) {
    let turn = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((mut connection, _)) = listener.accept().await else {
            return;
        };
        let (slices, pods, turn) = (slices.clone(), pods.clone(), turn.clone());
        tokio::spawn(async move {
            let endpoints = endpoints(&slices);
            let first = turn.fetch_add(1, Ordering::Relaxed);
            // Without an endpoint, or if it does not answer, the connection is closed: the client finds out at once.
            let Some(endpoint) = endpoints.get(first % endpoints.len().max(1)) else {
                return;
            };
            let Some(mut pod) = connect(endpoint, &pods, reach).await else {
                return;
            };
            // Either side may end it at any time; that is the client's affair.
            let _ended = copy_bidirectional(&mut connection, &mut pod).await;
        });
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn connect(endpoint: &Endpoint, pods: &Api<Pod>, reach: Reach) -> Option<Box<dyn Stream>> {
    let connected = async {
        match reach {
            Reach::Direct => {
                let address = match reachable(&endpoint.address) {
                    Some(loopback) => IpAddr::V4(loopback),
                    None => endpoint.address.parse().ok()?,
                };
                let stream = TcpStream::connect((address, endpoint.port)).await.ok()?;
                Some(Box::new(stream) as Box<dyn Stream>)
            }
            Reach::PortForward => {
                let mut forward = pods
                    .portforward(&endpoint.pod, &[endpoint.port])
                    .await
                    .ok()?;
                let stream = forward.take_stream(endpoint.port)?;
                Some(Box::new(stream) as Box<dyn Stream>)
            }
        }
    };
    tokio::time::timeout(CONNECT_WITHIN, connected).await.ok()?
}
