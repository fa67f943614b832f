#!/bin/bash
# Makes wheels with nghttp2 inside, in dist/, for those of CPython 3.11 to 3.14 that are on PATH or under pyenv.
# Each has to serve and make a call in a fresh environment, where the system's nghttp2 cannot be loaded.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${TOOLS:-$root/.venv/bin}
export PIP_DISABLE_PIP_VERSION_CHECK=1

interpreter() { # version
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# The source distribution is what is built, so that it is known to hold what a build needs.
make_wheel() { # interpreter, folder
    "$tools/pip" --python "$1" wheel --quiet --no-deps --wheel-dir "$2/built" "$work"/yais-*.tar.gz
    PATH=$tools:$PATH "$tools/auditwheel" repair --strip --wheel-dir "$2" "$2"/built/yais-*.whl
}

# An empty file under nghttp2's name, ahead of the system's: whoever loads it fails.
check_wheel() { # interpreter, folder
    "$1" -m venv --without-pip "$2/env"
    "$tools/pip" --python "$2/env/bin/python" install --quiet "$2"/yais-*.whl
    mkdir "$2/hidden"
    touch "$2/hidden/libnghttp2.so.14"
    LD_LIBRARY_PATH=$2/hidden "$2/env/bin/python" -I "$here/one_call.py"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"
"$tools/pyproject-build" --sdist --outdir "$work" >/dev/null
mkdir -p dist
for version in 3.11 3.12 3.13 3.14; do
    if ! python=$(interpreter "$version"); then
        echo "CPython $version: not found, no wheel"
        continue
    fi
    make_wheel "$python" "$work/$version"
    check_wheel "$python" "$work/$version"
    mv "$work/$version"/yais-*.whl dist
done
mv "$work"/yais-*.tar.gz dist
ls dist
