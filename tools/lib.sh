# Shared by the scripts beside it; sourced, never run.
set -euo pipefail

. "$(dirname -- "${BASH_SOURCE[0]}")/../env.sh"
cd "$LONGSPAN_ROOT"
STATE="$LONGSPAN_ROOT/.longspan"
VENV="$LONGSPAN_ROOT/.venv"

say() { printf '%s\n' "$*"; }

# fail STEP WHAT ADVICE...: says which step failed, why, and what to do about it.
fail() {
    local step=$1 what=$2
    shift 2
    {
        printf '\nFAILED in step "%s": %s\n' "$step" "$what"
        [ $# -eq 0 ] || printf '  - %s\n' "$@"
    } >&2
    exit 1
}

# private_folder PATH: makes a folder, and the ones above it that are missing, for this user alone.
private_folder() { (umask 077 && mkdir -p "$1"); }

# need_space STEP GIB: the free space that the step needs at the checkout.
need_space() {
    local free
    free=$(df -Pk "$LONGSPAN_ROOT" | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge "$2" ] || fail "$1" "only $free GiB are free here, $2 GiB are needed" \
        "free some disk space, or clone to a larger disk" \
        "the caches alone can go elsewhere: make $1 LONGSPAN_CACHE=/large/disk/cache"
}
