#!/usr/bin/env bash
# Ends what this checkout started and nothing else. Needs no environment: any Python 3 will do.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
python=python3
[ -x "$VENV/bin/python" ] && python="$VENV/bin/python"
"$python" -m tools.head stop
"$python" -m tools.s3 stop
