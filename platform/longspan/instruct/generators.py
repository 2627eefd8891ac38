"""A recipe's generator on a cluster: its model on every node, its engines on what there is."""

from __future__ import annotations

from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from longspan.errors import UserError
from longspan.instruct.ask import Generator
from longspan.instruct.engine import Engine
from longspan.instruct.prepare import Prepared, under
from longspan.model.source import local_model_dir
from longspan.storage import Store
from longspan.train.job import Job


def make_generator(prepared: Prepared) -> Generator:
    """The recipe's generator, on the cluster that is connected.

    Raises:
        UserError: the model is not whole.
    """
    asked = prepared.recipe.generator
    if asked.endpoint:
        return Generator(prepared.tokenizer, endpoint=asked.endpoint, key=prepared.key)
    resources = ray.cluster_resources()
    engine = Engine(
        _engine_model(prepared),
        prepared.sizes.window,
        gpu=bool(resources.get("GPU")),
        engines=asked.engines,
        batch=asked.batch,
        arguments=asked.engine,
        cpus=int(resources.get("CPU", 1)),
    )
    return Generator(prepared.tokenizer, engine)


def _engine_model(prepared: Prepared) -> str:
    """The generator as the engines find it: a hub name, or a folder that is on every node."""
    model, store = prepared.model, prepared.store
    assert model is not None
    if not model.startswith("s3://"):
        if Path(model).is_absolute():
            with under("generator.model"):
                local_model_dir(model, store, Job.cache_folder())
        return model
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    fetch = ray.remote(num_cpus=0)(_fetched)
    folders = ray.get(
        [
            fetch.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
            ).remote(model, store)
            for node in nodes
        ]
    )
    if len(set(folders)) > 1:
        raise UserError(
            f"generator.model: nodes keep {model} in different folders ({', '.join(sorted(set(folders)))}); "
            "set XDG_CACHE_HOME alike on all of them"
        )
    return folders[0]


def _fetched(model: str, store: Store) -> str:
    return str(local_model_dir(model, store, Job.cache_folder()))
