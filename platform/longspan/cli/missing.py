"""Packages that a command needs and that are not installed: which extra has them."""

from __future__ import annotations

import importlib.metadata

from longspan.errors import UserError

USES = ("train", "serve", "instruct", "evaluate", "aws")
"""Extras of this package by use, in the order in which they are proposed."""
DISTRIBUTIONS = {"botocore": "boto3", "lm_eval": "lm-eval"}
"""Distributions whose extra brings a module of another name."""


def require_extra(error: ModuleNotFoundError) -> None:
    """Raise a clear message if a missing module belongs to an extra of this package.

    Args:
        error: raised by an import.

    Raises:
        UserError: it does.
    """
    module = (error.name or "").partition(".")[0]
    wanted = DISTRIBUTIONS.get(module, module)
    for extra in USES:
        if wanted in requirements_of(extra):
            raise UserError(
                f"{module}: the package is not installed; pip install 'longspan[{extra}]' (docs/install.md lists the "
                "extras by use)"
            ) from error


def requirements_of(extra: str) -> set[str]:
    """Return the names of the distributions that an extra adds; none if this package is not installed."""
    from packaging.requirements import Requirement

    try:
        stated = importlib.metadata.requires("longspan") or []
    except importlib.metadata.PackageNotFoundError:
        return set()
    return {
        requirement.name
        for requirement in map(Requirement, stated)
        if requirement.marker and requirement.marker.evaluate({"extra": extra})
    }
