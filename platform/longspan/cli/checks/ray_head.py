"""Ray: the head that the environment names, and the token that it asks for."""

from __future__ import annotations

import importlib.metadata
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from longspan.cli.checks.finding import Finding
from longspan.runtime.head_address import VARIABLE, require_head

TIMEOUT_S = 5.0
MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
DASHBOARD = "RAY_API_SERVER_ADDRESS"
DEFAULT_TOKEN = Path("~/.ray/auth_token")
"""Default path of Ray's token."""


def check_ray() -> Iterator[Finding]:
    """Check that the head answers, that it asks for a token, and that it takes ours."""
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError("ray", name="ray") from None
    address = os.environ.get(VARIABLE, "").strip()
    if not address:
        yield Finding(
            "ok", "ray", f"version {version}; {VARIABLE} is not set: a job starts a Ray of its own"
        )
        return
    require_head()
    yield Finding("ok", "ray", f"version {version}; the head at {address} answers")
    yield from check_token()


def check_token() -> Iterator[Finding]:
    """Check the token of the cluster; it is read, and never part of a finding."""
    mode = os.environ.get(MODE, "").lower()
    path = Path(os.environ.get(TOKEN_PATH) or DEFAULT_TOKEN).expanduser()
    is_from_file = not os.environ.get(TOKEN)
    token = _read(path) if is_from_file else os.environ[TOKEN].strip()
    # Ray uses a token that it finds unless the mode says otherwise.
    if mode == "disabled" or not (mode or token):
        yield Finding(
            "warning",
            "ray token",
            f"{MODE} is {mode or 'not set'} and no token is used: whoever reaches Ray's ports can run code here",
            f"set {MODE}=token for every Ray process (`make head` and `. ./env.sh` do)",
        )
        return
    if not token:
        yield Finding(
            "error", "ray token", f"{path} holds no token", "copy the head's token file to it"
        )
        return
    if is_from_file and path.stat().st_mode & 0o077:
        yield Finding(
            "warning", "ray token", f"{path} can be read by other users", f"chmod 600 {path}"
        )
    yield _answer_to(token)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _answer_to(token: str) -> Finding:
    """Return the dashboard's answer to a request with the token."""
    url = os.environ.get(DASHBOARD, "").rstrip("/")
    if not url:
        return Finding("ok", "ray token", f"found; not tried, because {DASHBOARD} is not set")
    request = urllib.request.Request(
        f"{url}/api/version", headers={"Authorization": f"Bearer {token}"}
    )
    # A proxy of the environment does not know this cluster's addresses, and must not see the token.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S):
            return Finding("ok", "ray token", f"the head's dashboard at {url} accepts it")
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            return Finding(
                "warning",
                "ray token",
                f"not tried: the dashboard at {url} answers with {error.code}",
            )
        return Finding(
            "error",
            "ray token",
            f"the dashboard at {url} refuses it (status {error.code})",
            "use the token of the head that runs: copy its file, or `. ./env.sh` again",
        )
    except (OSError, ValueError) as error:
        return Finding(
            "warning",
            "ray token",
            f"not tried: no dashboard answers at {url} ({error})",
            f"check {DASHBOARD}",
        )
