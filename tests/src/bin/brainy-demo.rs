//! `brainy-demo`: a cluster at work. See [`brainy_tests::demo`].

use std::process::ExitCode;

use brainy_tests::demo::{self, Args};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    demo::run(Args::parse()).await
}
