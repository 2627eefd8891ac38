#!/usr/bin/env bash
# The sample model and corpora, in .longspan; does nothing where they are already.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
[ -e "$STATE/samples/model.json" ] || need_space sample 3
"$VENV/bin/python" -m longspan.samples --dir .longspan ||
    fail sample "the sample model or corpora are not complete (the reason is above)" \
        "what is there already is kept: make sample"
