#!/usr/bin/env bash
# The images that every node has before its first pod: pause, coredns, and busybox as a tool box.
set -euo pipefail
# shellcheck source=e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$E2E/local

# image NAME INPUT CMD...: runs CMD when the image is missing or older than its input.
image() {
  local name=$1 input=$2
  shift 2
  if [ "$IMAGES/$name.tar" -nt "$input" ] && [ "$IMAGES/$name.tar" -nt "$here/images.sh" ]; then
    return 0
  fi
  timed "image $name" "$@"
}

write() { # NAME ARGS...
  local name=$1
  shift
  python3 "$ROOT/scripts/lib/oci.py" --tag "local.test/$name:1" --out "$IMAGES/$name.tar" "$@"
}

pause() {
  gcc -O2 -static -o "$BIN/pause" "$here/pause.c"
  write pause --entrypoint /pause "$BIN/pause=pause"
}

busybox_links() {
  local applet
  while read -r applet; do
    [ "$applet" = busybox ] || links+=(--link "bin/$applet=busybox")
  done < <(busybox --list)
}

box() {
  local links=()
  busybox_links
  write busybox "${links[@]}" "$(command -v busybox)=bin/busybox"
}

mkdir -p "$IMAGES"
image pause "$here/pause.c" pause
image coredns "$BIN/coredns" write coredns --entrypoint /coredns "$BIN/coredns=coredns"
image busybox "$(command -v busybox)" box
