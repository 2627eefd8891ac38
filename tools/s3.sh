#!/usr/bin/env bash
# s3.sh start|stop: a local S3 server of this checkout.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
exec "$VENV/bin/python" -m tools.s3 "$@"
