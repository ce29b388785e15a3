//! A container's program as a process, and commands run beside it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use tokio::process::{Child, Command};

use super::env::expand;
use super::sandbox::Sandbox;

/// The search path of a container whose image says nothing else.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What is kept of the output of a command.
const OUTPUT_BYTES: usize = 10 * 1024;

/// Everything that starting a container needs, resolved and rewritten.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    image: String,
    program: PathBuf,
    arguments: Vec<String>,
    env: BTreeMap<String, String>,
    sandbox: Sandbox,
    dir: PathBuf,
    address: Ipv4Addr,
}

impl Launch {
    /// Resolves the command line. `dir` is the container's root, its working directory.
    ///
    /// # Errors
    /// The image has no such program, in the words of a runtime.
    pub(super) fn new(
        container: &Container,
        program: PathBuf,
        env: BTreeMap<String, String>,
        sandbox: Sandbox,
        dir: PathBuf,
        address: Ipv4Addr,
        host_name: &str,
    ) -> Result<Self, String> {
        let command = container.command.iter().flatten();
        let line = command.chain(container.args.iter().flatten());
        let mut line: Vec<String> = line.map(|text| expand(text, &env)).collect();
        let mut launch = Self {
            image: container.image.clone().unwrap_or_default(),
            program,
            arguments: Vec::new(),
            env: BTreeMap::new(),
            sandbox,
            dir,
            address,
        };
        if container.command.as_ref().is_some_and(|c| !c.is_empty()) {
            launch.find(&line.remove(0))?;
        }
        launch.arguments = launch.rewritten(&line);
        launch.env.insert("PATH".to_owned(), PATH.to_owned());
        launch
            .env
            .insert("HOSTNAME".to_owned(), host_name.to_owned());
        if let Some(tmp) = launch.sandbox.mount("/tmp") {
            let dir = tmp.dir.to_string_lossy().into_owned();
            launch.env.insert("TMPDIR".to_owned(), dir);
        }
        for (name, value) in env {
            launch.env.insert(name, launch.sandbox.rewrite(&value));
        }
        Ok(launch)
    }

    /// The pod's address.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }

    fn rewritten(&self, words: &[String]) -> Vec<String> {
        words
            .iter()
            .map(|word| self.sandbox.rewrite(word))
            .collect()
    }

    /// An image has one program: under its own name and that of the image, in any directory.
    fn find(&self, wanted: &str) -> Result<(), String> {
        let name = Path::new(wanted).file_name();
        let image = self.image.rsplit('/').next().unwrap_or_default();
        let image = image.split([':', '@']).next().unwrap_or_default();
        if name.is_some() && (name == self.program.file_name() || name == Some(image.as_ref())) {
            Ok(())
        } else {
            Err(format!(
                "failed to create containerd task: exec: \"{wanted}\": executable file not found in $PATH"
            ))
        }
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Starts the container's process; its output goes to `log`.
    pub(super) fn spawn(&self, log: &Path) -> std::io::Result<Child> {
        std::fs::create_dir_all(&self.dir)?;
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let errors = output.try_clone()?;
        self.command(&self.arguments)
            .stdout(output)
            .stderr(errors)
            .spawn()
    }

    /// Runs a command in the container, which ends with it if it takes longer than `within`.
    ///
    /// # Errors
    /// Its output and how it ended.
    pub(super) async fn exec(&self, line: &[String], within: Duration) -> Result<(), String> {
        let (first, rest) = line.split_first().ok_or("an empty command")?;
        self.find(first)?;
        let output = self
            .command(&self.rewritten(rest))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output();
        match tokio::time::timeout(within, output).await {
            Err(_) => Err(format!("command {line:?} timed out after {within:?}")),
            Ok(Err(error)) => Err(format!("command {line:?} cannot run: {error}")),
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => {
                let mut text = [output.stdout, output.stderr].concat();
                text.truncate(OUTPUT_BYTES);
                let text = String::from_utf8_lossy(&text).into_owned();
                let code = exit_code(output.status);
                Err(format!("command {line:?} exited with {code}: {text}"))
            }
        }
    }
}

/// As a runtime gives it: 128 and the signal for a process that a signal ended.
pub(super) fn exit_code(status: ExitStatus) -> i32 {
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal).unwrap_or(255)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::super::sandbox::Mount;
    use super::*;

    fn launch(container: serde_json::Value) -> Result<Launch, String> {
        let container: Container = serde_json::from_value(container).unwrap();
        let address = Ipv4Addr::new(127, 1, 1, 2);
        let mount = Mount {
            name: "tmp".to_owned(),
            path: "/tmp".to_owned(),
            dir: std::env::temp_dir(),
        };
        let env = BTreeMap::from([("IP".to_owned(), "1.2.3.4".to_owned())]);
        let sandbox = Sandbox::new(address, vec![mount]);
        let dir = std::env::temp_dir();
        Launch::new(
            &container,
            "/bin/sh".into(),
            env,
            sandbox,
            dir,
            address,
            "p-0",
        )
    }

    #[test]
    fn the_command_line_is_expanded_and_the_environment_is_that_of_the_pod() {
        let made = launch(
            json!({"name": "c", "image": "x/app:1", "command": ["/usr/bin/app"],
            "args": ["--listen=0.0.0.0:1", "--advertise=$(IP):1"]}),
        )
        .unwrap();
        assert_eq!(
            made.arguments,
            ["--listen=127.1.1.2:1", "--advertise=1.2.3.4:1"]
        );
        let names: Vec<&str> = made.env.keys().map(String::as_str).collect();
        assert_eq!(names, ["HOSTNAME", "IP", "PATH", "TMPDIR"]);
        let error =
            launch(json!({"name": "c", "image": "x/app:1", "command": ["curl"]})).unwrap_err();
        assert!(
            error.contains("\"curl\": executable file not found"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn commands_tell_how_they_ended() {
        let made = launch(json!({"name": "c", "image": "x/app:1"})).unwrap();
        let run = async |script: &str, within| {
            let line = ["sh", "-c", script].map(String::from);
            made.exec(&line, within).await
        };
        let long = Duration::from_secs(60);
        assert_eq!(run("test \"$HOSTNAME\" = p-0", long).await, Ok(()));
        let error = run("echo no; exit 3", long).await.unwrap_err();
        assert!(error.ends_with("exited with 3: no\n"), "{error}");
        let error = run("kill -9 $$", long).await.unwrap_err();
        assert!(error.contains("exited with 137"), "{error}");
        let error = run("sleep 100", Duration::from_millis(1))
            .await
            .unwrap_err();
        assert!(error.contains("timed out"), "{error}");
    }
}
