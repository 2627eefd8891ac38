"""What the benchmarks share: the samples, a local Ray, rows in real shards, tables."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The benchmarks' own Ray, whatever head the shell has been pointed at.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from benchmarks import ROOT
from benchmarks.tables import machine as machine
from benchmarks.tables import table as table
from longspan.corpus.sources import SourceSpec
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.ingest.objects import Settings, ingest_object
from longspan.observe.metrics import read_metrics
from longspan.shards.manifest import SourceManifest
from longspan.storage import Store

SAMPLES = ("books", "encyclopedia", "code")
SEPARATOR = "<|endoftext|>"


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options that all benchmarks have."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument(
        "--model",
        type=Path,
        default=ROOT / ".longspan/models/SmolLM2-135M-Instruct",
        help="folder of the sample model (make sample)",
    )
    options.add_argument(
        "--samples",
        type=Path,
        default=ROOT / ".longspan/store",
        help="store with the sample corpora below corpora/ (make sample)",
    )
    return options


def parse(options: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line; a sample that is not there ends the program with what to do."""
    parsed = options.parse_args()
    for needed in (parsed.model / "tokenizer.json", parsed.samples / "corpora"):
        if not needed.exists():
            options.error(f"{needed} is not there: 'make sample' makes the samples")
    return parsed


@contextmanager
def local_ray(cpus: int) -> Iterator[None]:
    """A Ray of one's own, apart from any that runs on this machine."""
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    folder = tempfile.mkdtemp(prefix="ls-", dir="/tmp")  # Short, for Ray's Unix sockets.
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        _temp_dir=folder,
        logging_level="ERROR",
        log_to_driver=False,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_store() -> Iterator[Store]:
    """A folder store that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="longspan-benchmark-") as folder:
        yield Store(folder)


def sample_spec(samples: Path, name: str) -> SourceSpec:
    """One of the sample corpora as a source."""
    return SourceSpec(name, (str(samples.resolve() / "corpora" / name),))


def sample_shards(
    store: Store, model: Path, samples: Path, objects: int | None = None
) -> tuple[SourceManifest, ...]:
    """The samples (the first `objects` of each) as token shards in `store`, made without Ray."""
    tokenizer = Tokenizer(model, SEPARATOR)
    settings = Settings(tokenizer.hash, SEPARATOR, 0.0, 2**20)
    manifests = []
    for spec in (sample_spec(samples, name) for name in SAMPLES):
        done = [
            ingest_object(store, spec, info, settings, tokenizer, "stop")
            for info in store.list(spec.patterns[0], limit=objects)
        ]
        manifests.append(SourceManifest.of(spec.name, tokenizer.hash, SEPARATOR, done))
    return tuple(manifests)


def updates_of(store_root: str, run: str) -> list[dict[str, Any]]:
    """The update records of a run, in order."""
    records = read_metrics(Store(store_root), f"runs/{run}/metrics")
    updates = [record for record in records if record["kind"] == "update"]
    if not updates:
        raise SystemExit(f"run {run!r} has no updates in {store_root}/runs/{run}/metrics")
    return updates


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returns, and the seconds it took."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began
