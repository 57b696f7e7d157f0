#!/usr/bin/env bash
# Builds the cluster's binaries from Go modules into the cache, gently: 25 CPU minutes when cold.
# Each component has a stamp made of its inputs; one that still fits is not built again.
set -euo pipefail
# shellcheck source=e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$E2E/local
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath"
COREDNS=v1.14.7

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
  local flags="-s -w" p tool inputs
  for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $p.gitVersion=v$K8S_VERSION -X $p.gitMajor=${K8S_VERSION%%.*}"
    flags+=" -X $p.gitMinor=$(cut -d. -f2 <<<"$K8S_VERSION")"
  done
  cd "$here/kubernetes"
  inputs="$(digest go.mod go.sum) $flags"
  for tool in kubectl kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet; do
    component "$tool" "$inputs" \
      go build -ldflags "$flags" -o "$BIN/$tool" "k8s.io/kubernetes/cmd/$tool"
  done
  component etcd "$inputs" go build -ldflags "-s -w" -o "$BIN/etcd" go.etcd.io/etcd/server/v3
}

nodetools() {
  cd "$E2E/nodetools"
  local csi=github.com/kubernetes-csi inputs
  inputs=$(digest go.mod go.sum)
  component csi-provisioner "$inputs" go build -ldflags "-s -w" -o "$BIN/" \
    "$csi/external-provisioner/v6/cmd/csi-provisioner"
  component csi-resizer "$inputs" go build -ldflags "-s -w" -o "$BIN/" \
    "$csi/external-resizer/v2/cmd/csi-resizer"
  component loopcsi "$inputs $(digest loopcsi/*.go)" \
    go build -ldflags "-s -w" -o "$BIN/" ./loopcsi
  component netpol "$inputs $(digest netpol/*.go)" go build -ldflags "-s -w" -o "$BIN/" ./netpol
}

mkdir -p "$BIN" "$CACHE/stamps"
packages
kubernetes
nodetools
component coredns "$COREDNS" env GOBIN="$BIN" go install -ldflags "-s -w" \
  "github.com/coredns/coredns@$COREDNS"
