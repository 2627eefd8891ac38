"""Addresses that a recipe or the environment gives: which may be sent credentials, and how they are shown."""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

HTTP_HOSTS = "LONGSPAN_HTTP_HOSTS"
"""Environment variable of whoever runs a job: hosts, separated by commas, that may be asked over http."""

_CREDENTIALS = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#'\"]*@")
_QUERY = re.compile(r"(\bhttps?://[^\s?#'\"]+)\?[^\s'\"]+")
_BEARER = re.compile(r"(\b(?:bearer|basic) )[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_TOKENS = re.compile(r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{16,})\b")


def redacted(text: str) -> str:
    """Return ``text`` without what is secret in addresses and headers.

    That is credentials and queries of URLs (a presigned address has its signature there), bearer tokens,
    and keys that are known by their form.
    """
    text = _CREDENTIALS.sub(r"\1***@", text)
    text = _QUERY.sub(r"\1?***", text)
    text = _BEARER.sub(r"\1***", text)
    return _TOKENS.sub("***", text)


def may_send_credentials(url: str) -> bool:
    """Return whether a request that carries credentials may go to ``url``.

    It may over https, to this machine itself, and to hosts that `HTTP_HOSTS` names: a recipe, which may
    be somebody else's, cannot extend that.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" or is_loopback(host) or host in _trusted_hosts()


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its very name; no name is resolved."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def http_refusal(url: str) -> str:
    """Return what is wrong with an address that `may_send_credentials` refuses, and what to do."""
    host = urlsplit(url).hostname
    return (
        f"credentials would be sent to {host} in clear ({redacted(url)}); use https, or, if you trust the "
        f"network between, set {HTTP_HOSTS}={host} in the environment of the job's driver (for the chat "
        "service in its runtime_env.env_vars as well)"
    )


def _trusted_hosts() -> set[str]:
    return {host.strip().lower() for host in os.environ.get(HTTP_HOSTS, "").split(",")} - {""}
