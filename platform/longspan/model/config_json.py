"""Reading a model's config.json as transformers writes it."""

from __future__ import annotations

import json
from typing import Any

from longspan._compat.transformers import decode_special_floats
from longspan.errors import UserError

_TAG = "__float__"
"""Key under which transformers writes numbers that JSON does not have: infinities and NaN."""


def parse_config(text: str | bytes, source: str, key: str = "base_model") -> dict[str, Any]:
    """Return a config from the text of its file; numbers that JSON does not have are decoded.

    Args:
        text: of the file.
        source: the file, for messages.
        key: the recipe's, for messages.

    Raises:
        UserError: it is not a JSON object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{key}: {source} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{key}: {source} is not a JSON object")
    if _TAG in json.dumps(value):
        value = decode_special_floats(value)
    return value
