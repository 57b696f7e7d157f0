#!/usr/bin/env bash
# Builds the cluster's binaries from one Go module into the cache, gently: what they share is
# compiled once. Each has a stamp made of its inputs; one that still fits is not built again.
set -euo pipefail
# shellcheck source=e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$E2E/local

packages() {
  local missing
  missing=$("$here/check.sh" | sed -n 's/^todo  packages *apt-get install //p' || true)
  [ -n "$missing" ] || return 0
  [ "$EUID" -eq 0 ] || fail "these Debian packages are missing, and only root can install: $missing"
  say "installing Debian packages: $missing"
  # shellcheck disable=SC2086 # a list of words
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq \
    --no-install-recommends $missing; } >"$CACHE/apt.log" 2>&1 ||
    fail "apt-get install $missing failed, see $CACHE/apt.log"
}

# component NAME INPUTS CMD...: runs CMD unless the stamp says that INPUTS (a text) were built.
component() {
  local name=$1 inputs=$2 stamp=$CACHE/stamps/$1
  shift 2
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$inputs" ]; then return 0; fi
  timed "$name" nice -n 15 "$@"
  say "$inputs" >"$stamp"
}

digest() { cat "$@" | sha256sum | cut -c1-16; }

kubernetes() {
  local flags="-s -w" p tool
  for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $p.gitVersion=v$K8S_VERSION -X $p.gitMajor=${K8S_VERSION%%.*}"
    flags+=" -X $p.gitMinor=$(cut -d. -f2 <<<"$K8S_VERSION")"
  done
  for tool in kubectl kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet; do
    component "$tool" "$modules $flags" \
      go build -ldflags "$flags" -o "$BIN/$tool" "k8s.io/kubernetes/cmd/$tool"
  done
  component etcd "$modules" go build -ldflags "-s -w" -o "$BIN/etcd" go.etcd.io/etcd/server/v3
}

nodetools() {
  local csi=github.com/kubernetes-csi tool
  for tool in external-provisioner/v6/cmd/csi-provisioner external-resizer/v2/cmd/csi-resizer; do
    component "${tool##*/}" "$modules" go build -ldflags "-s -w" -o "$BIN/" "$csi/$tool"
  done
  for tool in coredns loopcsi netpol; do
    component "$tool" "$modules $(digest "nodetools/$tool"/*.go)" \
      go build -ldflags "-s -w" -o "$BIN/" "./nodetools/$tool"
  done
}

mkdir -p "$BIN" "$CACHE/stamps"
packages
# Who else builds is waited for.
exec 9>"$CACHE/build.lock"
flock 9
cd "$E2E"
modules=$(digest go.mod go.sum)
kubernetes
nodetools
