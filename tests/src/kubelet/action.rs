//! What probes and hooks do: a request, a connection or a command.

use std::time::Duration;

use axum::http::Request;
use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::client::Body;
use kube::{Client, Config};
use tokio::net::TcpStream;

use super::launch::Launch;

/// Something to do at a running container, with an outcome.
pub(super) enum Action {
    Http(Request<()>, Client),
    Tcp(String),
    Exec(Vec<String>, Launch),
    Sleep(Duration),
}

impl Action {
    /// The action of a probe.
    ///
    /// # Errors
    /// It has none that the test kubelet knows.
    pub(super) fn of_probe(
        probe: &Probe,
        container: &Container,
        launch: &Launch,
    ) -> Result<Self, String> {
        if let Some(get) = &probe.http_get {
            Self::http(get, container, launch)
        } else if let Some(socket) = &probe.tcp_socket {
            Self::tcp(socket, container, launch)
        } else if let Some(exec) = &probe.exec {
            Ok(Self::exec(exec, launch))
        } else {
            Err("a kind of probe that the test kubelet does not know".to_owned())
        }
    }

    /// The action of a hook.
    ///
    /// # Errors
    /// It has none that the test kubelet knows.
    pub(super) fn of_hook(
        hook: &LifecycleHandler,
        container: &Container,
        launch: &Launch,
    ) -> Result<Self, String> {
        if let Some(exec) = &hook.exec {
            Ok(Self::exec(exec, launch))
        } else if let Some(get) = &hook.http_get {
            Self::http(get, container, launch)
        } else if let Some(sleep) = &hook.sleep {
            let seconds = u64::try_from(sleep.seconds).unwrap_or_default();
            Ok(Self::Sleep(Duration::from_secs(seconds)))
        } else {
            Err("a kind of hook that the test kubelet does not know".to_owned())
        }
    }

    fn exec(exec: &ExecAction, launch: &Launch) -> Self {
        let command = exec.command.clone().unwrap_or_default();
        Self::Exec(command, launch.clone())
    }

    fn tcp(
        socket: &TCPSocketAction,
        container: &Container,
        launch: &Launch,
    ) -> Result<Self, String> {
        let port = port(&socket.port, container)?;
        Ok(Self::Tcp(authority(socket.host.as_deref(), port, launch)))
    }

    fn http(get: &HTTPGetAction, container: &Container, launch: &Launch) -> Result<Self, String> {
        let authority = authority(get.host.as_deref(), port(&get.port, container)?, launch);
        let scheme = match get.scheme.as_deref() {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
            _ => "http",
        };
        let path = get.path.as_deref().unwrap_or("/");
        let path = path.strip_prefix('/').unwrap_or(path);
        let base = format!("{scheme}://{authority}");
        let mut request = Request::get(format!("/{path}")).header("user-agent", "kube-probe/1.34");
        for header in get.http_headers.iter().flatten() {
            request = request.header(&header.name, &header.value);
        }
        let request = request.body(()).map_err(|e| e.to_string())?;
        let base = base.parse().map_err(|e| format!("{base}: {e}"))?;
        let mut config = Config::new(base);
        // A kubelet does not verify certificates either, and repeats only by its own rules.
        config.accept_invalid_certs = true;
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|e| e.to_string())?;
        Ok(Self::Http(request, client))
    }

    /// Does it once.
    ///
    /// # Errors
    /// How it failed, or that it took longer than `within`.
    pub(super) async fn run(&self, within: Duration) -> Result<(), String> {
        let work = async {
            match self {
                Self::Http(request, client) => get(request, client).await,
                Self::Tcp(address) => {
                    let connected = TcpStream::connect(address).await;
                    connected
                        .map(drop)
                        .map_err(|e| format!("dial tcp {address}: {e}"))
                }
                Self::Exec(command, launch) => launch.exec(command, within).await,
                Self::Sleep(time) => {
                    tokio::time::sleep(*time).await;
                    Ok(())
                }
            }
        };
        match tokio::time::timeout(within, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {within:?}")),
        }
    }
}

async fn get(request: &Request<()>, client: &Client) -> Result<(), String> {
    let request = request.clone().map(|()| Body::empty());
    let path = request.uri().path().to_owned();
    let answer = client.send(request).await;
    let answer = answer.map_err(|e| format!("Get \"{path}\": {e}"))?;
    let status = answer.status();
    // What is answered is read, or the connection cannot be used again.
    let read = answer.into_body().collect_bytes().await;
    read.map_err(|e| format!("Get \"{path}\": {e}"))?;
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!(
            "HTTP probe failed with statuscode: {}",
            status.as_u16()
        ))
    }
}

fn authority(host: Option<&str>, port: u16, launch: &Launch) -> String {
    match host {
        Some(host) if !host.is_empty() => format!("{host}:{port}"),
        _ => format!("{}:{port}", launch.address()),
    }
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let ports = container.ports.iter().flatten();
            let mut named = ports.filter(|p| p.name.as_ref() == Some(name));
            named.next().map(|p| p.container_port)
        }
    };
    let number = number.and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| format!("the container has no port {port:?}"))
}
