#!/usr/bin/env bash
# Compiles Brainy's own crates so that libFuzzer sees where an input leads; all others as they are.
#
# The options of LLVM are those that cargo-fuzz gives; unlike its sanitizers they need no nightly compiler. Nearly all of
# Brainy is safe Rust, where a panic shows what a sanitizer would.
set -euo pipefail

name=
previous=
for argument in "$@"; do
    [[ $previous != --crate-name ]] || name=$argument
    previous=$argument
done
case $name in
brainy_coordination | brainy_dataplane | brainy_fuzz | brainy_index)
    exec "$@" -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
        -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
        -C llvm-args=-sanitizer-coverage-trace-compares -C codegen-units=1
    ;;
*) exec "$@" ;;
esac
