//! `brainy-bench-exchange`: how soon another cluster sees a write. See [`brainy_tests::exchange_bench`].

use std::process::ExitCode;

use brainy_tests::exchange_bench::{self, Args};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    exchange_bench::run(Args::parse()).await
}
