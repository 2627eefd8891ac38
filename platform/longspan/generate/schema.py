"""Sections of recipes that say where text is generated: an endpoint, or engines of the job."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from longspan.config.section import Section


class Endpoint(Section):
    """A server that speaks the OpenAI chat API, as the generator."""

    url: str
    """Up to and including the version: https://host/v1."""
    model: str = Field(min_length=1)
    """The model's name there."""
    key_variable: str | None = None
    """Environment variable of the driver that holds the API key: API_KEY, or a name that ends in _API_KEY. The key
    itself is never in a recipe, and is sent over https only, or to this machine. Unset: no key is sent."""
    requests: int = Field(16, ge=1)
    """Requests on their way at a time."""
    timeout: float = Field(300.0, gt=0)
    """Seconds to wait for a reply."""
    retries: int = Field(5, ge=0)
    """How often a request is repeated that met a busy or absent server."""

    @field_validator("key_variable")
    @classmethod
    def _variable_holds_an_api_key(cls, name: str | None) -> str | None:
        # A recipe may be somebody else's: it must not have, say, the storage's credentials sent to its url.
        # The value is not repeated: it may be a key, by mistake.
        if name is not None and not re.fullmatch(r"([A-Z0-9_]+_)?API_KEY", name, re.ASCII):
            raise ValueError(
                "must be API_KEY or a name that ends in _API_KEY: no other variable is sent anywhere; "
                "put the endpoint's key into a variable with such a name"
            )
        return name

    @field_validator("url")
    @classmethod
    def _url_holds_no_secret(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"must be http://host:port/v1 or https://host/v1, but is {url!r}")
        if "@" in parts.netloc or parts.query:
            raise ValueError("must hold no credentials; name their variable with key_variable")
        return url.rstrip("/")


class EnginePool(Section):
    """vLLM engines of the job: how many, where, and how they are given requests."""

    engines: int = Field(1, ge=1)
    """Engines at most; each takes a GPU of the cluster, or the CPUs of a node."""
    pool: str | None = Field(None, min_length=1)
    """Engines only on nodes whose label `longspan.io/pool` has this value. Unset: any node."""
    batch: int = Field(16, ge=1)
    """Requests that an engine is given, and gives back, together."""
