"""Engines on a cluster: the model on every node, the engines on the nodes that there are."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longspan.errors import UserError
from longspan.generate.engine import Engine
from longspan.generate.engine_report import ExpectedModel
from longspan.generate.progress import Log
from longspan.generate.schema import EnginePool
from longspan.model.cache import model_cache_folder
from longspan.model.source import local_model_dir, named
from longspan.storage import Store


@dataclass(frozen=True)
class EngineModel:
    """Model of an engine, and how it is run.

    Attributes:
        address: an absolute folder, an s3:// address, or a hub name with its commit.
        setting: the recipe's key that names it, for messages.
        window: tokens of a prompt and its reply.
        arguments: more of vLLM's engine arguments.
        end_tokens: see `Engine`.
        model_window: see `Engine`.
        expected: see `Engine`.
    """

    address: str
    setting: str
    window: int
    arguments: dict[str, Any] = field(default_factory=dict)
    end_tokens: tuple[int, ...] = ()
    model_window: int | None = None
    expected: ExpectedModel | None = None


def engine_on_cluster(model: EngineModel, placement: EnginePool, store: Store, log: Log) -> Engine:
    """Return the engines of a model on the cluster that is connected; a pool's first machine is waited for.

    Raises:
        UserError: files of the model are missing, or nodes keep it in different folders.
    """
    from longspan.runtime.nodes import gpus_of, machines, start_machine

    start_machine(placement.pool, log)
    nodes = machines(placement.pool)
    return Engine(
        _on_every_node(model, [node["NodeID"] for node in nodes], store),
        model.window,
        gpu=any(map(gpus_of, nodes)),
        engines=placement.engines,
        batch=placement.batch,
        arguments=model.arguments,
        cpus=int(sum(node["Resources"].get("CPU", 0) for node in nodes)),
        pool=placement.pool,
        end_tokens=model.end_tokens,
        model_window=model.model_window,
        expected=model.expected,
    )


def end_tokens(folder: Path) -> tuple[int, ...]:
    """Return the token ids that end a reply of a model, as its generation_config.json and config.json state them.

    Args:
        folder: the model's, or only its small files.
    """
    found: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            stated = json.loads((folder / name).read_text()).get("eos_token_id")
            found |= set(stated if isinstance(stated, list) else [] if stated is None else [stated])
    return tuple(sorted(found))


def _on_every_node(model: EngineModel, nodes: list[str], store: Store) -> str:
    """Return the model as engines find it: a hub name, or a folder that is on every node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if not model.address.startswith("s3://"):
        if Path(model.address).is_absolute():
            with named(model.setting):
                local_model_dir(model.address, store, model_cache_folder())
        return model.address
    fetch = ray.remote(num_cpus=0)(_fetched)
    folders = ray.get(
        [
            fetch.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
            ).remote(model.address, store)
            for node in nodes
        ]
    )
    if len(set(folders)) > 1:
        raise UserError(
            f"{model.setting}: nodes keep {model.address} in different folders "
            f"({', '.join(sorted(set(folders)))}); set XDG_CACHE_HOME alike on all of them"
        )
    return folders[0]


def _fetched(model: str, store: Store) -> str:
    return str(local_model_dir(model, store, model_cache_folder()))
