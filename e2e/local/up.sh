#!/usr/bin/env bash
# up.sh NODES: a cluster of 1 to 9 nodes. The control plane is in the network namespace rs-cp,
# node I in rs-nI; a bridge in rs-cp joins them. No way out of these namespaces exists, and none
# is wanted.
set -euo pipefail
# shellcheck source=e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$E2E/local
# shellcheck source=e2e/local/pki.sh
source "$here/pki.sh"
nodes=$1
[[ $nodes =~ ^[1-9]$ ]] || fail "up: 1 to 9 nodes, not '$nodes'"
if ip netns list | grep -qw rs-cp; then fail "a cluster is there: e2e/cluster down removes it"; fi

at() { nsenter --net="/run/netns/$1" "${@:2}"; }
k() { at rs-cp "$BIN/kubectl" --kubeconfig "$KUBECONFIG_FILE" "$@"; }

network() {
  local i j n
  ip netns add rs-cp
  at rs-cp ip link set lo up
  # A fixed address: without it the bridge's changes as ports join, and nodes lose the way for 30 s.
  at rs-cp ip link add br0 address 02:00:0a:d2:00:01 type bridge
  at rs-cp ip addr add 10.210.0.1/24 dev br0
  at rs-cp ip link set br0 up
  at rs-cp sysctl -qw net.ipv4.ip_forward=1
  for i in $(seq "$nodes"); do
    n=rs-n$i
    ip netns add "$n"
    ip link add "v$i" netns rs-cp type veth peer name eth0 netns "$n"
    at rs-cp ip link set "v$i" master br0 up
    at rs-cp ip route add "10.244.$((i - 1)).0/24" via "10.210.0.1$i"
    at "$n" ip link set lo up
    at "$n" ip addr add "10.210.0.1$i/24" dev eth0
    at "$n" ip link set eth0 up
    at "$n" ip route add default via 10.210.0.1
    at "$n" sysctl -qw net.ipv4.ip_forward=1
    for j in $(seq "$nodes"); do
      [ "$j" = "$i" ] || at "$n" ip route add "10.244.$((j - 1)).0/24" via "10.210.0.1$j"
    done
  done
}

# part NAME CMD...: a process of the control plane, with a log of its own
part() {
  setsid nsenter --net=/run/netns/rs-cp "${@:2}" >"$STATE/log/$1.log" 2>&1 </dev/null &
}

api_server() {
  part etcd "$BIN/etcd" --data-dir "$STATE/etcd" --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
  part apiserver "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
    --bind-address=10.210.0.1 --advertise-address=10.210.0.1 \
    --client-ca-file="$PKI/ca.crt" \
    --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
    --kubelet-client-certificate="$PKI/admin.crt" --kubelet-client-key="$PKI/admin.key" \
    --kubelet-preferred-address-types=InternalIP \
    --service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key" \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-cluster-ip-range=10.96.0.0/16 --enable-aggregator-routing=true \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --allow-privileged=true \
    --default-not-ready-toleration-seconds=30 --default-unreachable-toleration-seconds=30 \
    --audit-policy-file="$here/manifests/audit.yaml" --audit-log-path="$AUDIT_LOG" \
    --audit-log-maxsize=1000
  until_true 60 k get --raw /readyz || fail "the API server is not ready, see $STATE/log"
}

controllers() {
  # The Node authorizer's view lags a few ms behind; a kubelet that it refuses a new pod's volume
  # asks again only after 10 to 20 s.
  k create clusterrolebinding nodes --clusterrole=system:node --group=system:nodes >/dev/null
  part kcm "$BIN/kube-controller-manager" --kubeconfig "$PKI/kcm.conf" \
    --cluster-cidr=10.244.0.0/16 --allocate-node-cidrs=false \
    --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" \
    --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
    --use-service-account-credentials --leader-elect=false --node-monitor-grace-period=20s
  part sched "$BIN/kube-scheduler" --kubeconfig "$PKI/sched.conf" --leader-elect=false
  part loopcsi "$BIN/loopcsi" -controller -socket "$STATE/csi.sock" -volumes "$STATE/volumes"
  part netpol "$BIN/netpol" -kubeconfig "$KUBECONFIG_FILE" -nodes '/run/netns/rs-n*'
  until_true 10 test -S "$STATE/csi.sock" || fail "loopcsi did not start, see $STATE/log"
  part provisioner "$BIN/csi-provisioner" --csi-address "$STATE/csi.sock" \
    --kubeconfig "$KUBECONFIG_FILE" --feature-gates=Topology=true --default-fstype=xfs
  part resizer "$BIN/csi-resizer" --csi-address "$STATE/csi.sock" --kubeconfig "$KUBECONFIG_FILE"
}

state_dir
certificates "$nodes"
network
api_server
controllers
for i in $(seq "$nodes"); do "$here/node.sh" start "$i"; done
k apply -f "$here/manifests/coredns.yaml" -f "$here/manifests/csi.yaml" >/dev/null
for i in $(seq "$nodes"); do k wait --for=create "node/node$i" --timeout=60s >/dev/null; done
k wait --for=condition=Ready node --all --timeout=60s >/dev/null
k -n kube-system rollout status deployment/coredns --timeout=120s >/dev/null
