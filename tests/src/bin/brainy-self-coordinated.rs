//! `brainy-self-coordinated`: nodes without an orchestrator at work. See [`brainy_tests::by_hand`].

use std::process::ExitCode;

use brainy_tests::by_hand::{self, Args};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    by_hand::run(Args::parse()).await
}
