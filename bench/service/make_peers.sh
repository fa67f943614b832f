#!/bin/bash
# Makes the servers that the benchmarks hold this one against, in build/bench/peers: Triton, and MLServer. Each has an
# environment of its own, marked when it is complete, so that a second run does only what is missing. What cannot be
# installed is named and left out.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
peers=$root/build/bench/peers
python=${PYTHON:-$root/.venv/bin/python}
export PIP_DISABLE_PIP_VERSION_CHECK=1

# nvidia-pytriton 0.7.0 brings tritonserver 2.51.0 and its Python backend, which of what it asks for need numpy alone, and
# one older than 2: with that one the backend answers with empty tensors.
make_triton() { # folder
    "$1/bin/pip" install -q --no-deps nvidia-pytriton==0.7.0 numpy==1.26.4 || return
    local server backend stub
    server=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pytriton/tritonserver
    backend=$server/backends/python
    stub=$server/python_backend_stubs/$("$1/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    cp "$stub/triton_python_backend_stub" "$backend" || return
    chmod +x "$server/bin/tritonserver" "$backend/triton_python_backend_stub"
    if ldd "$server/bin/tritonserver" "$backend/triton_python_backend_stub" | grep "not found"; then return 1; fi
}

make_mlserver() { # folder
    "$1/bin/pip" install -q mlserver==1.7.1
}

make_peer() { # name-version
    local folder=$peers/$1
    [ -e "$folder/.complete" ] && return
    echo "Making build/bench/peers: $1"
    rm -rf "$folder"
    "$python" -m venv "$folder" && "make_${1%%-*}" "$folder" && touch "$folder/.complete" && return
    echo "$1 could not be installed: the benchmarks go on without it" >&2
}

mkdir -p "$peers"
make_peer triton-2.51
make_peer mlserver-1.7
exit 0
