//! `brainy-bench-config`: how soon a shared configuration is in force. See [`brainy_tests::config_bench`].

use std::process::ExitCode;

use brainy_tests::config_bench::{self, Args};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    config_bench::run(Args::parse()).await
}
