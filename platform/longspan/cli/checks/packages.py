"""Installed packages against those that each extra asks for."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import longspan
from longspan.cli.checks.finding import Finding
from longspan.cli.missing import USES


def check_packages() -> Iterator[Finding]:
    """Check this package, what it always needs, and the extras."""
    try:
        version = importlib.metadata.version("longspan")
        requirements = importlib.metadata.requires("longspan") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            "warning",
            "packages",
            f"longspan in {Path(longspan.__file__).parent} is not installed, so that its requirements are unknown",
            "pip install .",
        )
        return
    python = ".".join(map(str, sys.version_info[:3]))
    place = Path(longspan.__file__).parent
    yield Finding("ok", "packages", f"longspan {version} in {place}, Python {python}")
    for extra in ("", *USES):
        unmet = unmet_requirements(requirements, extra)
        if extra and unmet:
            yield Finding(
                "warning",
                f"extra {extra}",
                f"lacks {', '.join(unmet)}",
                f"pip install 'longspan[{extra}]'",
            )
        elif unmet:
            yield Finding(
                "error",
                "packages",
                f"lacks {', '.join(unmet)}",
                "pip install longspan (or make setup)",
            )


def unmet_requirements(requirements: list[str], extra: str) -> list[str]:
    """Return the requirements of an extra that are not met here, those of no extra for an empty one.

    Args:
        requirements: of the package, as its metadata has them.
        extra: its name.
    """
    from packaging.requirements import Requirement

    unmet = []
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        if extra:
            if (
                marker is None
                or marker.evaluate({"extra": ""})
                or not marker.evaluate({"extra": extra})
            ):
                continue
        elif marker is not None and not marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            unmet.append(requirement.name)
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            unmet.append(f"{requirement.name}{requirement.specifier} (installed: {version})")
    return unmet
