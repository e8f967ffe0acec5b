#!/usr/bin/env bash
# Usage: scripts/install.sh VENV PYTHON LOCK: a virtual environment with exactly what the lock names
# (hashes checked), the project in editable mode, and DAGSTER_HOME set when the venv is activated.
set -euo pipefail
venv=$1 python=$2 lock=$3

if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))'; then
    echo "KapMan needs Python 3.11 to 3.14; '$python' is $("$python" --version 2>&1). Name another: make PYTHON=python3.12 ..." >&2
    exit 1
fi
if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv" || {
        echo "Python's venv module is missing. On Debian: sudo apt install python3-venv" >&2
        exit 1
    }
    # `dagster job execute` typed by hand then uses the same instance as `make repave` and `make ui`.
    printf '\nexport DAGSTER_HOME="%s"\n' "$PWD/dagster_home" >> "$venv/bin/activate"
fi

echo "Installing $lock into $venv"
# uv installs the same files with the same hash checks in a fraction of pip's time; where it can't reach
# the index that pip is configured for, pip does it.
pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install --no-deps --require-hashes -r scripts/uv.lock 2> /dev/null || true
VIRTUAL_ENV="$PWD/$venv" "$venv/bin/uv" pip install --quiet --system-certs --no-deps --require-hashes -r "$lock" 2> /dev/null ||
    pip install --no-deps --require-hashes -r "$lock"
pip install --no-deps --editable .
