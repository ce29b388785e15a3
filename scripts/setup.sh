#!/usr/bin/env bash
# Checks what this machine needs to build and test Brainy, and installs what Debian or Ubuntu packages can give.
# Safe to run again: it does nothing when nothing is missing. Usage: scripts/setup.sh [build|test|clients|bench]
set -euo pipefail

need_rust=1.95
need_python=3.11
need_node=18.17
scope=${1:-test}

missing_packages=() # Debian packages
missing_rust=''     # what to do about Rust, in words

have() { command -v "$1" >/dev/null 2>&1; }
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; } # version, minimum

check_rust() {
  local version
  if ! have cargo; then
    missing_rust="Rust $need_rust or newer is not installed"
    return
  fi
  version=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || version=none
  if ! at_least "$version" "$need_rust"; then
    missing_rust="cargo is $version, $need_rust or newer is needed"
  elif ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    missing_rust="rustfmt or clippy is missing beside cargo $version"
  fi
}

check_packages() {
  missing_packages=()
  have cc || missing_packages+=(build-essential)
  [ "$scope" = build ] && return
  if ! have python3; then
    missing_packages+=(python3 python3-venv)
  elif ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing_packages+=(python3-venv)
  fi
  if [ "$scope" = clients ]; then
    have node || missing_packages+=(nodejs)
    have npm || missing_packages+=(npm)
  fi
  # The method pubsub is tested against the real server. Debian puts it where not every PATH leads.
  if [ "$scope" = test ] && ! have nats-server && [ ! -x /usr/sbin/nats-server ]; then
    missing_packages+=(nats-server)
  fi
  [ "$scope" = bench ] || return 0
  have c++ || missing_packages+=(build-essential)
  python3 -c 'import os, sysconfig as s; os.stat(s.get_path("include") + "/Python.h")' 2>/dev/null || missing_packages+=(python3-dev)
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_install() { have apt-get && { [ "$(id -u)" = 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }; }

# Debian's own cargo, where it is new enough.
debian_rust_suffices() {
  have apt-cache || return 1
  local candidate
  candidate=$(apt-cache policy cargo | sed -n 's/^ *Candidate: *//p')
  [ -n "$candidate" ] && [ "$candidate" != '(none)' ] && at_least "${candidate%%[+~-]*}" "$need_rust"
}

fail() {
  printf '\nsetup: %s\n' "$1" >&2
  exit 1
}

check_rust
check_packages

if [ ${#missing_packages[@]} -gt 0 ]; then
  can_install || fail "install these packages, then try again: ${missing_packages[*]}
  Debian, Ubuntu:  sudo apt-get install ${missing_packages[*]}
  elsewhere:       a C compiler named cc$([ "$scope" = build ] || echo ", Python $need_python or newer with venv")$([ "$scope" != test ] || echo ", nats-server")$([ "$scope" != clients ] || echo ", Node $need_node or newer with npm")"
  echo "setup: installing ${missing_packages[*]}"
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing_packages[@]}"
  check_packages
  [ ${#missing_packages[@]} -eq 0 ] || fail "still missing after installation: ${missing_packages[*]}"
fi

if [ -n "$missing_rust" ] && ! have cargo && can_install && debian_rust_suffices; then
  echo 'setup: installing cargo, rustfmt and clippy from the distribution'
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends cargo rustfmt rust-clippy
  missing_rust=''
  check_rust
fi
if [ -n "$missing_rust" ]; then
  if have rustup; then
    fail "$missing_rust. With rustup:
  rustup toolchain install $need_rust --profile minimal --component rustfmt --component clippy
  rustup default $need_rust"
  fi
  fail "$missing_rust. Install it from https://rustup.rs (Debian 13 and Ubuntu 24.04: sudo apt-get install rustup), then:
  rustup toolchain install $need_rust --profile minimal --component rustfmt --component clippy
  rustup default $need_rust"
fi

if [ "$scope" != build ]; then
  python=$(python3 -c 'import platform; print(platform.python_version())')
  at_least "$python" "$need_python" || fail "python3 is $python, $need_python or newer is needed"
fi

if [ "$scope" = clients ]; then
  node=$(node --version | tr -d v)
  at_least "$node" "$need_node" || fail "node is $node, $need_node or newer is needed"
fi
