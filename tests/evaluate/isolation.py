"""Tests of generated programs need a machine that allows sandboxes."""

import pytest

from longspan.errors import UserError
from longspan.evaluate.suites import sandbox


def require_sandbox() -> None:
    """Skip where there can be none, such as in a container without user namespaces."""
    try:
        sandbox._command()
    except UserError as error:
        pytest.skip(str(error))
