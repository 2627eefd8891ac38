"""Requests as a server hands them to an ASGI app, for tests in which a socket is not the point."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from longspan.serve.gateway.keys import Key


class Anyone:
    """Lets every key in."""

    key = Key(name="alice", sha256="0" * 64, created=datetime.now(UTC))

    def find(self, token: bytes) -> Key:
        return self.key


def scope_of(method: str, raw: str, root: str = "", key: bool = True) -> dict[str, Any]:
    """A request for a path as a client writes it."""
    headers = [(b"content-type", b"application/json")]
    if key:
        headers.append((b"authorization", b"Bearer ls-x"))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": method,
        "path": root + unquote(raw),
        "raw_path": (root + raw).encode(),
        "root_path": root,
        "headers": headers,
        "query_string": b"",
        "client": ("127.0.0.1", 1),
    }
