"""Texts of other libraries without credentials."""

from __future__ import annotations

import os
import re

from longspan.addresses import redacted

MIN_LENGTH = 8
"""Characters of a value that is taken for a secret; shorter ones would hide words."""
_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_PATHS = re.compile(r"(_PATH|_FILE|_DIR)$", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Return a text without what `addresses.redacted` finds, and without secrets of the environment.

    These are the values of variables whose names say that they are keys, tokens or passwords.
    """
    for name, value in os.environ.items():
        if _NAMES.search(name) and not _PATHS.search(name) and len(value) >= MIN_LENGTH:
            text = text.replace(value, "***")
    return redacted(text)
