"""What the service answers beside vLLM: whether it lives, and whether it is ready."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route


def health_routes(server: Any) -> list[BaseRoute]:
    """Routes that come before those of vLLM.

    Args:
        server: the replica, with ``check_health`` and ``is_paused``.
    """

    async def health(request: Request) -> Response:
        return await _alive(server)

    async def ready(request: Request) -> Response:
        if await server.is_paused():
            return _no("the engine is paused")
        return await _alive(server)

    return [Route("/health", health), Route("/ready", ready)]


async def _alive(server: Any) -> Response:
    try:
        await server.check_health()
    except Exception as error:  # Whatever it is: Serve replaces the replica.
        return _no(f"the engine has died: {type(error).__name__}")
    return JSONResponse({"status": "ok"})


def _no(why: str) -> Response:
    return JSONResponse({"status": why}, status_code=503, headers={"Retry-After": "10"})
