#!/usr/bin/env bash
# node.sh start I      starts node I, for the first time or after a kill
# node.sh kill I       ends all its processes at once, like a power cut; its disk stays
# node.sh enter I CMD  runs CMD in its mount, pid and network namespaces
set -euo pipefail
# shellcheck source=e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$E2E/local
verb=$1 i=$2 dir=$STATE/node$2
shift 2
[ -e "/run/netns/rs-n$i" ] || fail "the cluster has no node $i"

# alive: prints the pid of the unshare that holds the node, if the node runs
alive() {
  local pid
  pid=$(cat "$dir/pid" 2>/dev/null) || return 1
  grep -q node-init.sh "/proc/$pid/cmdline" 2>/dev/null || return 1
  echo "$pid"
}

cgroup() {
  local c
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then # v2 alone: best effort
    echo "+cpu +cpuset +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
    mkdir -p "/sys/fs/cgroup/rs-node$i"
    return
  fi
  for c in memory cpu cpuacct cpuset pids devices freezer blkio systemd; do
    mkdir -p "/sys/fs/cgroup/$c/rs-node$i"
  done
  for c in cpus mems; do
    cat "/sys/fs/cgroup/cpuset/cpuset.$c" >"/sys/fs/cgroup/cpuset/rs-node$i/cpuset.$c"
  done
}

pod_network() {
  cat >"$dir/cni/10-bridge.conflist" <<CONF
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$dir/ipam",
            "ranges": [[{"subnet": "10.244.$((i - 1)).0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
CONF
}

# restrict_oom_score_adj: runc may not lower it without CAP_SYS_RESOURCE, and every sandbox fails.
containerd_config() {
  cat >"$dir/containerd.toml" <<CONF
version = 2
root = "$dir/containerd"
state = "/run/containerd"
[grpc]
  address = "$dir/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "local.test/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
CONF
}

# syncFrequency: a kubelet sees a grown claim only at its pod's next sync.
# imageGCHighThresholdPercent: an image that is collected cannot be pulled again.
kubelet_config() {
  cat >"$dir/kubelet.yaml" <<CONF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  x509: {clientCAFile: $STATE/pki/ca.crt}
  anonymous: {enabled: false}
  webhook: {enabled: true}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /rs-node$i
cgroupsPerQOS: true
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://$dir/containerd.sock
enforceNodeAllocatable: []
evictionHard: {memory.available: "100Mi"}
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: false
nodeStatusUpdateFrequency: 4s
resolvConf: /dev/null
serializeImagePulls: false
syncFrequency: 5s
tlsCertFile: $STATE/pki/node$i.crt
tlsPrivateKeyFile: $STATE/pki/node$i.key
CONF
}

start() {
  if alive >/dev/null; then return 0; fi
  mkdir -p "$dir/cni" "$dir/containerd" "$dir/log"
  cgroup
  pod_network
  containerd_config
  kubelet_config
  # nsenter and not `ip netns exec`, which hides /sys/fs/cgroup.
  setsid nsenter --net="/run/netns/rs-n$i" \
    unshare --mount --pid --fork --kill-child --mount-proc \
    bash "$here/node-init.sh" "$i" >"$dir/log/init.log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
}

empty() { [ -z "$(ip netns pids "rs-n$i")" ]; }

kill_node() {
  local pid
  pid=$(alive) || fail "node $i does not run"
  kill -9 "$pid"
  until_true 30 empty || fail "node $i still has processes"
}

enter() {
  local pid
  pid=$(alive) || fail "node $i does not run"
  export CONTAINERD_ADDRESS=$dir/containerd.sock
  exec nsenter -t "$(pgrep -P "$pid")" --mount --pid --net "$@"
}

case $verb in
start) start ;;
kill) kill_node ;;
enter) enter "$@" ;;
*) fail "node: start, kill or enter, not '$verb'" ;;
esac
