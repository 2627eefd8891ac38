# Source this file in a shell (bash, zsh; from the checkout in any other POSIX shell):
#
#     . ./env.sh
#     ray job submit -- python jobs/pretrain.py jobs/recipes/quickstart.yaml
#
# It puts the environment that `make setup` built on PATH, keeps every cache inside the checkout, and
# points Ray's commands at the head that `make head` started. The scripts in tools/ source it too.

if [ -n "${BASH_VERSION:-}" ]; then
    _longspan_here=$(dirname -- "${BASH_SOURCE[0]}")
elif [ -n "${ZSH_VERSION:-}" ]; then
    eval '_longspan_here=${${(%):-%x}:h}'
else
    _longspan_here=.
fi
_longspan_here=$(CDPATH= cd -- "$_longspan_here" && pwd -P)
if [ ! -d "$_longspan_here/platform/longspan" ]; then
    echo "env.sh: source it from the checkout: cd <checkout> && . ./env.sh" >&2
    unset _longspan_here
    return 1
fi
export LONGSPAN_ROOT="$_longspan_here"
unset _longspan_here

case ":$PATH:" in
    *":$LONGSPAN_ROOT/.venv/bin:"*) ;;
    *) export PATH="$LONGSPAN_ROOT/.venv/bin:$PATH" ;;
esac

# LONGSPAN_CACHE moves all caches together, to a larger disk say; HF_HOME is kept where you have set it.
export LONGSPAN_CACHE="${LONGSPAN_CACHE:-$LONGSPAN_ROOT/.cache}"
case "$LONGSPAN_CACHE" in
    /*) ;;
    *) LONGSPAN_CACHE="$LONGSPAN_ROOT/$LONGSPAN_CACHE" ;;
esac
export XDG_CACHE_HOME="$LONGSPAN_CACHE"
export PIP_CACHE_DIR="$LONGSPAN_CACHE/pip"
export PRE_COMMIT_HOME="$LONGSPAN_CACHE/pre-commit"
export HF_HOME="${HF_HOME:-$LONGSPAN_CACHE/huggingface}"
export MPLCONFIGDIR="$LONGSPAN_CACHE/matplotlib"
export NUMBA_CACHE_DIR="$LONGSPAN_CACHE/numba"
export HYPOTHESIS_STORAGE_DIRECTORY="$LONGSPAN_CACHE/hypothesis"
export TORCH_EXTENSIONS_DIR="$LONGSPAN_CACHE/torch-extensions"
export TORCHINDUCTOR_CACHE_DIR="$LONGSPAN_CACHE/torchinductor"
export TRITON_HOME="$LONGSPAN_CACHE/triton"
export TRITON_CACHE_DIR="$LONGSPAN_CACHE/triton/cache"
export CUDA_CACHE_PATH="$LONGSPAN_CACHE/cuda"
export FLASHINFER_WORKSPACE_BASE="$LONGSPAN_CACHE/flashinfer"
export TIKTOKEN_CACHE_DIR="$LONGSPAN_CACHE/tiktoken"
export VLLM_CACHE_ROOT="$LONGSPAN_CACHE/vllm"
export VLLM_CONFIG_ROOT="$LONGSPAN_CACHE/vllm/config"

# Nothing reports home.
export RAY_USAGE_STATS_ENABLED=0
export VLLM_NO_USAGE_STATS=1
export HF_HUB_DISABLE_TELEMETRY=1
export DO_NOT_TRACK=1

# Without a token, whoever reaches the dashboard's port can run code on this machine.
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="$LONGSPAN_ROOT/.longspan/ray/token"

# Without them the log files of Ray's workers grow without bound.
export RAY_ROTATION_MAX_BYTES="${RAY_ROTATION_MAX_BYTES:-134217728}"
export RAY_ROTATION_BACKUP_COUNT="${RAY_ROTATION_BACKUP_COUNT:-3}"

# RAY_ADDRESS and the dashboard's addresses of the running head.
if [ -f "$LONGSPAN_ROOT/.longspan/ray/head.env" ]; then
    . "$LONGSPAN_ROOT/.longspan/ray/head.env"
else
    unset RAY_ADDRESS RAY_API_SERVER_ADDRESS RAY_DASHBOARD_ADDRESS
fi
