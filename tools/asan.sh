#!/usr/bin/env bash
# The tests of the core, and the engines' on it, under AddressSanitizer: arguments go to pytest instead of the choice below.
#
# What is compiled here is a copy of the tree, with the debug build's bounds checks. greenlet copies pieces of stack to and
# fro, so marks on the stack would be false alarms (asan-stack=0); it throws C++ exceptions, so libstdc++ is loaded first too.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
copy=build/asan

mkdir -p "$copy"
rm -rf "$copy"/{src,tests,tools}
cp -r src tests tools pyproject.toml setup.py "$copy"
cd "$copy"
rm -f src/portside/core/*.so
PORTSIDE_CORE=debug CFLAGS="-fsanitize=address -fno-omit-frame-pointer --param asan-stack=0" \
    "$python" setup.py -q build_ext --inplace

export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so.6)"
export ASAN_OPTIONS=detect_leaks=0 # the interpreter itself frees little at its end
export PYTHONMALLOC=malloc PYTHONPATH=$PWD/src
if (($#)); then
    exec "$python" -m pytest "$@"
fi
# Everything is several times slower: timeouts that only catch hangs get more room.
exec "$python" -m pytest -q --timeout=600 -p no:cacheprovider -k "core or green" tests/core tests/engines
