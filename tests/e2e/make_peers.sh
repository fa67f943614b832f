#!/bin/bash
# Makes what the end-to-end tests hold the server against, in build/peers: Triton's Python client, in an environment of
# its own and in several releases to be imported beside YAIS, perf_analyzer, and Prometheus. Each lands under its final name only when it is complete, so that a second run does only what is missing.
# Debian's packages are unpacked, not installed: nothing of the system changes, and no service starts.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
peers=$root/build/peers
python=${PYTHON:-$root/.venv/bin/python}
work=
export PIP_DISABLE_PIP_VERSION_CHECK=1

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

debian_packages() { # folder, packages...
    local folder=$1
    shift
    mkdir -p "$folder"
    (cd "$work" && apt-get download -qq "$@" 2>"$work/apt.log") || {
        as_root apt-get update -qq && (cd "$work" && apt-get download -qq "$@")
    }
    for package in "$work"/*.deb; do dpkg-deb -x "$package" "$folder"; done
    rm "$work"/*.deb
}

wheels() { # folder, pip's arguments...
    local folder=$1
    shift
    "$python" -m pip download -q --no-deps --only-binary=:all: --dest "$work" "$@"
    for wheel in "$work"/*.whl; do "$python" -m zipfile -e "$wheel" "$folder"; done
    rm "$work"/*.whl
}

# An environment knows its own path, so this one is made in place, and marked when it is complete.
make_tritonclient() {
    local folder=$peers/tritonclient-2.73
    rm -rf "$folder"
    "$python" -m venv "$folder"
    "$folder/bin/pip" install -q "tritonclient[grpc]==2.73.0"
    touch "$folder/.complete"
}

# Without what they depend on, of which they would have older releases than they can do with.
make_tritonclients() {
    for version in 2.41.0 2.51.0 2.73.0; do
        "$python" -m pip install -q --no-deps --target "$work/done/${version%.*}" \
            "tritonclient==$version" python-rapidjson
        rm -rf "$work/done/${version%.*}/bin"
    done
    mv "$work/done" "$peers/tritonclients"
}

make_perf_analyzer() {
    wheels "$work/wheels" --platform manylinux1_x86_64 tritonclient==2.51.0
    wheels "$work/wheels" --platform manylinux2014_x86_64 nvidia-cuda-runtime-cu12==12.6.77
    debian_packages "$work/debian" libb64-0d
    mkdir "$work/done"
    cp "$work"/wheels/*.data/data/bin/perf_analyzer "$work"/wheels/nvidia/cuda_runtime/lib/libcudart.so.12 \
        "$work"/debian/usr/lib/*/libb64.so.0d "$work/done"
    chmod +x "$work/done/perf_analyzer"
    mv "$work/done" "$peers/perf_analyzer"
}

make_prometheus() {
    debian_packages "$work/debian" prometheus
    # From Debian 13 on in a package of its own.
    [ -e "$work/debian/usr/bin/promtool" ] || debian_packages "$work/debian" promtool
    mkdir "$work/done"
    cp "$work"/debian/usr/bin/prom* "$work/done"
    mv "$work/done" "$peers/prometheus"
}

make_peer() { # name, the file that shows that it is complete
    [ -e "$peers/$2" ] && return
    echo "Making build/peers: $1"
    work=$(mktemp -d "$peers/.work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    "make_$1"
    rm -rf "$work"
}

mkdir -p "$peers"
make_peer tritonclient tritonclient-2.73/.complete
make_peer tritonclients tritonclients
make_peer perf_analyzer perf_analyzer/perf_analyzer
make_peer prometheus prometheus/promtool
