# Names and paths that every part of the harness shares. Sourced, never run.
# shellcheck shell=bash disable=SC2034 # what is set here is read by the files that source it
E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$E2E")
K8S_VERSION=1.37.2

CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/roadstead/k8s-$K8S_VERSION
BIN=$CACHE/bin       # what is built from Go modules
IMAGES=$CACHE/images # what every node is given before its first pod
STATE=${ROADSTEAD_E2E_STATE:-${TMPDIR:-/tmp}/roadstead-e2e} # all that a cluster writes
KUBECONFIG_FILE=$STATE/kubeconfig
AUDIT_LOG=$STATE/log/audit.log
export ROADSTEAD_E2E_STATE=$STATE
# For whatever is built from Go here: with others it would be compiled again.
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath"

say() { printf '%s\n' "$*"; }
fail() {
  printf 'e2e/cluster: %s\n' "$*" >&2
  exit 1
}

# timed NAME CMD...: one line with the time that a component took.
timed() {
  local name=$1 since=$SECONDS
  shift
  "$@" || fail "$name failed: $*"
  say "$(printf '%-26s %4d s' "$name" $((SECONDS - since)))"
}

# state_dir: makes STATE, which must be ours alone: keys are kept in it.
state_dir() {
  mkdir -p "$STATE"
  [ -O "$STATE" ] ||
    fail "$STATE belongs to somebody else: set ROADSTEAD_E2E_STATE to another folder"
  chmod 700 "$STATE"
  mkdir -p "$STATE/log" "$STATE/images"
}

# until_true SECONDS CMD...: runs CMD until it succeeds; fails when the time is over.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}
