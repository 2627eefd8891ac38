"""Warnings about who reaches the service's port."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from longspan.observe.tables import size

if TYPE_CHECKING:
    from longspan.serve.config import ServeConfig


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach what listens on a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # A name: whatever it resolves to may change.
        return False


def without_token(environment: Mapping[str, str]) -> Iterator[str]:
    """A warning for a cluster that takes commands from anybody.

    Args:
        environment: of a process that is connected to it, which needs the token where there is one.
    """
    if environment.get("RAY_AUTH_MODE") != "token":
        yield (
            "Warning: RAY_AUTH_MODE is not 'token': Ray's ports on this cluster, and a port of each replica, run code "
            "for whoever reaches them. Start Ray with a token (`make head` and `. ./env.sh` do), or keep all of its "
            "ports to machines that you trust"
        )


def exposure(config: ServeConfig, window: int) -> Iterator[str]:
    """Warnings for a service that other machines reach without a proxy in between.

    Args:
        config: of the service.
        window: tokens of the model's window.
    """
    host = str(config.data["http_options"]["host"])
    if is_loopback(host):
        return
    limits = config.settings.limits
    body, document = size(limits.body_bytes(window)), size(limits.max_document_bytes)
    yield (
        f"Warning: http_options.host: {host} lets other machines reach Serve's proxy, which takes requests of any "
        "size and number before a key is looked at. Keep the port to a proxy that speaks TLS, bounds bodies "
        f"({body}; {document} for /page/text), the time of headers and the number of connections, and removes "
        "x-request-timeout-seconds and x-request-disconnect-disabled: docs/serving.md has one for nginx. Where that "
        "proxy runs on this machine, set host: 127.0.0.1"
    )
    if config.settings.replicas.min == 0:
        yield (
            "Warning: replicas.min: 0 with a port that others reach: any request, with a key or without, starts a "
            "replica, and keeps it for replicas.downscale_delay seconds"
        )
