//! A `brainyd` by itself.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::HarnessError;
use crate::client::Client;
use crate::process::{Process, program};
use crate::wait::{holds, until};

/// A `brainyd` process. Dropping it kills it.
#[derive(Debug)]
pub struct Standalone {
    /// The process.
    pub process: Process,
    address: String,
}

impl Standalone {
    /// Starts `brainyd` at a free port with its data and log in `dir`.
    ///
    /// # Errors
    /// The program is missing, or it ends before it is ready.
    pub async fn start(
        dir: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Result<Self, HarnessError> {
        let log = dir.join("brainyd.log");
        // Only lines of this run count: the log is appended to.
        let before = std::fs::metadata(&log).map_or(0, |m| m.len());
        let mut all: Vec<OsString> = [
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--data-dir",
        ]
        .map(OsString::from)
        .to_vec();
        all.push(dir.join("data").into_os_string());
        all.extend(arguments.iter().map(OsString::from));
        let mut process = Process::start(&program("brainyd")?, &all, environment, log.clone())?;
        let address = until("brainyd serves", Duration::from_secs(60), async || {
            if let Err(error) = process.check() {
                return Ok(Err(error));
            }
            let text = std::fs::read(&log).unwrap_or_default();
            let new = &text[usize::try_from(before).unwrap_or(0).min(text.len())..];
            let new = String::from_utf8_lossy(new);
            let mut lines = new
                .lines()
                .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
            let serving = lines.find(|l| l["message"] == "serving");
            let address = serving.as_ref().and_then(|l| l["address"].as_str());
            address.map(|a| Ok(a.to_owned())).ok_or(new.into_owned())
        })
        .await??;
        let started = Self { process, address };
        let client = started.client();
        until("brainyd is ready", Duration::from_secs(60), async || {
            let answer = client
                .send(reqwest::Method::GET, "/readyz", &[], None)
                .await;
            let answer = answer.map_err(|e| e.to_string())?;
            holds(answer.status == 200, || answer.body)
        })
        .await?;
        Ok(started)
    }

    /// Where it answers, `http://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.url())
    }
}
