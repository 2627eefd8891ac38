"""A store with stories, a recipe over them, and the job that it is given to."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from longspan.config.load import load
from longspan.generate.parts import read_parts
from longspan.instruct.outcome import read_manifest
from longspan.instruct.prepare import Prepared, prepare
from longspan.instruct.schema import InstructRecipe
from longspan.instruct.tables import REPLIES
from longspan.storage import Store
from tests.instruct.texts import story
from tests.raw import jsonl, put, text

ROOT = Path(__file__).parents[2]
WINDOW = 1200


class Project:
    """A folder with a store and a recipe; jobs run on the cluster of the test session."""

    def __init__(
        self, folder: Path, recipe: dict[str, Any], documents: int, paragraphs: int
    ) -> None:
        self.store = Store(str(folder / "store"))
        stories = [story(number, paragraphs) for number in range(documents)]
        put(
            self.store,
            {
                "raw/many.jsonl": jsonl(stories[: documents // 2]),
                "raw/rest.jsonl": jsonl([*stories[documents // 2 :], "", "  \n"]),
                "raw/short.txt": text([story(900, 1)]),
                "raw/empty.txt": b"",
                "raw/refused.txt": text([story(901, 1), "Zoe kept a mirror in house 1."]),
                "raw/image.txt": b"\x89PNG\r\n\x1a\n\xff\xd8 no text at all",
            },
        )
        self.path = folder / "recipe.yaml"
        facts = {"name": "x", "target_context": WINDOW, "storage": {"root": self.store.root}}
        corpora = [{"name": "stories", "path": "raw"}]
        self.path.write_text(yaml.safe_dump(facts | {"corpora": corpora} | recipe))

    def start(self, *overrides: str, **environment: str) -> "subprocess.Popen[str]":
        """Start `python jobs/self_instruct.py recipe overrides` in the checkout."""
        import ray

        address = ray.get_runtime_context().gcs_address
        command = [sys.executable, "jobs/self_instruct.py", str(self.path), *overrides]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": address} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *overrides: str, **environment: str) -> tuple[int, str]:
        """Run it to its end: status, and all that it printed."""
        return end_of(self.start(*overrides, **environment))

    def prepared(self, *overrides: str) -> Prepared:
        return prepare(load(InstructRecipe, self.path, overrides))

    def replies(self) -> pa.Table:
        """All that is committed, whatever the generator."""
        folders = {
            item.path.rpartition("/")[0] for item in self.store.list("instruct/x/replies-*/*")
        }
        return pa.concat_tables(
            [read_parts(self.store, f, REPLIES) for f in sorted(folders)] or [REPLIES.empty_table()]
        )

    def manifest(self) -> dict[str, Any]:
        found = read_manifest(self.store, "instruct/x/manifest.json")
        assert found is not None, "no manifest"
        return found


def end_of(job: "subprocess.Popen[str]", seconds: float = 280) -> tuple[int, str]:
    """A job's status and output, once it has ended."""
    output, _ = job.communicate(timeout=seconds)
    return job.returncode, output


def until(true: Callable[[], Any], seconds: float = 400) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.2)


def engine_cores() -> list[Any]:
    """vLLM's engine processes below the Ray of this test session, by the name that they give themselves."""
    import psutil

    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name().startswith("VLLM::EngineCor"):  # The kernel keeps 15 letters.
                found.append(process)
    assert found, "no engine runs"
    return found
