#!/bin/sh
# venv.sh DIR LOCK: make or bring up to date the virtual environment DIR: what LOCK pins, hashes checked, and this project
# itself, editable.  Works with the python3 of a bare Debian, with or without python3-venv, and never installs anything
# outside DIR (so a distribution's "externally managed" mark does not matter).  PYTHON=... picks another interpreter.
set -eu

dir=$1
lock=$2

fail() {
    printf 'hmmspec: %s\n' "$@" >&2
    exit 2
}

new_enough() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

pick_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    found=$("${PYTHON:-python3}" --version 2>&1) || found="no ${PYTHON:-python3}"
    fail "Python 3.11 or newer is needed, found: $found." \
        "Debian 12 and newer have it (apt-get install python3); elsewhere name one: make PYTHON=/path/to/python3.12 check"
}

python=$(pick_python)

# An environment whose interpreter is gone or too old is made anew.
if [ -e "$dir" ] && ! new_enough "$dir/bin/python"; then
    rm -rf "$dir"
fi

if [ ! -e "$dir" ]; then
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv "$dir"
    elif "$python" -m pip --version >/dev/null 2>&1 && "$python" -m venv --without-pip "$dir" 2>/dev/null; then
        : # Debian without python3-venv: the system's pip fills the environment from outside.
    else
        rm -rf "$dir"
        fail "$("$python" --version 2>&1) can make no virtual environment here. On Debian and Ubuntu this is enough:" \
            "    sudo apt-get install -y python3-venv"
    fi
fi

pip() {
    if "$dir/bin/python" -c 'import pip' 2>/dev/null; then
        "$dir/bin/python" -m pip --disable-pip-version-check "$@"
    else
        "$python" -m pip --disable-pip-version-check --python "$dir/bin/python" "$@"
    fi
}

echo "hmmspec: installing $lock into $dir ($("$dir/bin/python" --version))"
pip install --quiet --require-hashes -r "$lock"
pip install --quiet --no-deps --no-build-isolation --editable .
# Even where the environment forbids Python to keep what it compiled, the first command should not be slow.
"$dir/bin/python" -m compileall -q hmmspec || true
