"""The paths that are served; any other is not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.types import Scope

from longspan.serve.gateway.errors import Refusal

_SEGMENTS = r"[A-Za-z0-9_-][A-Za-z0-9._:@+-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._:@+-]*)*"


@dataclass(frozen=True)
class Route:
    """One path, or all of a kind.

    Attributes:
        label: the path as metrics name it, with `*` for what varies.
        methods: those that are served.
        keyed: whether it takes an API key.
        generates: whether it asks the model for an answer, with a body in OpenAI's shape.
    """

    label: str
    methods: tuple[str, ...]
    keyed: bool = True
    generates: bool = False

    def matches(self, path: str) -> bool:
        """Whether a decoded path is this one."""
        pattern = re.escape(self.label).replace(r"\*", _SEGMENTS)
        return re.fullmatch(pattern, path) is not None


READ = ("GET", "HEAD")
NOWHERE = "other"
"""The label of every path that is not served."""
TEXT = "/page/text"

ROUTES = (
    Route("/v1/chat/completions", ("POST",), generates=True),
    Route("/v1/completions", ("POST",), generates=True),
    Route("/v1/models", ("GET",)),
    Route("/v1/models/*", ("GET",)),
    Route("/page/tokens", ("POST",)),
    Route(TEXT, ("POST",)),
    Route("/", READ, keyed=False),
    Route("/health", READ, keyed=False),
    Route("/ready", READ, keyed=False),
    Route("/page/*", READ, keyed=False),
)


def route_of(scope: Scope) -> tuple[Route, str]:
    """The route of a request, and its path below where the app is mounted (`root_path`).

    Paths are compared as a whole and as they are: `//v1/models`, `/v1/models/` and `/V1/models` are
    others. Escapes are served nowhere but in a model's name.

    Raises:
        Refusal: 404, or 405.
    """
    path = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    if root and path.startswith(root + "/"):
        path = path.removeprefix(root)
    route = next((route for route in ROUTES if route.matches(path)), None)
    escaped = b"%" in scope.get("raw_path", b"")
    if route is None or (escaped and route.label != "/v1/models/*"):
        raise Refusal(404, "There is nothing at this path.", code="not_found")
    if scope["method"] not in route.methods:
        raise Refusal(
            405,
            f"{path} takes {' and '.join(route.methods)}, not {scope['method']}.",
            code="method_not_allowed",
            headers={"allow": ", ".join(route.methods)},
        )
    return route, path
