#!/usr/bin/env bash
# Prints the path of a llama-cpp-python wheel of the pinned version for this machine, compiling it on the first call.
#
#   scripts/llama_wheel.sh PYTHON
#
# Wheels are kept under ${XDG_CACHE_HOME:-~/.cache}/bankai/wheels, keyed by version, architecture and CPU features:
# ggml compiles for the very CPU that it finds, so a wheel from another kind of machine may not run here.
set -euo pipefail

python=$1
cd "$(dirname "$0")/.."
pin=$(grep -i '^llama[-_]cpp[-_]python==' constraints.txt)
features=$( { grep -m1 -E '^(flags|Features)' /proc/cpuinfo 2>/dev/null || sysctl -n machdep.cpu.brand_string; } \
    | tr ' ' '\n' | sort | cksum | cut -d' ' -f1)
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/bankai/wheels/${pin#*==}-$(uname -s)-$(uname -m)-$features

find_wheel() { find "$cache" -maxdepth 1 -name 'llama_cpp_python-*.whl' 2>/dev/null | head -n 1; }

if [ -z "$(find_wheel)" ]; then
    echo "compiling $pin: 3 to 12 minutes, once" >&2
    mkdir -p "$cache"
    build=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$build"' EXIT
    # Without pip's own cache: it knows nothing of CPU features.
    CMAKE_BUILD_PARALLEL_LEVEL=$("$python" -c 'import os; print(os.cpu_count())') \
        "$python" -m pip wheel --quiet --disable-pip-version-check --no-cache-dir --no-deps \
        --no-binary llama-cpp-python --wheel-dir "$build" "$pin" >&2
    mv "$build"/*.whl "$cache"/
fi
find_wheel
