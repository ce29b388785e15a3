//! `brainy-bench-freshness`: how soon every reader sees a write. See [`brainy_tests::freshness_bench`].

use std::process::ExitCode;

use brainy_tests::freshness_bench::{self, Args};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    freshness_bench::run(Args::parse()).await
}
