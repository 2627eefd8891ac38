#!/usr/bin/env bash
# head.sh start|stop|status: the local Ray head of this checkout.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
exec "$VENV/bin/python" -m tools.head "$@"
