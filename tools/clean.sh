#!/usr/bin/env bash
# Removes the environment, the caches and Ray's files; with ALL=1 the samples, runs and checkpoints too.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# The caches only where they are inside the checkout: LONGSPAN_CACHE may be shared with others.
rm -rf "$VENV" "$LONGSPAN_ROOT/.cache" "$STATE/ray" "$STATE/s3" "$STATE/logs" platform/*.egg-info
if [ -n "${ALL:-}" ]; then
    rm -rf "$STATE"
elif [ -d "$STATE" ]; then
    say "clean: samples and runs are kept in .longspan; make clean ALL=1 removes them too"
fi
