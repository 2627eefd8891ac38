"""Private interfaces of Ray Serve LLM 2.60 and vLLM 0.29: the engine in a replica, and the application around it.

This module imports vLLM, which a machine that only plans or deploys may lack.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ray.serve.llm import LLMServer

from longspan._compat.vllm_engine import model_config


class ASGIServer(LLMServer):
    """A replica that serves an ASGI application of its own around vLLM's.

    Ray Serve LLM can only be subclassed for this: its builders offer no hook between the engine and HTTP.
    """

    async def application(self, engine_app: Any) -> Any:
        """Return the ASGI application to serve.

        Args:
            engine_app: vLLM's own FastAPI application.
        """
        return engine_app

    async def __serve_build_asgi_app__(self) -> Any:
        """Build the application; Ray Serve calls this method by its name once the engine runs."""
        return await self.application(await super().__serve_build_asgi_app__())

    async def _maybe_resolve_lora_from_multiplex(self) -> None:
        """Load no adapter: without adapters Ray would fail each request whose headers name one."""

    @property
    def async_llm(self) -> Any:
        """VLLM's AsyncLLM, for which Ray's wrapper has no public name."""
        return self.engine._engine_client


async def generate(async_llm: Any, prompt: list[int], max_tokens: int) -> AsyncIterator[Any]:
    """Generate a reply to token ids, outside any request.

    Args:
        async_llm: vLLM's AsyncLLM.
        prompt: token ids.
        max_tokens: of the reply.

    Yields:
        vLLM's outputs.
    """
    from vllm import SamplingParams

    sampling = SamplingParams(max_tokens=max_tokens)
    async for output in async_llm.generate({"prompt_token_ids": prompt}, sampling, "warm-up"):
        yield output


def loaded_model(async_llm: Any) -> tuple[dict[str, Any], int]:
    """Return the config of the model that vLLM has loaded, and its window in tokens."""
    loaded = model_config(async_llm)
    return loaded.hf_config.to_dict(), loaded.max_model_len


def unfinished_requests(async_llm: Any) -> list[tuple[int, int | None]]:
    """Return the tokens of each unfinished request: of its prompt, and the most that its reply may have.

    vLLM's metrics count requests and not their tokens.
    """
    states = async_llm.output_processor.request_states.values()
    return [(state.prompt_len, state.max_tokens_param) for state in states]


def set_model_root(engine_app: Any, root: str) -> None:
    """Set what `/v1/models` tells as the `root` of the models; vLLM tells the folder that it loaded one from.

    No argument of vLLM's changes it.
    """
    for model in engine_app.state.openai_serving_models.base_model_paths:
        model.model_path = root
