#!/usr/bin/env bash
# Proves a local cluster of three nodes in about 75 s, in the namespace `prove`, which it removes.
# It is the harness's own test: what the stories rely on is shown here to be real.
set -euo pipefail
# shellcheck source=e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$E2E/prove
cluster=$E2E/cluster
[ "$("$cluster" provider)" = local ] || fail "prove: it is about the provider local"

k() { "$E2E/local/provider" run kubectl --kubeconfig "$KUBECONFIG_FILE" -n prove "$@"; }
step() { printf '%3d s  %s\n' "$SECONDS" "$*"; }
must() { "$@" || fail "prove: not so: $*"; }
is() { [ "$("${@:2}" 2>/dev/null)" = "$1" ]; }
comes_to() { until_true 60 is "$@" || fail "prove: never '$1': ${*:2}"; }

settled() { k rollout status statefulset/db --timeout=60s >/dev/null; }
ready() { k wait --for=condition=Ready "$@" --timeout=60s >/dev/null; }
data() { k exec "db-$1" -- cat /data/x; }
node_of() { k get pod "db-$1" -o jsonpath='{.spec.nodeName}'; }
fetch() { k exec client -- timeout 2 wget -qO- "http://$1/x"; }
fill() { k exec "db-$1" -- sh -c "echo hello-$1 >/data/x"; }

start() {
  k apply -f "$here/example.yaml" >/dev/null
  settled
  ready pod/client
  for i in 0 1 2; do fill "$i"; done
  must is 3 nodes_used
  step "three pods with volumes, in three zones"
}
nodes_used() { for i in 0 1 2; do node_of "$i" && echo; done | sort -u | grep -c .; }

names() {
  for i in 0 1 2; do comes_to "hello-$i" fetch "db-$i.db-h:8080"; done
  fetch db >/dev/null
  step "headless names and the Service answer"
}

volumes() {
  k delete pod -l app=db >/dev/null
  settled
  for i in 0 1 2; do must is "hello-$i" data "$i"; done
  step "data survives the pods"
  k patch pvc data-db-0 -p '{"spec":{"resources":{"requests":{"storage":"128Mi"}}}}' >/dev/null
  comes_to 128Mi k get pvc data-db-0 -o 'jsonpath={.status.capacity.storage}'
  step "a volume grew with its pod running: $(k exec db-0 -- df -h /data | awk 'END {print $2}')"
  k delete pvc data-db-1 --wait=false >/dev/null
  k delete pod db-1 >/dev/null
  settled
  must is "" k exec db-1 -- ls /data
  fill 1
  step "a deleted volume comes back empty"
}

parts_killed() {
  local n
  n=$(node_of 0)
  # shellcheck disable=SC2016 # expanded inside the node
  "$cluster" node enter "$n" sh -c 'kill -9 $(pgrep -x kubelet) $(pgrep -x loopcsi)'
  sleep 3
  must is hello-0 data 0
  k delete pod db-0 >/dev/null
  settled
  must is hello-0 data 0
  step "kubelet and volume driver killed, volumes still there"
  "$cluster" kill-pod prove db-1 db
  comes_to 137 k get pod db-1 -o \
    'jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}'
  settled
  step "a container killed, started again"
}

drain() {
  local n
  n=$(node_of 2)
  k drain "$n" --ignore-daemonsets --force --timeout=60s >/dev/null 2>&1
  settled
  must test "$(node_of 2)" != "$n"
  must is hello-2 data 2
  k uncordon "$n" >/dev/null
  step "drained $n"
}

policy() {
  k apply -f "$here/example.yaml" >/dev/null # the client may have been on the drained node
  ready pod/client
  comes_to hello-0 fetch db-0.db-h:8080
  k apply -f "$here/deny.yaml" >/dev/null
  sleep 1
  if fetch db-0.db-h:8080 >/dev/null 2>&1; then fail "prove: the policy is not enforced"; fi
  k delete -f "$here/deny.yaml" >/dev/null
  comes_to hello-0 fetch db-0.db-h:8080
  step "NetworkPolicy enforced"
}

lost_node() {
  local n
  n=$(node_of 1)
  "$cluster" node kill "$n"
  k wait --for=condition=Ready=Unknown "node/$n" --timeout=60s >/dev/null
  k delete pod -l app=db --field-selector "spec.nodeName=$n" --force --grace-period=0 \
    >/dev/null 2>&1
  settled
  must test "$(node_of 1)" != "$n"
  must is hello-1 data 1
  step "node $n lost, its pods and volumes moved"
  "$cluster" node start "$n"
  ready "node/$n"
  step "node $n back"
}

audited() {
  grep -q '"verb":"patch".*"resource":"persistentvolumeclaims".*"name":"data-db-0"' "$AUDIT_LOG" ||
    fail "prove: the patch of the claim is not in the audit log $AUDIT_LOG"
  step "the audit log has it"
}

start
names
volumes
parts_killed
drain
policy
lost_node
audited
k delete namespace prove >/dev/null 2>&1
comes_to "" ls "$STATE/volumes"
step "all removed"
