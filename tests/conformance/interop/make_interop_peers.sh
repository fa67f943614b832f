#!/bin/bash
# Builds C++ gRPC's ends of the interoperability cases, build/interop/interop_server and interop_client, with Debian's
# libgrpc++, which `make setup` installs.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
built=$(cd "$here/../../.." && pwd)/build/interop

# Complete files only: each is written beside its place and moved there.
build() { # program
    g++ -std=c++17 -O1 -Wall -Wextra -Werror -I"$work" -I"$here/cpp" "$here/cpp/$1.cc" "$work"/interop.{pb,grpc.pb}.o \
        $(pkg-config --cflags --libs grpc++ protobuf) -o "$work/$1"
    mv "$work/$1" "$built/$1"
}

mkdir -p "$built"
work=$(mktemp -d "$built/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
protoc -I"$here" --cpp_out="$work" --grpc_out="$work" --plugin=protoc-gen-grpc="$(command -v grpc_cpp_plugin)" \
    "$here/interop.proto"
for generated in interop.pb interop.grpc.pb; do
    g++ -std=c++17 -c "$work/$generated.cc" $(pkg-config --cflags grpc++ protobuf) -o "$work/$generated.o"
done
build interop_server
build interop_client
