"""A process that asks a fake model for samples: python -m tests.evaluate.ask_driver STORE URL.

Parts are small, so that a kill finds some of them.
"""

import sys

from pydantic import SecretStr

from longspan.evaluate.ask import ask_samples
from longspan.evaluate.grid import SampleGrid
from longspan.generate import parts
from longspan.generate.endpoint import EndpointAccess, EndpointClient
from longspan.generate.generators import InProcessGenerator
from longspan.generate.schema import Endpoint
from longspan.storage import Store
from tests.evaluate.fake_models import MODEL, Codes, fake_source

PART_ROWS = 4


def grid() -> SampleGrid:
    tasks = (Codes("one"), Codes("two", codes=2, max_tokens=32))
    return SampleGrid(tasks, (256, 512), 12, fake_source(), "m")


def main(root: str, url: str) -> None:
    parts.PART_ROWS = PART_ROWS
    endpoint = Endpoint.model_validate({"url": url, "model": MODEL, "requests": 1, "retries": 0})
    access = EndpointAccess(endpoint, SecretStr("none"), "endpoint")
    ask_samples(grid(), InProcessGenerator(EndpointClient(access)), Store(root), "e", print)


if __name__ == "__main__":
    main(*sys.argv[1:])
