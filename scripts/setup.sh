#!/usr/bin/env bash
# Makes .venv with the pinned versions of constraints.txt, and FFCV in it where it can be built.
# scripts/setup.sh [EXTRAS]: `make setup` asks for no extras, `make test` and `make lint` for the EXTRAS of the Makefile.
# With nothing to do it ends within a second. Another Python: PYTHON=python3.12 make setup
# Without CUDA, which is most of what it downloads: TORCH=cpu make setup
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv
extras=${1:-} # separated by commas

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

pinned() { "$venv/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt "$@"; }

install_core() {
    say "installing the pinned packages into $venv (torch is the large one)"
    pinned hatchling setuptools
    # torch's own index has builds without CUDA; their version is the pinned one with `+cpu` behind it, which pip prefers
    if [ "$torch" = cpu ]; then
        pinned --extra-index-url https://download.pytorch.org/whl/cpu torch torchvision
        "$venv/bin/python" -c 'import sys, torch; sys.exit(torch.version.cuda is not None)' \
            || fail "TORCH=cpu: pip found no build of torch without CUDA for $("$venv/bin/python" --version)"
    fi
    pinned --no-build-isolation -e .
}

install_extras() {
    say "installing the packages of the extras $extras"
    pinned --no-build-isolation -e ".[$extras]"
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

built=$(cat "$venv/torch" 2>/dev/null || echo pypi)
torch=${TORCH:-$built} # an environment keeps its build of torch until another is asked for
case $torch in pypi | cpu) ;; *) fail "TORCH=$torch: no such build of torch; cpu is one without CUDA, pypi the one of PyPI" ;; esac
python=$(find_python)
# the environment is as good as the place, the lock and the interpreter that it was made from
wanted_stamp="$PWD $(sha256sum <constraints.txt | cut -d' ' -f1) $("$python" -c 'import sys; print(sys.version.split()[0], sys.base_prefix)')"
if [ "$(cat "$venv/made-from" 2>/dev/null)" != "$wanted_stamp" ] || [ "$torch" != "$built" ]; then
    make_venv
    install_core
    echo "$torch" >"$venv/torch"
    echo "$wanted_stamp" >"$venv/made-from"
fi
if [ -n "$extras" ]; then
    stamp=$venv/extras-$extras
    declared=$(sha256sum <pyproject.toml)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$declared" ]; then
        install_extras
        echo "$declared" >"$stamp"
    fi
fi
"$venv/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("ffcv") is None)' || install_ffcv
