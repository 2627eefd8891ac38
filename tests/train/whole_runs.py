"""Runs of the small project's recipe without Ray, from start to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from longspan.config.locations import open_store
from longspan.observe.metrics import read_metrics
from longspan.recipe.load import load_training
from longspan.storage import Store
from longspan.train import standalone
from longspan.train.data.corpora import ingest_of
from tests.in_process import ingest
from tests.jobs.project import write_corpora, write_recipe
from tests.ranks import RankServer
from tests.tiny import VOCABULARY, make_tiny_model, make_tiny_tokenizer


def ingest_corpora(recipe: str) -> None:
    loaded = load_training(recipe)
    ingest(ingest_of(loaded, open_store(loaded)))


class WholeRuns:
    """Runs of one recipe in one store."""

    def __init__(self, ranks: RankServer, folder: Path) -> None:
        self.ranks, self.store = ranks, Store(str(folder / "store"))
        self.recipe = folder / "recipe.yaml"
        write_corpora(folder / "store")
        write_recipe(self.recipe, self.store, make_tiny_model(folder / "base"))
        done = ranks.run(1, ingest_corpora, str(self.recipe))
        assert done.returncode == 0, done.stderr[-3000:]

    def train(self, name: str, workers: int, *overrides: str) -> str:
        """Train a run to its end; returns its path."""
        arguments = [str(self.recipe), f"name={name}", f"workers={workers}", *overrides]
        done = self.ranks.run(workers, standalone.main, arguments, timeout_s=300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return f"runs/{name}"

    def losses(self, name: str) -> list[float]:
        """Training losses of a run, by update."""
        records: list[dict[str, Any]] = read_metrics(self.store, f"runs/{name}/metrics")
        return [record["loss"] for record in records if record["kind"] == "update"]


def make_family(folder: Path, model_type: str) -> Path:
    """Write a tiny random model of a type of transformers with the tiny tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from longspan.model.shrink import tiny_config
    from longspan.model.support import default_config

    full = AutoConfig.for_model(**default_config(model_type))
    sizes = {"vocab_size": VOCABULARY, "max_position_embeddings": 256}
    config = type(full)(**{**tiny_config(full.to_dict()), **sizes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)
    return folder
