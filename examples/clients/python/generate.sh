#!/bin/sh
# Generates what main.py imports as roadstead.v1 into stubs/.
set -eu
cd "$(dirname "$0")"
mkdir -p stubs
python -m grpc_tools.protoc -I ../../../proto/proto --python_out=stubs --pyi_out=stubs \
  --grpc_python_out=stubs \
  roadstead/v1/queue.proto roadstead/v1/message.proto roadstead/v1/error.proto
