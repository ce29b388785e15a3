#!/usr/bin/env bash
# A real Kubernetes of one node on this machine, for the end-to-end tests: the pinned control plane with kubelet and kube-proxy,
# containerd, runc and CNI plugins, all in namespaces of their own. Needs Linux, and root or sudo. Nothing of the machine is
# configured: ending the node removes it without a trace, and it can run beside any other Kubernetes or Docker. Programs that
# are missing are installed from the distribution's packages.
#
# Usage: scripts/e2e-node.sh COMMAND
#   up              start the node; prints its KUBECONFIG
#   load FILE.tar   import images (make image-tar)
#   run             up and load if need be, then `make e2e` against it
#   exec COMMAND    run a command inside the node, such as `ctr -n k8s.io containers ls`
#   down            end the node and remove its files
#
#   BRAINY_NODE_DIR=dir   where it keeps its files (default /var/lib/brainy-e2e-node); not on an overlay file system
#
# The node is at 10.213.77.2, Pods have 10.213.80.0/24, Services 10.213.96.0/20: reachable from this machine only.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=${BRAINY_NODE_DIR:-/var/lib/brainy-e2e-node}
link=brainy-node # network interface on this side
url=https://10.213.77.2:6443
ready_within=180 # seconds

fail() {
  printf '\ne2e-node: %s\n' "$1" >&2
  exit 1
}

# Goes on as root: what needs it is namespaces, mounts and control groups.
become_root() {
  [ "$(id -u)" = 0 ] && return
  command -v sudo >/dev/null || fail 'a node needs root, and sudo is not here. Without root, use kind: docs/kind.md'
  exec sudo --preserve-env=HOME,PATH,BRAINY_CACHE,XDG_CACHE_HOME,BRAINY_NODE_DIR,KUBEBUILDER_ASSETS "$0" "$@"
}

