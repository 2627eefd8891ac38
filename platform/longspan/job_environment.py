"""Environment of this process: a shell, a driver that Ray's job server started, or a Ray worker."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray's job server for the drivers that it starts, and inherited by their own processes."""
WORKER_VARIABLE = "RAY_RAYLET_PID"
"""Set by Ray for its workers."""
UPLOADS = "working_dir_files"
"""Folder in which Ray keeps what `--working-dir` uploads."""


def is_submitted() -> bool:
    """Whether this is a driver that `ray job submit` had a node of the cluster start."""
    return JOB_VARIABLE in os.environ


def modules_of_submission() -> list[str]:
    """Return the URIs of the modules that `ray job submit` uploaded (`py_modules` of its runtime environment)."""
    config = json.loads(os.environ.get(JOB_VARIABLE) or "{}")
    return list((config.get("runtime_env") or {}).get("py_modules") or ())


def is_uploaded_copy() -> bool:
    """Whether the current folder is what `ray job submit --working-dir` has uploaded."""
    return UPLOADS in Path.cwd().parts


def environment_in_words() -> str:
    """Whose environment this process has, for messages about variables that are missing in it."""
    host = socket.gethostname()
    if is_submitted() or WORKER_VARIABLE in os.environ:
        return (
            f"the environment of Ray's node {host}, in which submitted jobs run (that of the shell that submits "
            "them does not come along)"
        )
    return f"the environment of this process on {host}"
