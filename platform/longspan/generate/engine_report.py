"""Models as vLLM engines have loaded them, and as they are expected to be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longspan._compat.vllm_engine import model_config
from longspan.chat.token_probe import TokenProbe
from longspan.errors import UserError
from longspan.model.facts import rope_of_config
from longspan.model.loaded import rope_differences, window_difference

REPORT = "engine"
"""Column of the report of the engine that answered (`LoadedModel.report`)."""
MISMATCH = "EngineMismatch"
"""Kind of the error of every row that is given to an engine whose model is not the expected one."""


@dataclass(frozen=True)
class LoadedModel:
    """A model as an engine has loaded it.

    Attributes:
        vllm: version of vLLM.
        window: tokens of a prompt and its reply (`max_model_len`).
        config: the Hugging Face config that it works with.
        dtype: of its weights.
        tokens: of its tokenizer.
    """

    vllm: str
    window: int
    config: Mapping[str, Any]
    dtype: str
    tokens: TokenProbe

    @classmethod
    def of(cls, engine: Any) -> LoadedModel:
        """Return the model of vLLM's `AsyncLLM`."""
        import vllm

        loaded = model_config(engine)
        return cls(
            vllm.__version__,
            loaded.max_model_len,
            loaded.hf_config.to_dict(),
            str(loaded.dtype).removeprefix("torch."),
            TokenProbe.of(engine.get_tokenizer()),
        )

    def report(self) -> str:
        """Return what is recorded of it, as JSON."""
        return json.dumps(
            {
                "vllm": self.vllm,
                "window": self.window,
                "rope": self._rope(),
                "dtype": self.dtype,
                "tokens": self.tokens.hashes,
            },
            sort_keys=True,
        )

    def _rope(self) -> dict[str, Any]:
        try:
            return rope_of_config(self.config)
        except UserError:
            return {}  # A model without rotary positions, or with several sets of them.


@dataclass(frozen=True)
class ExpectedModel:
    """Facts of a model that an engine must agree with.

    Attributes:
        name: of the model, for messages.
        setting: the recipe's key that names it, for messages.
        rope: its `rope_parameters` (`ModelFacts.rope`).
        tokens: of its tokenizer.
    """

    name: str
    setting: str
    rope: Mapping[str, Any]
    tokens: TokenProbe

    def differences(self, loaded: LoadedModel, window: int) -> list[str]:
        """Return what an engine has loaded otherwise, with both values each.

        Args:
            loaded: by the engine.
            window: tokens of a prompt and its reply that the engine was asked for.
        """
        return [
            *window_difference(window, loaded.window),
            *rope_differences(self.rope, loaded.config),
            *self.tokens.differences(loaded.tokens, "the engine"),
        ]

    def refusal(self, problems: Sequence[str]) -> str:
        """Return the message about an engine that has loaded the model otherwise; see `differences`."""
        return (
            f"{self.setting}: vLLM has loaded {self.name!r} otherwise than its folder states: {'; '.join(problems)}. "
            "Nothing was asked: take what changes this out of the engine's arguments, or export the model again"
        )
