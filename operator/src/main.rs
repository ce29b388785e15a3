//! `brainy-operator`: runs a BrainyCluster.
//!
//! [`reconcile`] decides, without I/O: from the spec and what is observed to what is to be done. [`local`] observes and acts
//! with processes on one machine. [`proxy`] is the one endpoint in front of them. See `README.md` beside this crate.

mod cli;
mod controller;
mod damage;
mod error;
mod hint;
mod keeper;
mod local;
mod probe;
mod proxy;
mod reconcile;
mod resources;
mod storage;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, LogFormat};
use error::OperatorError;

fn main() -> ExitCode {
    let (outcome, format) = match Cli::parse().command {
        Command::Run(args) => {
            let format = args.log_format;
            (controller::run(args), format)
        }
        Command::Local(args) => {
            let format = args.log_format;
            (local::run(args), format)
        }
        Command::Crd => (print_crd(), LogFormat::Text),
        Command::Probe(args) => (probe::run(&args), LogFormat::Text),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has what it wanted, as `head` does.
        Err(OperatorError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let text = error.to_string();
            match format {
                LogFormat::Text => eprintln!("brainy-operator: {text}"),
                // Not through the log, which may not have begun, or may go to a file.
                LogFormat::Json => {
                    let line = serde_json::json!({"level": "ERROR", "message": text, "target": "brainy_operator"});
                    eprintln!("{line}");
                }
            }
            error.exit_code()
        }
    }
}

fn print_crd() -> Result<(), OperatorError> {
    let yaml = brainy_crds::crd_yaml()?;
    let mut out = std::io::stdout().lock();
    out.write_all(yaml.as_bytes())
        .and_then(|()| out.flush())
        .map_err(OperatorError::Output)
}
