//! `brainy-bench-modes`: what operational modes are good for. See [`brainy_tests::modes_bench`].

use std::process::ExitCode;

use brainy_tests::modes_bench::{self, Args};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    modes_bench::run(Args::parse()).await
}
