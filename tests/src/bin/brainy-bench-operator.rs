//! `brainy-bench-operator`: what the operator costs. See [`brainy_tests::operator_bench`].

use std::process::ExitCode;

use brainy_tests::operator_bench::{self, Args};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    operator_bench::run(Args::parse()).await
}
