#!/bin/bash
# Builds the fuzzers into a folder of their own: build.sh FOLDER [NGHTTP2-SOURCES]. `fuzz_connection` plays the inputs of
# connection/, `fuzz_templates` those of templates/.
#
# The extensions, and nghttp2 when its sources are given, are compiled with clang's AddressSanitizer,
# UndefinedBehaviorSanitizer and libFuzzer's coverage. With CC=gcc there are only the extensions, without the latter, for
# an interpreter that has gcc's AddressSanitizer preloaded. PYTHON is one that has YAIS and its tests' needs.
set -euo pipefail
folder=$(mkdir -p "$1" && realpath "$1")
nghttp2=${2:+$(realpath "$2")}
here=$(realpath "$(dirname "$0")")
root=$(realpath "$here/../../..")
PYTHON=${PYTHON:-$root/.venv/bin/python}
CC=${CC:-clang}
sanitize=(-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined)
# Python's objects are called through casts of their functions, and its empty buffers are NULL plus nothing.
sanitize+=(-fno-sanitize=pointer-overflow,nonnull-attribute)
coverage=()
if [ "$CC" != gcc ]; then
  sanitize+=(-fno-sanitize=function)
  coverage+=(-fsanitize=fuzzer-no-link)
fi
link=(-lnghttp2)

cd "$folder"
rm -rf yais c && mkdir -p c
cp -rL "$root/src/yais" yais
find yais -name '*.so' -delete
# The invariants look at what the connection otherwise keeps to itself.
sed -i -E 's/^    cdef size_t (held|pending)$/    cdef readonly size_t \1/' yais/transport/{wire,stream}.pxd
sed -i 's/^    cdef dict waiting$/    cdef readonly dict waiting/' yais/transport/client_connection.pyx
# Tensors of a few bytes are copied as large ones are.
sed -i -E 's/^(    _LARGE|    _STEP) = .*/\1 = 16/' yais/server/grpc/templates.pyx

if [ -n "$nghttp2" ]; then
  sed "s/@PACKAGE_VERSION@/0/; s/@PACKAGE_VERSION_NUM@/0/" "$nghttp2/lib/includes/nghttp2/nghttp2ver.h.in" > c/nghttp2ver.h
  mkdir -p c/nghttp2 && mv c/nghttp2ver.h c/nghttp2/
  "$CC" "${sanitize[@]}" "${coverage[@]}" -fPIC -shared -w -DHAVE_ARPA_INET_H -DHAVE_NETINET_IN_H -DHAVE_CLOCK_GETTIME \
    -DHAVE_UNISTD_H -DHAVE_TIME_H -DHAVE_DECL_CLOCK_MONOTONIC=1 -Ic -I"$nghttp2/lib/includes" "$nghttp2"/lib/*.c -o libfuzzed_nghttp2.so
  link=(-L"$folder" -lfuzzed_nghttp2 -Wl,-rpath,"$folder")
fi

read -r include library < <("$PYTHON" -c 'import sysconfig as s; print(s.get_path("include"), s.get_config_var("LIBDIR"))')
version=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_config_var("LDVERSION"))')
numpy=$("$PYTHON" -c 'import numpy; print(numpy.get_include())')
# As in setup.py.
directives=(-X wraparound=False -X allow_none_for_extension_args=False -X binding=False -X auto_pickle=False)
for source in yais/transport/*.pyx yais/server/grpc/*.pyx; do
  module=${source%.pyx}
  "$PYTHON" -m cython -3 --module-name "${module//\//.}" "${directives[@]}" -I "$folder" "$source" -o c/module.c
  "$CC" "${sanitize[@]}" "${coverage[@]}" -fPIC -shared -w -I"$include" -I"$numpy" -DNPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION \
    c/module.c "${link[@]}" -o "$module.so"
done
[ "$CC" != gcc ] || exit 0

# link_fuzzer TARGET PLAY: a driver of its own for each.
link_fuzzer() {
  local modules="$folder:$root/tests"
  clang "${sanitize[@]}" -fsanitize=fuzzer -rdynamic -I"$include" "$here/driver.c" -L"$library" -Wl,-rpath,"$library" \
    "-lpython$version" -DPLAY="\"conformance.fuzz.$1.$2\"" -DMUTATOR="\"conformance.fuzz.$1.mutator\"" \
    -DMODULES="\"$modules\"" -DPYTHON="\"$PYTHON\"" -o "fuzz_$1"
}
link_fuzzer connection invariants
link_fuzzer templates play