install_missing() {
  local packages=() pair
  for pair in containerd:containerd runc:runc ip:iproute2 iptables:iptables openssl:openssl curl:curl cc:build-essential \
    nsenter:util-linux sysctl:procps python3:python3; do
    command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
  done
  [ -x /usr/lib/cni/ptp ] || packages+=(containernetworking-plugins)
  [ ${#packages[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || fail "install these, then try again: ${packages[*]}"
  echo "e2e-node: installing ${packages[*]}"
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
}

# The process that waits for the node; its only child is the node's first process.
keeper() {
  local pid
  pid=$(cat "$state/pid" 2>/dev/null) && grep -qsz "$state" "/proc/$pid/cmdline" && echo "$pid"
}

first_process() {
  local pid
  pid=$(keeper) && tr -d ' ' <"/proc/$pid/task/$pid/children" | grep .
}

certificate() { # name, common name, organisation, other extensions
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/O=$3/CN=$2" \
    -keyout "$pki/$1.key" -out "$pki/$1.csr" 2>/dev/null
  openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 30 \
    -extfile <(printf 'extendedKeyUsage=serverAuth,clientAuth\n%s\n' "${4:-}") -out "$pki/$1.crt" 2>/dev/null
  rm "$pki/$1.csr"
}

kubeconfig() { # name; prints one that needs no other file
  printf '{"apiVersion":"v1","kind":"Config","current-context":"brainy-node",
"clusters":[{"name":"brainy-node","cluster":{"server":"%s","certificate-authority-data":"%s"}}],
"users":[{"name":"%s","user":{"client-certificate-data":"%s","client-key-data":"%s"}}],
"contexts":[{"name":"brainy-node","context":{"cluster":"brainy-node","user":"%s"}}]}\n' "$url" "$(base64 -w 0 "$pki/ca.crt")" \
    "$1" "$(base64 -w 0 "$pki/$1.crt")" "$(base64 -w 0 "$pki/$1.key")" "$1"
}

credentials() (
  umask 077
  pki=$state/pki
  mkdir -p "$pki/kubelet"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=brainy-node \
    -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
  openssl genrsa -out "$pki/accounts.key" 2048 2>/dev/null
  certificate apiserver kube-apiserver brainy \
    'subjectAltName=IP:10.213.77.2,IP:10.213.96.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc'
  certificate admin brainy-node-admin system:masters
  certificate kubelet system:node:node system:nodes
  local name
  for name in kube-controller-manager kube-scheduler kube-proxy; do
    certificate "$name" "system:$name" brainy
  done
  for name in kubelet kube-controller-manager kube-scheduler kube-proxy admin; do
    kubeconfig "$name" >"$pki/$name.kubeconfig"
  done
  cp "$pki/admin.kubeconfig" "$state/kubeconfig"
  chown "${SUDO_UID:-0}" "$state/kubeconfig"
  # The controller manager does not run as root.
  chmod 711 "$state" "$pki"
  chmod 644 "$pki"/*.crt
  chown 65532 "$pki"/kube-controller-manager.* "$pki/accounts.key"
)

api() { # path, other arguments of curl
  curl --silent --show-error --fail --max-time 5 --cacert "$state/pki/ca.crt" --cert "$state/pki/admin.crt" \
    --key "$state/pki/admin.key" "$url$1" "${@:2}"
}

# Ready, and a Pod can be made: it needs its namespace's ServiceAccount.
node_is_ready() {
  api /api/v1/namespaces/default/serviceaccounts/default --output /dev/null 2>/dev/null || return 1
  api '/api/v1/nodes/node?pretty=false' 2>/dev/null | grep -q '"type":"Ready","status":"True"'
}

up() {
  local assets=${KUBEBUILDER_ASSETS:-} started version
  [ "$(uname -s)" = Linux ] || fail 'a node needs Linux. With Docker, kind gives the same: docs/kind.md'
  "$root/scripts/controlplane.sh" node # as whoever calls
  become_root up
  if keeper >/dev/null; then
    echo "e2e-node: it runs already. export KUBECONFIG=$state/kubeconfig"
    return
  fi
  install_missing
  down # what an earlier node may have left
  if [ -z "$assets" ]; then
    version=$(awk '$1 == "k8s.io/kubernetes" && $2 ~ /^v/ { print substr($2, 2); exit }' "$root/tests/controlplane/go.mod")
    assets=${BRAINY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/brainy}/tools/kubernetes-$version
  fi

  started=$SECONDS
  mkdir -p "$state"
  cp -r "$root/tests/node" "$state/config"
  : >"$state/config/resolv.conf"
  credentials
  cc -Os -static -o "$state/pause" "$root/tests/node/pause.c"
  "$root/scripts/image.py" --tar "$state/pause.tar" --tag node "$state/pause" >/dev/null

  setsid unshare --net --mount --pid --ipc --uts --fork --kill-child --mount-proc \
    bash "$state/config/init.sh" "$state" "$assets" >"$state/init.log" 2>&1 </dev/null &
  local pid=$!
  echo "$pid" >"$state/pid"
  # The other end waits for this one. `unshare` has entered the namespace once its own differs from ours.
  until [ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do
    kill -0 "$pid" 2>/dev/null || fail "the node did not start: $(cat "$state/init.log")"
    sleep 0.05
  done
  ip link add "$link" type veth peer name node0 netns "$pid"
  ip address add 10.213.77.1/30 dev "$link"
  ip link set "$link" up
  # Removed with the link.
  ip route add 10.213.80.0/24 via 10.213.77.2
  ip route add 10.213.96.0/20 via 10.213.77.2

  until [ -e "$state/started" ] && node_is_ready; do
    if [ -e "$state/failed" ] || ! kill -0 "$pid" 2>/dev/null; then
      fail "the node failed: $(cat "$state/failed" "$state/init.log" 2>/dev/null). Logs: $state/log"
    fi
    [ $((SECONDS - started)) -lt $ready_within ] || fail "the node is not Ready after $ready_within s. Logs: $state/log"
    sleep 0.2
  done
  api /apis/storage.k8s.io/v1/storageclasses --output /dev/null --header 'Content-Type: application/json' \
    --data @"$root/tests/node/storage-class.json"
  printf 'e2e-node: Ready after %s s\nexport KUBECONFIG=%s/kubeconfig\n' "$((SECONDS - started))" "$state"
}

inside() { # command
  local pid
  pid=$(first_process) || fail 'no node runs: scripts/e2e-node.sh up'
  nsenter --target "$pid" --all -- "$@"
}

load() { # archive
  [ -f "${1:-}" ] || fail "'${1:-}' is no file: make image-tar"
  become_root load "$1"
  inside ctr --namespace k8s.io images import - <"$1"
}

run() {
  local archive=${BRAINY_IMAGES:-${CARGO_TARGET_DIR:-$root/target}/images.tar}
  "$0" up
  "$0" load "$archive"
  KUBECONFIG=$state/kubeconfig BRAINY_E2E_REACH=direct make -C "$root" e2e
}

down() {
  become_root down
  local pid
  if pid=$(keeper); then
    # The kernel ends every process of the node with its first one, and mounts and network with the last.
    kill -KILL "$(first_process || echo "$pid")" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  fi
  ip link delete "$link" 2>/dev/null || true
  local group
  for group in /sys/fs/cgroup/brainy-node /sys/fs/cgroup/*/brainy-node; do
    if [ -d "$group" ]; then find "$group" -depth -type d -exec rmdir {} + ; fi
  done
  [ ! -e "$state/config" ] || rm -rf --one-file-system "$state"
}

case ${1:-} in
  up | down | run) "$1" ;;
  load) load "${2:-}" ;;
  exec)
    become_root "$@"
    inside "${@:2}"
    ;;
  *) fail 'which command? up, load FILE.tar, run, exec COMMAND or down' ;;
esac
