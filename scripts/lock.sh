#!/bin/sh
# Compiles requirements/*.txt from pyproject.toml for Python 3.11 on Linux x86-64: pinned, without index addresses.
# torch is written without its local version, so that the lock fits a CPU build and a CUDA build alike.
set -eu
cd "$(dirname "$0")/.."
UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
export UV_FIND_LINKS
compile() {  # compile NAME [UV OPTIONS]
    name=$1; shift
    .venv/bin/uv pip compile pyproject.toml --python-version 3.11 --python-platform x86_64-unknown-linux-gnu \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet --upgrade "$@" -o "requirements/$name.txt.new" >/dev/null
    sed -E 's/^(torch==[0-9.]+)\+cpu/\1/' "requirements/$name.txt.new" > "requirements/$name.txt"
    rm "requirements/$name.txt.new"
}
compile_tools() {  # compile_tools NAME REQUIREMENT...
    name=$1; shift
    printf '%s\n' "$@" | .venv/bin/uv pip compile - --python-version 3.11 --python-platform x86_64-unknown-linux-gnu \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet --upgrade > "requirements/$name.txt"
}
compile dev --extra dev -c requirements/constraints.txt
compile laptop --extra laptop -c requirements/dev.txt
# The images' locks, one a family; those for CUDA hold the libraries, which PyPI's own torch names exactly.
compile slim --extra slim -c requirements/dev.txt
compile torch --extra torch -c requirements/dev.txt
compile llama --extra llama -c requirements/dev.txt
UV_FIND_LINKS=
compile torch-cuda --extra torch --extra cuda -c requirements/dev.txt
compile llama-cuda --extra llama --extra llama-cuda -c requirements/dev.txt
compile_tools build setuptools 'scikit-build-core[pyproject]' cmake ninja
