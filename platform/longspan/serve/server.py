"""A replica: one process that holds vLLM's engine and everything that a request passes on its way to it.

This module imports vLLM, which a machine that only plans or deploys may lack.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

from ray import serve
from ray.serve.llm import LLMConfig
from starlette.types import Message

from longspan._compat.llm_server import (
    ASGIServer,
    generate,
    loaded_model,
    set_model_root,
    unfinished_requests,
)
from longspan.serve.capacity import relays
from longspan.serve.control import open_control
from longspan.serve.counter import TokenCounter
from longspan.serve.gateway.access_log import AccessLog
from longspan.serve.gateway.admission import Room
from longspan.serve.gateway.control_tokens import ControlTokens
from longspan.serve.gateway.errors import Refusal
from longspan.serve.gateway.gateway import Gateway
from longspan.serve.gateway.keyring import KeyRing
from longspan.serve.gateway.raymeter import RayMeter
from longspan.serve.health import health_routes
from longspan.serve.model import ServedModel, check_loaded, fetch
from longspan.serve.page import routes as page
from longspan.serve.relay import Relay, answers
from longspan.serve.scaling import METRIC
from longspan.serve.schema import ServeSettings


class ChatServer(ASGIServer):
    """vLLM behind an HTTP application of its own.

    Ray Serve gives requests to the application as they came and takes its answers as they are: no part of
    an answer is parsed, gathered or serialised between the engine's process and the proxy.
    """

    async def __init__(
        self, llm_config: LLMConfig, *, model: ServedModel, settings: ServeSettings
    ) -> None:
        """Load the model and compare what came of it with what its folder states.

        Raises:
            UserError: they differ, or the model can't be had.
        """
        self._model, self._settings = model, settings
        self._room = Room(settings.limits.max_requests, settings.limits.max_key_share)
        _log_to_stdout()
        self._folder = await asyncio.to_thread(fetch, model.address, settings)
        here = {"model_loading_config": {"model_id": model.name, "model_source": str(self._folder)}}
        stated = llm_config.model_dump(exclude_unset=True)
        await super().__init__(LLMConfig.model_validate(stated | here))
        check_loaded(model, *loaded_model(self.async_llm))
        await self._warm_up()

    async def application(self, engine_app: Any) -> Any:
        """The gateway around vLLM's own FastAPI application, our routes before its own."""
        self._engine_app = app = engine_app
        # `/v1/models` shows where a model was loaded from: a path of this node.
        set_model_root(app, self._model.name)
        limits, meter = self._settings.limits, RayMeter()
        counter = TokenCounter(self._folder, self._model.name, self._model.window)
        if not limits.split_control_tokens:
            counter.control_tokens = ControlTokens()
        app.router.routes[:0] = [*health_routes(self), *page.routes(counter)]
        keys = KeyRing(
            open_control(self._settings), max_age_s=limits.keys_max_age_s, on_look=meter.keys_age
        )
        return Gateway(
            self._relay(app),
            keys=keys,
            window=self._model.window,
            limits=limits,
            room=self._room,
            observers=(AccessLog(), meter),
            count=counter.count_body,
            control_tokens=counter.control_tokens,
        )

    def _relay(self, app: Any) -> Any:
        """The same application, where a prompt may belong to another replica behind a relay."""
        if not relays(self._settings):
            return app
        here = serve.get_replica_context()
        others = serve.get_deployment_handle(here.deployment, here.app_name).options(stream=True)
        return Relay(
            app,
            others.answer_for_another,
            here.replica_id.unique_id,
            self._settings.replicas.prefix_characters,
        )

    async def answer_for_another(
        self, scope: dict[str, Any], body: bytes
    ) -> AsyncIterator[list[Message]]:
        """What the engine says to a request that passed another replica's gateway, as ASGI messages.

        Raises:
            RuntimeError: there is no room; the other replica then answers by itself.
        """
        seconds = self._settings.limits.request_seconds
        with ExitStack() as held:
            try:
                held.enter_context(self._room.taken())
            except Refusal as full:
                raise RuntimeError(str(full)) from None
            async for messages in answers(self._engine_app, scope, body, seconds):
                yield messages

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Tokens of all that the engine has queued or running: prompts, and answers as long as expected."""
        most = self._settings.expected_answer
        requests = unfinished_requests(self.async_llm)
        tokens = sum(prompt + min(answer or most, most) for prompt, answer in requests)
        return {METRIC: float(tokens)}

    async def _warm_up(self) -> None:
        """The first request sets a good deal up; no user shall wait for it."""
        async for _ in generate(self.async_llm, [0, 1], max_tokens=2):
            pass


def _log_to_stdout() -> None:
    """The service's own lines, those of the access log among them, as they are: Ray keeps what a replica prints."""
    log = logging.getLogger("longspan")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler(sys.stdout))
