#!/usr/bin/env bash
# install.sh cpu|gpu|flash-attn [PYTHON]: installs the packages of constraints/<name>.txt into the environment of PYTHON (python),
# and this project in it. pip refuses a file whose SHA-256 is not in the list, wherever it comes from.
# EXTRA_INDEX is asked for torch's CPU build, which the package index lacks, and for no other package.
set -euo pipefail
root=$(cd "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
name=${1:-}
python=${2:-python}
list="$root/constraints/$name.txt"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_NO_DEPS=1 PIP_USE_PEP517=1
export DS_BUILD_OPS=0 # DeepSpeed stays pure Python: no kernels are compiled here.
# Without this, flash-attn's own build looks for a compiled package on the web and installs it without a check.
export FLASH_ATTENTION_FORCE_BUILD=TRUE

fail() {
    printf 'install: %s\n' "$@" >&2
    exit 2
}

# lines_of NAME: a package's lines in the list.
lines_of() { awk -v start="$1==" 'index($0, start) == 1 { on = 1 } on { print } !/\\$/ { on = 0 }' "$list"; }

# No build fetches anything by itself: it uses the setuptools of the environment, which comes from the list.
pip_install() { "$python" -m pip install --no-build-isolation "$@"; }

# DeepSpeed has no wheel, and with setuptools 77 its build fails where it finds torch: it is told that there is none.
install_deepspeed() {
    printf 'raise ImportError("not for the build")\n' > "$scratch/torch.py"
    PYTHONPATH="$scratch" pip_install --quiet --require-hashes -r <(lines_of deepspeed)
}

case $name in
    cpu | gpu | flash-attn) ;;
    *) fail "install.sh cpu|gpu|flash-attn [PYTHON]" ;;
esac
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    fail "$python is not a Python 3.11, which the packages in $list are for"

if [ "$name" = flash-attn ]; then
    pip_install --quiet --require-hashes -r <(lines_of wheel)
    pip_install --require-hashes -r "$list"
    exit
fi
pip_install --quiet --require-hashes -r <(lines_of setuptools)
if [ "$name" = cpu ]; then
    pip_install --quiet --require-hashes ${EXTRA_INDEX:+--index-url "$EXTRA_INDEX"} -r <(lines_of torch)
fi
[ -z "$(lines_of deepspeed)" ] || install_deepspeed
pip_install --require-hashes -r "$list"
pip_install --quiet --no-index --editable "$root"
