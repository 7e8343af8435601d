#!/usr/bin/env bash
# Makes .venv with the pinned versions of constraints.txt, and FFCV in it where it can be built.
# `make setup` calls it; with nothing to do it ends within a second. Another Python: PYTHON=python3.12 make setup
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv

say() { printf '==> %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
may_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}
apt_line() { echo "apt-get install -y --no-install-recommends $*"; }
install_packages() {
    # a stale package list names archives that are gone; without a network the list at hand has to do
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq || true
    # shellcheck disable=SC2046
    as_root env DEBIAN_FRONTEND=noninteractive $(apt_line "$@") -qq -o DPkg::Lock::Timeout=300 >/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer found (tried: ${PYTHON:-python3 python3.13 python3.12 python3.11}); name one with PYTHON=..."
}

make_venv() {
    local package
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        say "$python cannot make environments: it lacks the package $package"
        may_install || fail "run as root, then again: $(apt_line "$package")"
        install_packages "$package" || fail "run as root, then again: $(apt_line "$package")"
    fi
    "$python" -m venv --clear "$venv"
}

install_pinned() {
    say "installing the pinned packages into $venv (torch is the large one)"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt hatchling setuptools
    "$venv/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[tensorboard,wandb,mlflow,onnx,dev]'
}

# FFCV is the faster loader, not a condition: whatever goes wrong here is said, and the torch loader is used.
install_ffcv() {
    local missing shim log
    missing=$("$venv/bin/python" -c 'from repro.commands.doctor import missing_system_packages; print(*missing_system_packages())')
    if [ -n "$missing" ]; then
        say "FFCV needs system packages: $missing"
        # shellcheck disable=SC2086
        if ! may_install || ! install_packages $missing; then
            say "FFCV is left out, since these could not be installed from here. As root:"
            say "    $(apt_line "$missing")"
            say "then 'make setup' again. Until then the torch loader gives the same batches, more slowly."
            return
        fi
    fi
    say "building FFCV"
    # FFCV's setup.py splits what pkg-config prints at spaces: the shim is read from a path that has none
    shim=$(mktemp -d /tmp/ffcv-shim.XXXXXX)
    log=$shim/build.log
    cp -R scripts/ffcv-shim/. "$shim"
    if PKG_CONFIG_PATH="$shim" "$venv/bin/pip" install --disable-pip-version-check -c constraints.txt --no-build-isolation \
        -e '.[ffcv]' >"$log" 2>&1 && "$venv/bin/python" -c 'import ffcv' >>"$log" 2>&1; then
        say "FFCV is ready"
    else
        tail -n 15 "$log" >&2
        "$venv/bin/pip" uninstall --quiet --yes ffcv >/dev/null 2>&1 || true
        say "FFCV could not be built (above); the torch loader gives the same batches, more slowly."
    fi
    rm -rf "$shim"
}

python=$(find_python)
# the environment is as good as the place, the lock and the interpreter that it was made from
wanted_stamp="$PWD $(sha256sum <constraints.txt | cut -d' ' -f1) $("$python" -c 'import sys; print(sys.version.split()[0], sys.base_prefix)')"
if [ "$(cat "$venv/made-from" 2>/dev/null)" != "$wanted_stamp" ]; then
    make_venv
    install_pinned
    echo "$wanted_stamp" >"$venv/made-from"
fi
"$venv/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("ffcv") is None)' || install_ffcv
