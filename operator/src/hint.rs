//! Tells members that the assignments changed; they would find out by themselves, only later.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use reqwest::Client;

const TIMEOUT: Duration = Duration::from_secs(1);
/// Members that are told at the same time.
const AT_ONCE: usize = 32;

/// Whom to tell, and how.
#[derive(Clone, Debug)]
pub(crate) struct Hint {
    /// Host and port of each member.
    pub(crate) addresses: Vec<String>,
    /// Whether they speak TLS.
    pub(crate) tls: bool,
    /// The key that may do everything, if requests must carry one.
    pub(crate) admin_key: Option<String>,
}

impl Hint {
    /// Tells all of them. A hint that is lost costs one poll interval.
    pub(crate) async fn send(self, client: Client) {
        let Self {
            addresses,
            tls,
            admin_key,
        } = self;
        let scheme = if tls { "https" } else { "http" };
        stream::iter(addresses)
            .for_each_concurrent(AT_ONCE, |address| {
                let mut request = client
                    .post(format!("{scheme}://{address}/internal/hint"))
                    .timeout(TIMEOUT)
                    .json(&serde_json::json!({}));
                if let Some(key) = &admin_key {
                    request = request.header("api-key", key);
                }
                async move {
                    let answer = request.send().await;
                    if let Err(error) = answer.and_then(reqwest::Response::error_for_status) {
                        tracing::debug!(%address, %error, "hint not taken");
                    }
                }
            })
            .await;
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[tokio::test]
    async fn hints_carry_the_admin_key_and_survive_a_dead_member() {
        let (seen, mut keys) = unbounded_channel();
        let router = Router::new().route(
            "/internal/hint",
            post(move |headers: HeaderMap| async move {
                seen.send(headers["api-key"].to_str().unwrap().to_owned())
                    .unwrap();
                StatusCode::NO_CONTENT
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let hint = Hint {
            addresses: vec!["127.0.0.1:1".to_owned(), address],
            tls: false,
            admin_key: Some("secret".to_owned()),
        };
        hint.send(Client::new()).await;
        assert_eq!(keys.recv().await.as_deref(), Some("secret"));
    }
}
