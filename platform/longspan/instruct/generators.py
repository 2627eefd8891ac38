"""The generator that a recipe asks for, on the cluster that is connected."""

from __future__ import annotations

from longspan.generate.cluster import EngineModel, engine_on_cluster
from longspan.generate.endpoint import EndpointAccess
from longspan.generate.generators import EndpointGenerator, EngineGenerator, TextGenerator
from longspan.generate.progress import Log
from longspan.instruct.prepare import ENDPOINT, Prepared


def make_generator(prepared: Prepared, log: Log) -> TextGenerator:
    """Return the recipe's generator; a pool's first machine is waited for.

    Raises:
        UserError: files of the model are missing.
    """
    asked = prepared.recipe.generator
    if asked.endpoint:
        assert prepared.key is not None, "an endpoint without a key"
        return EndpointGenerator(EndpointAccess(asked.endpoint, prepared.key, ENDPOINT))
    assert prepared.model is not None, "neither a model nor an endpoint"
    model = EngineModel(prepared.model, "generator.model", prepared.sizes.window, asked.engine)
    engine = engine_on_cluster(model, asked, prepared.store, log)
    return EngineGenerator(engine, "generator", prepared.tokenizer.prompt_ids)
