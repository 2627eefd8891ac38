"""Description of a run for its trackers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from longspan.addresses import redacted
from longspan.storage.store import Store

ID_DIGITS = 8
MAX_NAME = 100
"""Characters of a run's name in its identifier; Weights & Biases takes 128 in all."""


@dataclass(frozen=True)
class TrackedRun:
    """One run, as of one start of its workers.

    Attributes:
        name: the recipe's name.
        store: where the run is.
        path: the run's folder in the store.
        first_update: updates done at this start.
        config: the recipe, as JSON values without credentials.
        log: shows a line to whoever watches the job.
    """

    name: str
    store: Store
    path: str
    first_update: int
    config: Mapping[str, Any]
    log: Callable[[str], None]

    @property
    def id(self) -> str:
        """Identifier that is the same at every start of the run, and another for runs of the name elsewhere."""
        digest = hashlib.sha256(self.store.uri(self.path).encode()).hexdigest()
        return f"{self.name[:MAX_NAME]}-{digest[:ID_DIGITS]}"


def without_credentials(value: Any) -> Any:
    """A JSON value in whose texts addresses and tokens are redacted."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {key: without_credentials(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_credentials(each) for each in value]
    return value
