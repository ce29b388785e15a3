//! Small requests to instances: is it up?

use std::time::Duration;

use reqwest::{Client, StatusCode};

use super::supervise::Probe;
use crate::error::OperatorError;

/// An answer that takes longer is as good as none.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of a text that says what is missing is kept, in characters.
const LONGEST_TEXT: usize = 200;

/// A client for requests that stay on this machine.
///
/// # Errors
/// [`OperatorError::System`] if none can be made.
pub(crate) fn client() -> Result<Client, OperatorError> {
    Client::builder()
        .connect_timeout(Duration::from_secs(1))
        // Instances close connections that are idle for ten seconds: ours go first, so that no request meets that end.
        .pool_idle_timeout(Duration::from_secs(5))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| OperatorError::System {
            what: "cannot make an HTTP client",
            source: std::io::Error::other(error),
        })
}

/// Looks at an instance: `/readyz`, and `/livez` if that does not answer.
pub(crate) async fn probe(client: &Client, address: &str) -> Probe {
    let get = |path| {
        client
            .get(format!("http://{address}{path}"))
            .timeout(PROBE_TIMEOUT)
            .send()
    };
    match get("/readyz").await {
        Ok(answer) if answer.status() == StatusCode::OK => return Probe::Ready,
        Ok(answer) => {
            let text = answer.text().await.unwrap_or_default();
            let text = text.trim();
            let text = if text.is_empty() { "not ready" } else { text };
            return Probe::NotReady(text.chars().take(LONGEST_TEXT).collect());
        }
        Err(error) if error.is_connect() => return Probe::Silent,
        Err(_) => {}
    }
    match get("/livez").await {
        Ok(answer) if answer.status() == StatusCode::OK => {
            Probe::NotReady("/readyz does not answer".to_owned())
        }
        Ok(_) | Err(_) => Probe::Silent,
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    async fn serve(router: Router) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    #[tokio::test]
    async fn a_look_tells_ready_from_not_ready_from_silent() {
        let client = client().unwrap();
        let ready = serve(Router::new().route("/readyz", get(|| async { "ok" }))).await;
        assert_eq!(probe(&client, &ready).await, Probe::Ready);
        let answer = || async { (StatusCode::SERVICE_UNAVAILABLE, "2 of 3 partitions\n") };
        let waiting = serve(Router::new().route("/readyz", get(answer))).await;
        assert_eq!(
            probe(&client, &waiting).await,
            Probe::NotReady("2 of 3 partitions".to_owned())
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = listener.local_addr().unwrap().to_string();
        drop(listener);
        assert_eq!(probe(&client, &free).await, Probe::Silent);
    }
}
