//! `brainy-bench-coordination`: what coordination costs. See [`brainy_tests::coordination_bench`].

use std::process::ExitCode;

use brainy_tests::coordination_bench::{self, Args};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    coordination_bench::run(Args::parse()).await
}
