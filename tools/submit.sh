#!/usr/bin/env bash
# submit.sh STEP ENTRY: submits a job to the local head, shows its output alone, and stops it on Ctrl-C.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
STEP=$1
ENTRY=$2
. ./env.sh # the head's addresses
"$VENV/bin/python" -m tools.head idle "$ENTRY"

JOB="$STEP-$(date +%Y%m%d-%H%M%S)"
interrupted() {
    trap '' INT
    say ""
    say "Stopping the job $JOB; what it has done is kept, and make $STEP goes on from there."
    ray job stop "$JOB" > /dev/null 2>&1 || true
    exit 130
}
trap interrupted INT TERM

say ""
say "\$ ray job submit -- $ENTRY"
# Live output of the job alone: neither what Ray's client says, nor its repetition of the last lines.
show() {
    local line
    while IFS= read -r line; do
        case $line in
            *cli.py:*"Status message:"*) break ;;
            *[[:space:]]cli.py:*\ --\ * | *\ cli.py:*\ --\ * | *job_manager.py:*\ --\ * | "Running entrypoint for job"*) ;;
            *logging.cc:*"Set ray log level from environment variable"*) ;;
            *) printf '%s\n' "$line" ;;
        esac
    done
    cat > /dev/null
}
set +e
PYTHONUNBUFFERED=1 ray job submit --log-color=false --submission-id "$JOB" -- $ENTRY 2> "$STATE/logs/submit.log" | show
code=${PIPESTATUS[0]}
set -e
trap - INT TERM

if [ $code -ne 0 ]; then
    fail "$STEP" "the job $JOB failed (exit status $code); what it said is above" \
        "all of it again: . ./env.sh && ray job logs $JOB" \
        "what the submission said: $STATE/logs/submit.log"
fi
say ""
say "Dashboard:  $RAY_API_SERVER_ADDRESS   (it asks for the token: cat .longspan/ray/token)"
say "Metrics:    $LONGSPAN_METRICS"
say "By hand:    . ./env.sh && ray job submit -- $ENTRY"
say "The head keeps running: make stop ends it."
