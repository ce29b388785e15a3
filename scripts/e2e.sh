#!/usr/bin/env bash
# Runs the end-to-end scenarios against the Kubernetes that KUBECONFIG names. It installs the operator's chart and an S3 server in
# the namespace brainy-e2e-system, and runs clusters in brainy-e2e; the operator sees no other namespace. All that is removed at the
# end. A CustomResourceDefinition that was there before is used and left alone. Usage: scripts/e2e.sh [arguments of the test program, such as the name of a scenario]
#
#   BRAINY_E2E_TAG=tag        tag of the images on the nodes (default: the version of this tree)
#   BRAINY_E2E_REGISTRY=name  where nodes pull them from, such as registry.example.com/team (default: they are there already)
#   BRAINY_E2E_REACH=direct   addresses of pods are reached from here; else requests go through the API server
#   BRAINY_E2E_KEEP=1         leave everything as it is at the end
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
system=brainy-e2e-system
clusters=brainy-e2e

fail() {
  printf '\ne2e: %s\n' "$1" >&2
  exit 1
}

[ -n "${KUBECONFIG:-}" ] || fail 'KUBECONFIG names no Kubernetes. docs/kind.md makes one with kind; make e2e-node needs neither kind nor Docker'
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
tag=${BRAINY_E2E_TAG:-$version}
registry=${BRAINY_E2E_REGISTRY:+$BRAINY_E2E_REGISTRY/}
helm=$("$root/scripts/helm.sh" helm)
kubectl=$("$root/scripts/helm.sh" kubectl)

finish() {
  local status=$?
  if [ "$status" != 0 ]; then
    echo '--- what was there when it failed' >&2
    "$kubectl" get pods,statefulsets,brainyclusters --namespace "$clusters" --output wide >&2 || true
    "$kubectl" get events --namespace "$clusters" --sort-by .lastTimestamp >&2 | tail -n 40 || true
    "$kubectl" get pods --namespace "$system" --output wide >&2 || true
    "$kubectl" logs --namespace "$system" --selector app.kubernetes.io/name=brainy-operator --tail 100 >&2 || true
  fi
  if [ -z "${BRAINY_E2E_KEEP:-}" ]; then
    # Clusters first: the operator may have to finish them.
    "$kubectl" delete brainyclusters --all --namespace "$clusters" --ignore-not-found --timeout 2m || true
    "$helm" uninstall brainy-operator --namespace "$system" --ignore-not-found --wait || true
    "$kubectl" delete namespace "$clusters" "$system" --ignore-not-found --timeout 2m || true
  fi
  exit "$status"
}
trap finish EXIT

for namespace in "$system" "$clusters"; do
  "$kubectl" create namespace "$namespace" --dry-run=client --output yaml | "$kubectl" apply --server-side -f -
done
sed "s|image: brainy-s3:.*|image: ${registry}brainy-s3:$tag|" "$root/examples/kind/s3.yaml" |
  "$kubectl" apply --server-side --namespace "$system" -f -
# Ours goes with the release. Somebody else's stays, and so do their clusters.
crds=(--set crds.keep=false)
owner=$("$kubectl" get customresourcedefinition brainyclusters.brainy.io --ignore-not-found \
  --output 'jsonpath=found {.metadata.annotations.meta\.helm\.sh/release-namespace}')
if [ -n "$owner" ] && [ "$owner" != "found $system" ]; then
  echo 'e2e: using the CustomResourceDefinition that is there, whatever its version'
  crds=(--set crds.install=false)
fi
"$helm" upgrade --install brainy-operator "$root/charts/brainy-operator" --namespace "$system" --wait --timeout 3m \
  --set "image.repository=${registry}brainy-operator,image.tag=$tag" \
  --set "clusterImage.repository=${registry}brainyd,clusterImage.tag=$tag" \
  --set "scope.namespaces={$clusters}" "${crds[@]}"
"$kubectl" rollout status statefulset/brainy-s3 --namespace "$system" --timeout 2m
"$helm" test brainy-operator --namespace "$system"

export BRAINY_E2E_NAMESPACE=$clusters BRAINY_E2E_OPERATOR_NAMESPACE=$system
export BRAINY_E2E_S3_ENDPOINT=http://brainy-s3.$system.svc:9000 BRAINY_E2E_IMAGE=${registry}brainyd:$tag
cd "$root"
# shellcheck disable=SC2086 # CARGO_FLAGS is a list
cargo test ${CARGO_FLAGS:-} --workspace --test kubernetes_e2e -- --ignored --test-threads 1 "$@"
