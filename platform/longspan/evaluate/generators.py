"""Generators of an evaluation: engines of one of its models, or its endpoint."""

from __future__ import annotations

from pydantic import SecretStr

from longspan.evaluate.models import EvaluatedModel
from longspan.evaluate.schema import Engine
from longspan.generate.cluster import EngineModel, end_tokens, engine_on_cluster
from longspan.generate.endpoint import EndpointAccess
from longspan.generate.generators import EndpointGenerator, EngineGenerator
from longspan.generate.progress import Log
from longspan.generate.schema import Endpoint
from longspan.storage import Store


def engine_generator(
    model: EvaluatedModel, engine: Engine, window: int, store: Store, log: Log
) -> EngineGenerator:
    """Return engines of a model on the cluster that is connected; a pool's first machine is waited for.

    Args:
        model: to ask.
        engine: section of the recipe.
        window: longest length that is asked for, in tokens; it may be longer than the model's own window.
        store: where the model may be.
        log: takes lines on what is waited for.

    Raises:
        UserError: files of the model are missing.
    """
    asked = EngineModel(
        model.address,
        model.key,
        window,
        dict(engine.arguments),
        end_tokens(model.folder),
        model.facts.window,
    )
    return EngineGenerator(engine_on_cluster(asked, engine, store, log), model.key)


def endpoint_generator(endpoint: Endpoint, api_key: SecretStr, window: int) -> EndpointGenerator:
    """Return the endpoint of the recipe.

    Args:
        endpoint: section of the recipe.
        api_key: of the endpoint.
        window: tokens of prompt and answer that it takes: longer ones are not sent.
    """
    return EndpointGenerator(EndpointAccess(endpoint, api_key, "endpoint", window))
