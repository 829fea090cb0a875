# Sourced by the other scripts, from the repository root: makes and keeps .venv. Writes to stderr only.
# shellcheck shell=bash

# find_python: prints the newest Python >= 3.11 with a working venv module. Each candidate is run,
# since version managers put commands on the PATH that only say they have no such version.
find_python() {
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3 python; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    echo "Zaffre needs Python 3.11 or newer with venv, and found none on the PATH." >&2
    echo "Install one (Debian, Ubuntu: apt-get install python3-venv; macOS: brew install python)." >&2
    return 1
}

# ensure_environment serve|dev: .venv holds what requirements/<name>.txt pins, and this checkout.
# The stamp is a copy of what the environment was made from; while it matches, nothing is run.
# dev pins all that serve pins, so an environment for dev serves too.
ensure_environment() {
    local name=$1 python
    if environment_is_current "$name" || environment_is_current dev; then
        return
    fi
    if ! .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' \
        >/dev/null 2>&1; then
        python=$(find_python)
        echo "Making .venv with $("$python" --version) ..." >&2
        "$python" -m venv --clear .venv
    fi
    echo "Installing pinned dependencies into .venv (once; a minute or two) ..." >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --require-hashes --requirement "requirements/$name.txt" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --no-deps --no-build-isolation --editable . >&2
    environment_inputs "$name" >".venv/made-for-$name"
}

environment_is_current() {
    environment_inputs "$1" | cmp -s - ".venv/made-for-$1" && [ -x .venv/bin/python ]
}

# The path is among the inputs because an environment does not survive being moved.
environment_inputs() {
    echo "$PWD"
    cat pyproject.toml "requirements/$1.txt"
}
