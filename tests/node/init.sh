#!/usr/bin/env bash
# The first process of the node, in namespaces of its own; scripts/e2e-node.sh starts it. When it ends, all of the node ends:
# processes, mounts, network. What it changes is either inside those namespaces or below the directory given.
# Usage: init.sh STATE ASSETS     (after `unshare --net --mount --pid --ipc --uts --fork --mount-proc`)
set -euo pipefail
state=$1 assets=$2

# From here on the state is at /mnt, whatever it is called outside: configuration files need no templates.
mount --make-rprivate /
mkdir -p "$state"/{bin,cgroup,log,lib,tmp,containerd,volume-plugins}
mount --bind "$state" /mnt
mount --bind "$assets" /mnt/bin
mount --rbind /sys/fs/cgroup /mnt/cgroup
mount -t sysfs sysfs /sys # of this network namespace
mount --rbind /mnt/cgroup /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock
mount --bind /mnt/lib /var/lib
mount --bind /mnt/log /var/log
chmod 1777 /mnt/tmp
mount --bind /mnt/tmp /tmp
cd /mnt

# The kubelet and its friends set these for the whole machine if they differ from what they want. Here they find what they want.
pretend() { # file below /proc/sys, value
  [ -e "/proc/sys/$1" ] || return 0
  echo "$2" >"/mnt/config/${1//\//.}"
  mount --bind "/mnt/config/${1//\//.}" "/proc/sys/$1"
}
pretend vm/overcommit_memory 1
pretend vm/panic_on_oom 0
pretend kernel/panic 10
pretend kernel/panic_on_oops 1
pretend kernel/keys/root_maxkeys 1000000
pretend kernel/keys/root_maxbytes 25000000

# Pods reach the API server, Services and each other by routing, so neither a bridge nor its kernel module is needed.
ip link set lo up
until ip link set node0 up 2>/dev/null; do sleep 0.05; done # it comes from outside
ip address add 10.213.77.2/30 dev node0
ip route add default via 10.213.77.1
sysctl -q -w net.ipv4.ip_forward=1

for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
  # Version 2 is one hierarchy, version 1 has one for each controller.
  [ -e "$hierarchy/cgroup.procs" ] || continue
  case $(stat -f -c %T "$hierarchy") in cgroup*) ;; *) continue ;; esac
  [ -e "$hierarchy/cgroup.type" ] || mkdir -p "$hierarchy/brainy-node"
done

fail() {
  echo "$1" >/mnt/failed
  exit 1
}
start() { # name, program and arguments
  local name=$1
  shift
  "$@" >"/mnt/log/$name.log" 2>&1 &
  names[$!]=$name
}
declare -A names
answers() { curl --silent --fail --output /dev/null --max-time 2 --cacert /mnt/pki/ca.crt --cert /mnt/pki/admin.crt --key /mnt/pki/admin.key "$@"; }

start etcd bin/etcd --data-dir /mnt/etcd --unsafe-no-fsync --log-level warn \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
  --initial-cluster default=http://127.0.0.1:2380
start containerd containerd --config /mnt/config/containerd.toml
start kube-apiserver bin/kube-apiserver --etcd-servers http://127.0.0.1:2379 \
  --bind-address 10.213.77.2 --advertise-address 10.213.77.2 --service-cluster-ip-range 10.213.96.0/20 \
  --tls-cert-file pki/apiserver.crt --tls-private-key-file pki/apiserver.key --client-ca-file pki/ca.crt \
  --kubelet-client-certificate pki/admin.crt --kubelet-client-key pki/admin.key \
  --kubelet-preferred-address-types InternalIP \
  --service-account-issuer https://kubernetes.default.svc --service-account-signing-key-file pki/accounts.key \
  --service-account-key-file pki/accounts.key --authorization-mode Node,RBAC \
  --enable-admission-plugins NodeRestriction --allow-privileged
until [ -S /run/containerd/containerd.sock ] && ctr version >/dev/null 2>&1; do sleep 0.1; done
ctr --namespace k8s.io images import /mnt/pause.tar >/dev/null
until answers https://10.213.77.2:6443/readyz; do
  kill -0 "${!names[@]}" || fail 'it ended before the API server answered'
  sleep 0.2
done
# As the user of Brainy's images: volumes that it provisions belong to it, and to nobody else.
start kube-controller-manager setpriv --reuid 65532 --regid 65532 --clear-groups bin/kube-controller-manager --kubeconfig pki/kube-controller-manager.kubeconfig \
  --authentication-kubeconfig pki/kube-controller-manager.kubeconfig \
  --authorization-kubeconfig pki/kube-controller-manager.kubeconfig \
  --root-ca-file pki/ca.crt --service-account-private-key-file pki/accounts.key --use-service-account-credentials \
  --leader-elect=false --enable-hostpath-provisioner --flex-volume-plugin-dir /mnt/volume-plugins
start kube-scheduler bin/kube-scheduler --kubeconfig pki/kube-scheduler.kubeconfig --leader-elect=false \
  --authentication-kubeconfig pki/kube-scheduler.kubeconfig --authorization-kubeconfig pki/kube-scheduler.kubeconfig
start kube-proxy bin/kube-proxy --config config/kube-proxy.yaml
start coredns bin/coredns -conf config/Corefile
start kubelet bin/kubelet --config config/kubelet.yaml --kubeconfig pki/kubelet.kubeconfig --hostname-override node \
  --node-ip 10.213.77.2 --cert-dir /mnt/pki/kubelet
touch /mnt/started

# All or nothing: a node that lost a part would only make tests fail in strange ways.
wait -n -p ended || true
fail "${names[$ended]:-process $ended} ended"
