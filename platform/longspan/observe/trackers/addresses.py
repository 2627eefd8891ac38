"""Addresses of tracking servers in a recipe."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit


def without_login(variables: str) -> Callable[[str], str]:
    """Return a validator that refuses an address with credentials in it, and names what to set instead."""

    def check(address: str) -> str:
        parts = urlsplit(address)
        has_token = any("token" in name or "key" in name for name in parse_qs(parts.query))
        if parts.username or parts.password or has_token:
            raise ValueError(
                f"holds credentials, and a recipe is stored with the run; set {variables} in the environment of the "
                "workers"
            )
        return address

    return check
