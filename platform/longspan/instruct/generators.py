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
from longspan.run.machines import Say, gpus_of, machines, start_machine
from longspan.storage import Store
from longspan.train.job import Job


def make_generator(prepared: Prepared, say: Say) -> Generator:
    """The recipe's generator, on the cluster that is connected; a pool's first machine is waited for.

    Raises:
        UserError: the model is not whole.
    """
    asked = prepared.recipe.generator
    if asked.endpoint:
        return Generator(prepared.tokenizer, endpoint=asked.endpoint, key=prepared.key)
    start_machine(asked.pool, say)
    nodes = machines(asked.pool)
    engine = Engine(
        _engine_model(prepared),
        prepared.sizes.window,
        gpu=any(map(gpus_of, nodes)),
        engines=asked.engines,
        batch=asked.batch,
        arguments=asked.engine,
        cpus=int(sum(node["Resources"].get("CPU", 0) for node in nodes)),
        pool=asked.pool,
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
    nodes = [node["NodeID"] for node in machines(prepared.recipe.generator.pool)]
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
