"""A process that asks engines for samples: python -m tests.evaluate.engine_driver STORE MODEL DELIVERED.

Each reply that comes out of the engines is noted in the file DELIVERED, whether or not it is recorded afterwards.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ray

from longspan.evaluate.ask import ask_samples
from longspan.evaluate.grid import SampleGrid
from longspan.generate import parts
from longspan.generate.cluster import EngineModel, engine_on_cluster
from longspan.generate.generators import EngineGenerator
from longspan.generate.requests import RequestSource, Row
from longspan.generate.schema import EnginePool
from longspan.storage import Store
from tests.evaluate.fake_models import Codes, fake_source

BATCH = 4
PART_ROWS = 4
WINDOW = 512
# One request after the other has the same floats, whatever others there are.
ARGUMENTS = {"dtype": "float32", "max_num_seqs": 1}


@dataclass(frozen=True)
class Noting(EngineGenerator):
    """Notes the sample of each reply in a file."""

    delivered: Path = field(kw_only=True)

    def records(
        self, items: Sequence[Row], source: RequestSource, name: str
    ) -> Iterable[list[Row]]:
        """See `TextGenerator.records`."""
        for rows in super().records(items, source, name):
            with self.delivered.open("a") as file:
                file.writelines(f"{row['sample']}\n" for row in rows)
            yield rows


def grid() -> SampleGrid:
    tasks = (Codes("one"), Codes("two", codes=2, max_tokens=32))
    return SampleGrid(tasks, (256, WINDOW), 12, fake_source(), "m")


def main(root: str, model: str, delivered: str) -> None:
    parts.PART_ROWS = PART_ROWS
    ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
    store = Store(root)
    described = EngineModel(model, "model", WINDOW, ARGUMENTS)
    engine = engine_on_cluster(described, EnginePool(batch=BATCH), store, print)
    generator = Noting(engine, "model", delivered=Path(delivered))
    ask_samples(grid(), generator, store, "e", lambda line: print(line, flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
