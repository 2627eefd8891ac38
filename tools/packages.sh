#!/usr/bin/env bash
# packages.sh lock|audit: hashes for the pinned packages, or known vulnerabilities of them. Both run in an environment of their own,
# .cache/tools, from constraints/tools.txt.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
LIST=constraints/tools.txt
TOOLS="$LONGSPAN_CACHE/tools"

make_tools() {
    local stamp
    stamp=$(sha256sum < "$LIST")
    [ "$(cat "$TOOLS/.longspan-stamp" 2> /dev/null)" != "$stamp" ] || return 0
    rm -rf "$TOOLS"
    "$VENV/bin/python" -m venv "$TOOLS" &&
        "$TOOLS/bin/python" -m pip install -qq --no-input --no-deps --require-hashes -r "$LIST" &&
        say "$stamp" > "$TOOLS/.longspan-stamp"
}

# audit_list FOLDER LIST: those packages of a list that no list before had. Exit status as of audit.
audit_list() {
    # Vulnerabilities are recorded for public versions: torch's, not those of its CPU build.
    sed -nE 's/^([A-Za-z0-9][^ =]*==[^ +]+).*/\1/p' "$2" | grep -vxFf "$1/seen" > "$1/packages" || return 0
    cat "$1/packages" >> "$1/seen"
    timeout 120 "$TOOLS/bin/pip-audit" --vulnerability-service osv --timeout 10 --progress-spinner off --no-deps --disable-pip \
        -r "$1/packages" > "$1/found" 2> "$1/errors" && return
    if grep -q '^Found .* known vulnerabilit' "$1/errors"; then
        say "audit: $2: known vulnerabilities; for each, change the version or record why it does not apply:"
        cat "$1/found"
        return 1
    fi
    say "audit: not done: pip-audit failed, or got no answer of the vulnerability service: $(tail -n 1 "$1/errors" | cut -c1-150)" >&2
    return 3
}

# Exit status: 0 no vulnerability is known, 1 some are, 3 it could not be found out.
audit() {
    local list code worst=0
    SCRATCH=$(mktemp -d)
    trap 'rm -rf "$SCRATCH"' EXIT
    : > "$SCRATCH/seen"
    for list in constraints/*.txt benchmarks/requirements.txt; do
        code=0
        audit_list "$SCRATCH" "$list" || code=$?
        [ $code -lt 3 ] || return $code
        [ $code -eq 0 ] || worst=$code
    done
    say "audit: $(wc -l < "$SCRATCH/seen") packages asked about, $([ $worst -eq 0 ] && say none || say some) with known vulnerabilities"
    return $worst
}

make_tools || fail "${1:-}" "pip did not install $LIST (what it said is above)" "check the network and the package index, then run it again"
case "${1:-}" in
    lock) UV="$TOOLS/bin/uv" exec "$TOOLS/bin/python" -m tools.lock ;;
    audit) audit ;;
    *)
        say "packages.sh lock|audit" >&2
        exit 2
        ;;
esac
