"""Status of the chat service: the application that Ray Serve reports, and the recorded versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from longspan.serve.config import load_settings
from longspan.serve.versions import Version, plain

if TYPE_CHECKING:
    from longspan.serve.deploy import Serving


def status_lines(now: Serving | str, versions: Sequence[Version], folder: str) -> Iterator[str]:
    """Lines of `status`: what is served now, then the records, oldest first.

    Args:
        now: what Ray Serve reports; or why it could not be asked.
        versions: the records.
        folder: where these are.
    """
    yield _now(now, versions)
    if not versions:
        yield f"no versions are recorded in {folder}: `python -m longspan.serve deploy` records them"
    for version in versions:
        at = version.at.isoformat(timespec="seconds")
        yield f"{version.number:4}  {at}  {version.state:<7} {version.model}"


def recorded_as(now: Serving, versions: Sequence[Version]) -> Version | None:
    """The newest record of what is served now; None if nothing recorded it."""
    settings = now.settings
    if settings is None:
        return None
    found = [version for version in versions if version.values == plain(settings)]
    return found[-1] if found else None


def file_note(config: Path, overrides: Sequence[str]) -> str | None:
    """Warning that the config file names another model than the command line; None if it does not."""
    served, stated = load_settings(config, overrides).model, load_settings(config).model
    if served == stated:
        return None
    return (
        f"note: {config} itself says model: {stated}, so `serve deploy {config}` would replace this version by that "
        f"one; write model: {served} into the file to keep it"
    )


def _now(now: Serving | str, versions: Sequence[Version]) -> str:
    if isinstance(now, str):
        return f"serving now: unknown, no cluster answers ({now}); the records:"
    if now.application is None:
        return "serving now: nothing of ours on this cluster"
    model = (now.args or {}).get("model")
    state = "" if now.is_good else ", not up yet"
    version = recorded_as(now, versions)
    if version is not None:
        return f"serving now: {model} (version {version.number}{state})"
    return (
        f"serving now: {model} (no recorded version{state}: `serve deploy` or another store's config put it there; "
        "`rollback` goes back to the newest record that served)"
    )
