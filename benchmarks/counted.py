"""A job whose first worker writes down every update that it does, in a file that outlives a kill.

    python benchmarks/counted.py RECIPE [key.path=value ...]

It is jobs/pretrain.py but for two things: a tracker more, which appends each record to
`counted.jsonl` beside the run (a run's own metrics are flushed every half minute, and a killed
worker takes the last of them with it), and one thread for every worker however many there are, as
on a machine whose cores belong to other workers.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import benchmarks  # noqa: F401  # where the package is


class Counter:
    """Appends lines to a local file; what it was given is in the kernel's hands at once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a")

    def log(self, record: Mapping[str, Any]) -> None:
        """One line."""
        self._file.write(json.dumps({**record, "time": time.time()}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Nothing follows."""
        self._file.close()


def counted(path: Path) -> list[dict[str, Any]]:
    """What was written down, in the order of time; none before the first line."""
    if not path.exists():
        return []
    # The last line may be half there.
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def worker(config: dict[str, Any]) -> None:
    """Ray Train's worker, with the counter."""
    import torch

    from longspan.train import ray_host

    class Host(ray_host.RayHost):
        def __init__(self, job: Any, log: Any) -> None:
            torch.set_num_threads(1)
            super().__init__(job, log)

        def trackers(self) -> list[Any]:
            job = config["job"]
            return [*super().trackers(), Counter(Path(job.store.root, job.layout.run_path, FILE))]

    ray_host.RayHost = Host  # In this process, which is the worker's.
    ray_host._train_worker(config)


FILE = "counted.jsonl"


def main(recipe_file: str, overrides: list[str]) -> None:
    """What jobs/pretrain.py does."""
    from longspan.recipe.load import load_recipe
    from longspan.runtime.session import cluster_device, connected
    from longspan.train import ray_host
    from longspan.train.prepare import prepare

    recipe = load_recipe(Path(recipe_file), overrides)
    ray_host._train_worker = import_module("benchmarks.counted").worker
    with connected() as log:
        ray_host.fit(prepare(recipe, cluster_device(recipe.workers, log)), log)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
