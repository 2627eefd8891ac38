#!/usr/bin/env bash
# What cluster/aws.yaml runs on a machine of the cluster:
#   node.sh setup cpu|gpu    the project's environment, from constraints/; quick where it is there already
#   node.sh watch            on a spot machine, after `ray start`: the watcher of spot notices, as a service
set -euo pipefail
cd "$(dirname -- "${BASH_SOURCE[0]}")/.."
UNIT=longspan-spot-watcher
METADATA=http://169.254.169.254/latest

fail() {
    printf 'node: %s\n' "$@" >&2
    exit 1
}

python_is_there() {
    command -v python3.11 > /dev/null && python3.11 -c 'import ensurepip, venv' 2> /dev/null && return
    sudo apt-get -q update && sudo DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
        install python3.11 python3.11-venv python3.11-dev
}

gpu_environment() {
    nvidia-smi -L || fail "this machine is to have GPUs, and nvidia-smi finds none: the image needs NVIDIA's driver"
    local stamp
    stamp=$(cat constraints/gpu.txt pyproject.toml tools/install.sh | sha256sum | cut -d' ' -f1)
    [ "$(cat .venv/.longspan-stamp 2> /dev/null)" != "$stamp" ] || return 0
    rm -rf .venv
    python3.11 -m venv .venv
    tools/install.sh gpu .venv/bin/python > .longspan/install.log || fail "pip did not install constraints/gpu.txt; see .longspan/install.log"
    printf '%s' "$stamp" > .venv/.longspan-stamp
}

setup() {
    chmod 600 .longspan/ray/token # whoever has it runs code on all machines
    python_is_there
    case ${1:-} in
        cpu) tools/setup.sh ;;
        gpu) gpu_environment ;;
        *) fail "setup cpu, or setup gpu" ;;
    esac
    # For people who log in, and for what Ray runs over SSH by itself.
    grep -qxF ". $PWD/env.sh" ~/.bashrc || printf '. %s\n' "$PWD/env.sh" >> ~/.bashrc
}

market() {
    local token
    token=$(curl -sf -m 5 --retry 5 --retry-connrefused -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$METADATA/api/token")
    curl -sf -m 5 --retry 5 --retry-connrefused -H "X-aws-ec2-metadata-token: $token" "$METADATA/meta-data/instance-life-cycle"
}

# systemd starts it again when it dies; it ends by itself with the raylet, or once the notice was passed on.
watch() {
    local kind raylet
    sudo systemctl stop $UNIT 2> /dev/null || true
    # Where the metadata service does not say, the watcher starts, and goes on asking.
    kind=$(market) || kind=spot
    [ "$kind" = spot ] || return 0
    raylet=$(pgrep -xn raylet) || fail "no raylet runs here: the watcher is started after ray start"
    sudo systemd-run --unit=$UNIT --collect --uid="$(id -un)" --working-directory="$PWD" \
        -p Restart=on-failure -p RestartSec=5 \
        bash -c '. ./env.sh && exec python cluster/spot_watcher.py --while "$0"' "$raylet"
}

case ${1:-} in
    setup | watch) "$@" ;;
    *) fail "node.sh setup cpu|gpu, or node.sh watch" ;;
esac
