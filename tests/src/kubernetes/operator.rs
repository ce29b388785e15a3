//! The operator as a process, with the rights that the chart gives it and no others.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::HarnessError;
use crate::process::{Process, program, tail};
use crate::wait::{holds, until};

/// The operator is ready within this time.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How an operator is run.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// Namespaces that it looks after; all if empty.
    pub namespaces: Vec<String>,
    /// Where its lease lives; `None` runs it without leader election.
    pub lease_namespace: Option<String>,
    /// Image of pods whose cluster names none.
    pub default_image: String,
    /// Kubeconfig with its ServiceAccount's token.
    pub kubeconfig: PathBuf,
    /// Directory for its log.
    pub dir: PathBuf,
    /// Tells operators of one test apart.
    pub name: String,
}

/// A running operator. Dropping it kills it.
#[derive(Debug)]
pub struct OperatorProcess {
    options: OperatorOptions,
    process: Process,
    metrics: String,
}

impl OperatorProcess {
    /// Starts it and waits until it is ready; a candidate that does not lead is ready, too.
    ///
    /// # Errors
    /// It ends, or is not ready in time; the message has the end of its log.
    pub async fn start(options: OperatorOptions) -> Result<Self, HarnessError> {
        let metrics = free_address()?;
        let mut arguments: Vec<OsString> = ["run", "--log-format", "json"].map(Into::into).to_vec();
        let mut flag = |name: &str, value: &str| {
            arguments.extend([OsString::from(name), OsString::from(value)]);
        };
        flag("--metrics-listen", &metrics);
        flag("--default-image", &options.default_image);
        if !options.namespaces.is_empty() {
            flag("--namespaces", &options.namespaces.join(","));
        }
        match &options.lease_namespace {
            Some(namespace) => flag("--lease-namespace", namespace),
            None => flag("--leader-elect", "false"),
        }
        let kubeconfig = options.kubeconfig.display().to_string();
        let environment = [("KUBECONFIG".to_owned(), kubeconfig)];
        let log = log_file(&options);
        let process = Process::start(&program("brainy-operator")?, &arguments, &environment, log)?;
        let mut started = Self {
            options,
            process,
            metrics,
        };
        started.wait_ready().await?;
        Ok(started)
    }

    async fn wait_ready(&mut self) -> Result<(), HarnessError> {
        let url = format!("http://{}/readyz", self.metrics);
        let http = reqwest::Client::new();
        let log = self.log_file();
        let process = &mut self.process;
        until("the operator is ready", READY_WITHIN, async || {
            if let Err(ended) = process.check() {
                return Ok(Err(ended));
            }
            let answer = http.get(&url).send().await;
            let status = answer.map(|a| a.status().as_u16()).unwrap_or(0);
            holds(status == 200, || format!("{status}\n{}", tail(&log)))?;
            Ok(Ok(()))
        })
        .await?
    }

    /// Kills it as a crash would and starts another in its place.
    ///
    /// # Errors
    /// As [`OperatorProcess::start`].
    pub async fn kill_and_restart(self) -> Result<Self, HarnessError> {
        let options = self.kill().await?;
        Self::start(options).await
    }

    /// Kills it as a crash would.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn kill(mut self) -> Result<OperatorOptions, HarnessError> {
        self.process.kill().await?;
        Ok(self.options.clone())
    }

    /// Its metrics.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metrics(&self) -> Result<String, HarnessError> {
        let url = format!("http://{}/metrics", self.metrics);
        let lost = |e: reqwest::Error| HarnessError::NoAnswer {
            request: "GET /metrics of the operator".to_owned(),
            message: e.to_string(),
        };
        let answer = reqwest::get(&url).await.map_err(lost)?;
        answer.text().await.map_err(lost)
    }

    /// The sum of a metric over its labels; 0 if it is not there.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metric(&self, name: &str) -> Result<f64, HarnessError> {
        let text = self.metrics().await?;
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            if !rest.starts_with([' ', '{']) {
                return None;
            }
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        };
        Ok(text.lines().filter_map(value).sum())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        tail(&self.log_file())
    }

    fn log_file(&self) -> PathBuf {
        log_file(&self.options)
    }
}

fn log_file(options: &OperatorOptions) -> PathBuf {
    Path::new(&options.dir).join(format!("{}.log", options.name))
}

/// An address that nobody listens on at this moment.
fn free_address() -> Result<String, HarnessError> {
    let bound = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr());
    let address = bound.map_err(HarnessError::io("find", "a free port"))?;
    Ok(address.to_string())
}
