#!/usr/bin/env bash
# Builds .venv from constraints/cpu.txt; does nothing where it is already what it should be.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
STEP=setup
LOG="$STATE/logs/setup.log"
CONSTRAINTS=constraints/cpu.txt
# An environment with another mark is made anew: another checkout's, or one whose packages were not checked against hashes.
PLACE="$LONGSPAN_ROOT, packages checked by hash"

# The interpreter itself, never one of an environment: .venv, about to be removed, is on PATH.
find_python() {
    local candidate python
    local which='import os, sys; print(os.path.realpath(sys._base_executable)); sys.exit(sys.version_info[:2] != (3, 11))'
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3 "$HOME"/.pyenv/versions/3.11.*/bin/python3.11; do
        if python=$("$candidate" -c "$which" 2>/dev/null); then
            say "$python"
            return
        fi
        [ "$candidate" != "${PYTHON:-}" ] || fail $STEP "PYTHON=$PYTHON is not a Python 3.11"
    done
    fail $STEP "no Python 3.11 was found on PATH" \
        "install it (python3.11 with its venv part), or name it: make setup PYTHON=/path/to/python3.11"
}

check_machine() {
    local machine
    machine=$(uname -sm)
    [ "$machine" = "Linux x86_64" ] ||
        fail $STEP "this is $machine; the pinned packages are built for Linux x86_64"
}

# The environment is what these inputs say, in this place: scripts in it hold absolute paths.
wanted() {
    {
        cat "$CONSTRAINTS" pyproject.toml tools/setup.sh tools/install.sh
        say "$LONGSPAN_ROOT"
    } | sha256sum | cut -d' ' -f1
}

make_token() {
    [ -s "$RAY_AUTH_TOKEN_PATH" ] && return
    private_folder "$STATE/ray"
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH")
}

make_venv() {
    if [ ! -e "$VENV/.longspan-unfinished" ] && [ "$(cat "$VENV/.longspan-place" 2>/dev/null)" = "$PLACE" ] &&
        "$VENV/bin/python" -c '' 2>/dev/null; then
        return
    fi
    local python
    python=$(find_python)
    say "setup: new environment in .venv, with $("$python" -V) ($python)"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || fail $STEP "$python cannot make virtual environments" \
        "install its venv part (on Debian and Ubuntu: the package python3.11-venv)" \
        "or name another one: make setup PYTHON=/path/to/python3.11"
    rm -rf "$VENV"
    "$python" -m venv "$VENV" >> "$LOG" 2>&1 || fail $STEP "python -m venv failed; see $LOG"
    say "$PLACE" > "$VENV/.longspan-place"
}

# Keeps the log, and says one line in twenty packages, so that a person sees that it moves.
progress() {
    local line n=0
    while IFS= read -r line; do
        printf '%s\n' "$line" >&3
        case $line in
            "Collecting "* | "Processing "*)
                n=$((n + 1))
                [ $((n % 20)) -ne 0 ] || say "setup: $n of $1 packages"
                ;;
            "Installing collected packages"*) say "setup: unpacking all $1" ;;
        esac
    done 3>> "$LOG"
}

# explain_pip WHAT: ends the setup with advice that fits what pip said last.
explain_pip() {
    local advice=() missing
    missing=$(grep -oE 'No matching distribution found for .*' "$LOG" | tail -n 1 | sed 's/.* for //' || true)
    if grep -q 'DO NOT MATCH THE HASHES' "$LOG"; then
        advice=("a package index, or a proxy or mirror in front of it, sent a file whose SHA-256 is not in $CONSTRAINTS;"
            "nothing of it was installed: use another index, or report it (SECURITY.md)"
            "if you changed a version in $CONSTRAINTS: run make lock, which writes the new hashes")
    elif [[ $missing == torch==* ]] && ! grep -q 'torch==.*(from versions: none)' "$LOG"; then
        advice=("the CPU wheel of torch is not on the Python package index; add PyTorch's own CPU wheel index:"
            "make setup EXTRA_INDEX=<address of PyTorch's CPU wheel index>")
    elif grep -q 'No space left on device' "$LOG"; then
        advice=("the disk is full: the environment takes 5 GiB, its caches 1 GiB")
    elif grep -qE 'name resolution|NewConnectionError|ReadTimeout|Max retries exceeded|ProxyError|Connection(Reset|Error)' "$LOG"; then
        advice=("the package index was not reached: check the network and the proxy (HTTPS_PROXY), then run it again;"
            "what was fetched already is kept")
    elif [ -n "$missing" ]; then
        advice=("the package index was not reached, or does not carry $missing:"
            "check the network; where the index is a partial mirror, name a full one to pip: PIP_EXTRA_INDEX_URL=<address> make setup")
    elif grep -qE 'Permission ?[Dd]enied|PermissionError' "$LOG"; then
        advice=("a file could not be written: who owns $VENV and $LONGSPAN_CACHE?")
    else
        advice=("run it again: what was fetched already is kept")
    fi
    fail $STEP "pip did not install $1" "${advice[@]}" \
        "everything pip said is in $LOG; its end:" "$(tail -n 3 "$LOG" | cut -c1-160)"
}

# A pip that is killed may leave half a package that looks whole: the mark then stays, and make_venv sees it.
install_packages() {
    local code=0
    touch "$VENV/.longspan-unfinished"
    TMPDIR="$LONGSPAN_CACHE/tmp" tools/install.sh cpu "$VENV/bin/python" || code=$?
    [ $code -ge 128 ] || rm "$VENV/.longspan-unfinished"
    return $code
}

install() {
    local total started=$SECONDS
    total=$(grep -c '^[^#[:space:]]' "$CONSTRAINTS")
    say "setup: $total pinned packages from $CONSTRAINTS (a few minutes; about 1 GiB to fetch)"
    : > "$LOG"
    install_packages 2>&1 | progress "$total" || explain_pip "$CONSTRAINTS"
    say "setup: done in $((SECONDS - started)) s"
}

check_machine
private_folder "$STATE/logs"
mkdir -p "$LONGSPAN_CACHE/tmp"
make_token
if [ "$(cat "$VENV/.longspan-stamp" 2>/dev/null)" = "$(wanted)" ] && "$VENV/bin/python" -c '' 2>/dev/null; then
    exit 0
fi
if command -v flock > /dev/null; then # two of these at once would write into one folder
    exec 9> "$LONGSPAN_CACHE/setup.lock"
    flock -n 9 || { say "setup: another one is at work here, waiting for it" && flock 9; }
fi
[ -e "$VENV/.longspan-stamp" ] || need_space $STEP 8
if [ -n "$(find "$STATE" -maxdepth 0 -perm /077)" ]; then
    say "setup: .longspan: other users of this machine can enter it, and it holds keys and users' texts; chmod 700 .longspan, unless you share it"
fi
make_venv
install
wanted > "$VENV/.longspan-stamp"
