#!/bin/sh
# Generates the stubs into stubs/; needs protoc.
set -eu
cd "$(dirname "$0")"
package=example.com/orders/stubs/roadstead/v1
mkdir -p stubs
set -- queue message error
for name; do
  shift
  set -- "$@" "--go_opt=Mroadstead/v1/$name.proto=$package" \
    "--go-grpc_opt=Mroadstead/v1/$name.proto=$package" "roadstead/v1/$name.proto"
done
protoc -I ../../../proto/proto --plugin="$(go tool -n protoc-gen-go)" \
  --plugin="$(go tool -n protoc-gen-go-grpc)" --go_out=stubs --go_opt=paths=source_relative \
  --go-grpc_out=stubs --go-grpc_opt=paths=source_relative "$@"
