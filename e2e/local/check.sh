#!/usr/bin/env bash
# Says what this machine has and lacks for the provider local: a line per finding. Changes nothing.
# ok = there; todo = the step `build` does it; note = not proven; FAIL = cannot run.
set -euo pipefail
# shellcheck source=e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$E2E/local
bad=0

finding() {
  printf '%-5s %-9s %s\n' "$1" "$2" "$3"
  [ "$1" != FAIL ] || bad=1
}

rights() {
  if [ "$EUID" -ne 0 ]; then
    finding FAIL rights "not root: namespaces, mounts and cgroups need it (kind needs Docker only)"
  elif ! unshare --net --mount --pid --fork true 2>/dev/null; then
    finding FAIL rights "root, but new namespaces are refused: run outside of this container"
  else
    finding ok rights "root, may make namespaces"
  fi
}

cgroups() {
  local probe=/sys/fs/cgroup/memory/rs-probe kind="v1 or hybrid, as proven"
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    probe=/sys/fs/cgroup/rs-probe kind="v2 alone"
  fi
  if ! mkdir -p "$probe" 2>/dev/null || ! rmdir "$probe"; then
    finding FAIL cgroups "$kind, but ${probe%/*} cannot be written"
  elif [ "$kind" = "v2 alone" ]; then
    finding note cgroups "v2 alone: best effort, not proven (v1 and hybrid are)"
  else
    finding ok cgroups "$kind"
  fi
}

packages() {
  local p missing=""
  if ! command -v dpkg-query >/dev/null; then
    finding FAIL packages "not Debian: install these by hand: $(paste -sd' ' "$here/packages.txt")"
    return
  fi
  while read -r p; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=" $p"
  done <"$here/packages.txt"
  if [ -z "$missing" ]; then
    finding ok packages "all there"
  else
    finding todo packages "apt-get install$missing"
  fi
}

toolchain() {
  local want have
  want=$(awk '$1 == "go" {print $2}' "$E2E/go.mod")
  have=$(go env GOVERSION 2>/dev/null || true)
  if [ -z "$have" ]; then
    if [ -f "$CACHE/stamps/netpol" ]; then
      finding note go "not there, but everything was built before"
    else
      finding FAIL go "not there: install Go $want or newer"
    fi
  elif [ "$(printf '%s\n' "$want" "${have#go}" | sort -V | head -1)" != "$want" ]; then
    finding FAIL go "$have is too old: install Go $want or newer"
  else
    finding ok go "$have"
  fi
}

# free DIR: free space in GiB of the nearest folder that exists.
free() {
  local d=$1
  until [ -d "$d" ]; do d=$(dirname "$d"); done
  df --output=avail -BG "$d" | tail -1 | tr -dc 0-9
}

disk() {
  local need=14 have # measured: 8.5 GiB of Go's build cache, 3 of modules, 1 of binaries
  [ ! -f "$CACHE/stamps/netpol" ] || need=1
  have=$(free "$CACHE")
  if [ "$have" -lt "$need" ]; then
    finding FAIL disk "$have GiB free for $CACHE and Go's build cache, $need are needed"
  else
    finding ok disk "$have GiB free for built files ($need needed)"
  fi
  have=$(free "$STATE")
  if [ "$have" -lt 3 ]; then
    finding FAIL disk "$have GiB free for $STATE, 3 are needed: set ROADSTEAD_E2E_STATE"
  else
    finding ok disk "$have GiB free for a cluster (3 needed)"
  fi
}

kernel() {
  local lacks="" fs
  for fs in xfs overlay; do
    grep -qw "$fs" /proc/filesystems || modprobe -n "$fs" 2>/dev/null || lacks+=" $fs"
  done
  [ -c /dev/loop-control ] || lacks+=" loop-devices"
  if [ "$EUID" -eq 0 ] && command -v ip >/dev/null && command -v nft >/dev/null; then
    unshare --net ip link add br9 type bridge 2>/dev/null || lacks+=" bridge"
    unshare --net ip link add v8 type veth peer name v9 2>/dev/null || lacks+=" veth"
    unshare --net nft add table inet probe 2>/dev/null || lacks+=" nftables"
  fi
  if [ -n "$lacks" ]; then
    finding FAIL kernel "lacks:$lacks"
  else
    finding ok kernel "xfs, overlay, loop devices, bridge, veth, nftables"
  fi
}

rights
cgroups
packages
toolchain
disk
kernel
exit "$bad"
