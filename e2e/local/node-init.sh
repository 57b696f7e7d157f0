#!/usr/bin/env bash
# The first process of node I, in its own mount, pid and network namespaces: when it ends, all its
# pods end. It starts each part again when that ends, so a kubelet can be killed alone.
set -uo pipefail
# shellcheck source=e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
i=$1 dir=$STATE/node$1
export PATH=$BIN:$PATH CONTAINERD_ADDRESS=$dir/containerd.sock

# rshared: volumes mounted by the kubelet must reach the pods. A /run of its own: shims and the
# pods' network namespaces go with the node, and nothing is left in the machine's /run.
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock
mount --bind /dev/null /etc/resolv.conf
for m in lib/kubelet lib/cni log; do
  mkdir -p "$dir/var/$m" "/var/$m"
  mount --bind "$dir/var/$m" "/var/$m"
done

keep() {
  local name=$1
  shift
  while :; do
    "$@" >>"$dir/log/$name.log" 2>&1
    sleep 1
  done
}

import() {
  local tar
  for tar in "$IMAGES"/*.tar "$STATE"/images/*.tar; do
    [ -f "$tar" ] || continue
    [ "$dir/imported" -nt "$tar" ] || ctr -n k8s.io images import "$tar"
  done
  touch "$dir/imported"
}

rm -f "$dir/containerd.sock"
keep containerd containerd --config "$dir/containerd.toml" &
until_true 60 ctr version
import >>"$dir/log/import.log" 2>&1
keep loopcsi loopcsi -node "node$i" -socket "$dir/csi.sock" -volumes "$STATE/volumes" &
keep proxy kube-proxy --kubeconfig "$STATE/pki/proxy.conf" --proxy-mode nftables \
  --cluster-cidr 10.244.0.0/16 --hostname-override "node$i" --conntrack-max-per-core 0 &
keep kubelet kubelet --config "$dir/kubelet.yaml" --kubeconfig "$STATE/pki/node$i.conf" \
  --hostname-override "node$i" --node-ip "10.210.0.1$i" --cert-dir "$dir/certs" \
  --node-labels "topology.kubernetes.io/zone=zone-$i" &
wait
