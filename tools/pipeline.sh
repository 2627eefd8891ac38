#!/usr/bin/env bash
# From nothing to a chat model: the quickstart's model, self-instruct data, finetuning. `make setup` has run.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

tools/sample.sh
tools/head.sh start
exec tools/submit.sh pipeline "python jobs/pipeline.py jobs/recipes/pipeline/quickstart.yaml"
