#!/usr/bin/env bash
# The chat service on a local head: the newest chat model that is here, a first key, and how to use both. `make setup` has run.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

newest_model() {
    local run
    # What `make pipeline` makes, else the quickstart's model, else the sample itself.
    for run in quickstart-chat quickstart; do
        if [ -e "$STATE/store/runs/$run/exported.json" ]; then
            say "runs/$run/model"
            return
        fi
    done
    tools/sample.sh >&2
    say .longspan/models/SmolLM2-135M-Instruct
}

MODEL=${MODEL:-$(newest_model)}
tools/head.sh start
. ./env.sh # the head's addresses
eval "MORE=(${ARGS:-})" # words as a shell reads them, quotes and all
exec "$VENV/bin/python" -m longspan.serve deploy --welcome ${SERVE_PORT:+--port "$SERVE_PORT"} "model=$MODEL" "${MORE[@]}"
