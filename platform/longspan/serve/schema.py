"""What a user writes about the chat service: the `args` of `serving/chat.yaml` as pydantic models.

Validation here is pure: it reads no file and starts nothing.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from longspan.config.common import Storage
from longspan.config.engine_options import checked_options
from longspan.config.section import Section
from longspan.serve.gateway.limits import GatewayLimits

RESERVED = {
    "model": "model",
    "served_model_name": "name",
    "max_model_len": "window",
    "tokenizer": "model",
    "kv_cache_memory_bytes": "cache_gib",
}
"""Engine arguments that the service sets itself, and the key that says it instead."""


class Replicas(Section):
    """How many engines there are."""

    min: int = Field(1, ge=0)
    """0: none while nobody asks; the first request then waits for one to start."""
    max: int = Field(1, ge=1)
    """Most replicas."""
    target_tokens: int | None = Field(None, ge=1)
    """Queued and running tokens of one replica, above which there are more of them. Unset: what its cache holds."""
    upscale_delay: float = Field(15.0, ge=0)
    """Seconds for which there is too much to do before one more is started."""
    downscale_delay: float = Field(300.0, ge=0)
    """Seconds for which there is too little to do before one ends."""
    prefix_characters: int = Field(16384, ge=0)
    """Prompts alike in so many characters at their beginning go to one replica, whose cache has them; shorter
    ones to any. More than the system prompt that all users share, or they all meet there. 0: any replica."""
    drain: float = Field(600.0, ge=0)
    """Seconds that a replica which is to end has for the answers that it is at."""

    @model_validator(mode="after")
    def _some_number_is_allowed(self) -> Replicas:
        if self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}")
        return self


class ServeSettings(Section):
    """One chat model, served."""

    model: str = Field(min_length=1)
    """Hugging Face folder (local, relative to storage.root, s3://) or hub name (owner/name, owner/name@revision)."""
    revision: str | None = None
    """Hash of the model's folder when this was deployed, or a hub model's commit; a replica that finds
    something else there does not start. Unset: taken down by `python -m longspan.serve deploy`."""
    name: str | None = Field(None, pattern=r"^[\w.-]+$")
    """Name of the model for clients. Unset: the run's name, or the folder's."""
    window: int | None = Field(None, ge=16)
    """Tokens of a prompt and its answer. Unset: the model's own."""
    pool: str | None = Field(None, min_length=1)
    """Only nodes whose label `longspan.io/pool` has this value. Unset: any node."""
    replicas: Replicas = Replicas()
    expected_answer: int = Field(512, ge=1)
    """Tokens that an answer is counted with beforehand, at most, when replicas are added."""
    cache_gib: float | None = Field(None, gt=0)
    """Memory of the key-value cache, GiB. Unset: derived from the device's memory; `plan` says how."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """More arguments of the vLLM engine, in place of what is derived (tensor_parallel_size, dtype,
    tool_call_parser, ...); docs/serving.md lists them."""
    limits: GatewayLimits = GatewayLimits()
    """Limits of requests and of uploads."""
    storage: Storage = Storage()
    """Where relative names of models start."""
    control: Storage | None = None
    """Where API keys and version records are, if not in `storage`: a store that jobs cannot write. Unset: in
    `storage`."""

    @field_validator("engine")
    @classmethod
    def _engine_is_ours(cls, engine: dict[str, Any]) -> dict[str, Any]:
        return checked_options(engine, RESERVED)
