//! `probe`: waits until a URL answers. Images without a shell have nothing else to ask with; the chart's test uses it.

use std::time::{Duration, Instant};

use crate::cli::ProbeArgs;
use crate::error::OperatorError;

/// Longest time for one try.
const TRY: Duration = Duration::from_secs(2);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// How much of an answer is shown, in characters.
const SHOWN: usize = 1000;

/// Asks until the answer's status is 2xx.
///
/// # Errors
/// [`OperatorError::NotAnswered`] with the last answer when time is over.
pub(crate) fn run(args: &ProbeArgs) -> Result<(), OperatorError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| OperatorError::System {
            what: "cannot start",
            source,
        })?;
    runtime.block_on(ask(args))
}

async fn ask(args: &ProbeArgs) -> Result<(), OperatorError> {
    let client = reqwest::Client::builder()
        .timeout(TRY)
        .no_proxy()
        .build()
        .map_err(|error| OperatorError::System {
            what: "cannot make an HTTP client",
            source: std::io::Error::other(error),
        })?;
    let deadline = Instant::now() + args.timeout;
    loop {
        let last = match client.get(args.url.clone()).send().await {
            Ok(answer) => {
                let status = answer.status();
                let body = answer.text().await.unwrap_or_default();
                let shown: String = body.trim().chars().take(SHOWN).collect();
                if status.is_success() {
                    tracing::info!("{} answers {status}: {shown}", args.url);
                    return Ok(());
                }
                format!("{status}: {shown}")
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() + PAUSE >= deadline {
            return Err(OperatorError::NotAnswered {
                url: args.url.to_string(),
                last,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;

    use super::*;

    fn args(url: &str, timeout: Duration) -> ProbeArgs {
        ProbeArgs {
            url: url.parse().unwrap(),
            timeout,
        }
    }

    #[tokio::test]
    async fn it_asks_until_the_answer_is_good() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let answer = move || {
            let asked = count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(match asked {
                0 => (StatusCode::SERVICE_UNAVAILABLE, "not yet"),
                _ => (StatusCode::OK, "ready"),
            })
        };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        let app = Router::new().route("/readyz", get(answer));
        tokio::spawn(axum::serve(listener, app).into_future());
        ask(&args(&url, Duration::from_secs(30))).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2);

        let other = url.replace("readyz", "nothing");
        let error = ask(&args(&other, Duration::ZERO))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("404") && error.contains(&other), "{error}");
    }
}
