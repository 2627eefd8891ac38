#!/usr/bin/env bash
# From nothing to a trained and exported model. `make setup` has run.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

tools/sample.sh
tools/head.sh start
exec tools/submit.sh quickstart "python jobs/pretrain.py jobs/recipes/quickstart.yaml"
