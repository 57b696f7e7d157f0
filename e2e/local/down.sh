#!/usr/bin/env bash
# Ends the cluster and removes all that it made: processes, namespaces, cgroups, loop devices,
# files.
# What is killed is what lives in the namespaces rs-cp and rs-n*, which only this harness makes.
set -euo pipefail
# shellcheck source=e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

mapfile -t names < <(ip netns list | awk '/^rs-(cp|n[1-9])( |$)/ {print $1}')
here=$(stat -L -c %i /proc/self/ns/net)
for n in "${names[@]}"; do
  [ "$(stat -L -c %i "/run/netns/$n")" != "$here" ] ||
    fail "down: this shell is inside the cluster's network: call it from outside"
done

pids() { for n in "${names[@]}"; do ip netns pids "$n"; done; }
end_processes() {
  local p
  p=$(pids)
  # shellcheck disable=SC2086 # a list of numbers
  [ -z "$p" ] || kill -9 $p 2>/dev/null || true
  [ -z "$(pids)" ]
}
until_true 20 end_processes || fail "down: still running: $(pids | paste -sd' ')"
for n in "${names[@]}"; do ip netns del "$n"; done
if [ -d /run/netns ] && [ -z "$(ls -A /run/netns)" ]; then
  umount /run/netns 2>/dev/null || true
  rmdir /run/netns 2>/dev/null || true
fi

no_cgroups() {
  local d left=0
  for d in /sys/fs/cgroup/rs-node* /sys/fs/cgroup/*/rs-node*; do
    [ -d "$d" ] || continue
    find "$d" -depth -type d -exec rmdir {} + 2>/dev/null || left=1
  done
  return "$left"
}
until_true 5 no_cgroups || say "note: control groups rs-node* are still there" >&2

no_loops() { ! losetup -n -O NAME,BACK-FILE | grep -qF " $STATE/"; }
until_true 5 no_loops || say "note: still attached: $(losetup -n -O NAME,BACK-FILE)" >&2

if [ -d "$STATE" ]; then
  [ -O "$STATE" ] || fail "down: $STATE belongs to somebody else"
  rm -rf "$STATE"
fi
# The nodes' mount points, if nothing else uses them.
rmdir /var/lib/kubelet /var/lib/cni 2>/dev/null || true
