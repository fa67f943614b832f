#!/bin/bash
# Sweeps over the entries of the extension types (sweep.py) under gcc's AddressSanitizer and UndefinedBehaviorSanitizer, built
# into a folder of their own: sanitized.sh FOLDER [CLASS...]. The last line before a report names the entry. PYTHON is an
# interpreter that has YAIS and its tests' needs.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
root=$(realpath "$here/../../..")
PYTHON=${PYTHON:-$root/.venv/bin/python}
CC=gcc PYTHON=$PYTHON "$here/../fuzz/build.sh" "$1"
folder=$(realpath "$1")
shift

# Each of Python's objects is an allocation of its own, which AddressSanitizer sees.
export PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$folder:$root/tests
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)" \
  "$PYTHON" -P -m conformance.extensions.sweep "$@" 2>"$folder/sweep.log" || { tail -60 "$folder/sweep.log"; exit 1; }
