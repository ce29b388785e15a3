//! `brainy-operator`: runs a BrainyCluster.
//!
//! [`reconcile`] decides, without I/O: from the spec and what is observed to what is to be done. [`local`] observes and acts
//! with processes on one machine. [`proxy`] is the one endpoint in front of them. See `README.md` beside this crate.

mod cli;
mod error;
mod local;
mod proxy;
mod reconcile;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use error::OperatorError;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Local(args) => local::run(args),
        Command::Crd => print_crd(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("brainy-operator: {error}");
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
