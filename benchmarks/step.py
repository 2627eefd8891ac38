"""Step: tokens a second of our engine against a bare transformers and torch loop.

The same weights, rows, positions, threads and precision (fp32) in one process, which updates one
side after the other. The bare loop is what one would write without this project: the model's own
loss, AdamW, clipping. With --job, also the whole job's rate, from a run's metrics.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import (
    ROOT,
    machine,
    parse,
    parser,
    sample_shards,
    table,
    temporary_store,
    timed,
    updates_of,
)
from longspan.corpus.batch import Batch
from longspan.corpus.streamplan import local_batches
from longspan.recipe.derive import derive
from longspan.recipe.device import this_machines_device
from longspan.recipe.load import load_recipe
from longspan.recipe.model import look_at_model
from longspan.storage import Store
from longspan.train.job import Job


def sample_job(
    store: Store, model: Path, samples: Path, lengths: list[int], tokens: int, rounds: int
) -> Job:
    """The quickstart's job in fp32, with `rounds` updates of `tokens` tokens at each row length."""
    stages = [
        {"length": length, "until": (number + 1) / len(lengths)}
        for number, length in enumerate(lengths)
    ]
    overrides = [
        f"base_model={model.resolve()}",
        f"storage.root={samples.resolve()}",
        f"lengths={stages}",
        f"training.tokens={tokens * rounds * len(lengths)}",
        f"training.tokens_per_update={tokens}",
        "training.precision=fp32",
        "optimizer.warmup_updates=1",
    ]
    recipe = load_recipe(ROOT / "jobs/recipes/quickstart.yaml", overrides)
    facts = look_at_model(recipe, Store(str(samples))).facts
    manifests = sample_shards(store, model, samples, objects=1)
    return Job(recipe, derive(recipe, facts, this_machines_device(0)), store, manifests)


class Ours:
    """The engine, built as the job builds it, in a process group of one."""

    def __init__(self, job: Job, model: Path, group: Path) -> None:
        import torch.distributed as dist

        from longspan.train.loop import build_engine

        os.environ["LOCAL_RANK"] = "0"  # DeepSpeed asks for it, whatever made the process group.
        dist.init_process_group("gloo", f"file://{group}", rank=0, world_size=1)
        self._engine = build_engine(job, model, "sdpa")

    def update(self, batch: Batch) -> float:
        """One update; its loss."""
        return self._engine.update(batch).loss

    def close(self) -> None:
        """End the process group."""
        import torch.distributed as dist

        dist.destroy_process_group()


class Bare:
    """transformers and torch alone."""

    def __init__(self, job: Job, model: Path) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        from longspan.model.positions import rope_parameters

        config: Any = AutoConfig.from_pretrained(model)
        config.rope_parameters = rope_parameters(job.plan.positions)
        config.max_position_embeddings = job.plan.window
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            model, config=config, dtype=torch.float32, attn_implementation="sdpa"
        )
        self._model.train()
        optimizer = job.recipe.optimizer
        self._clip = optimizer.gradient_clipping
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(),
            lr=job.plan.learning_rate,
            betas=optimizer.betas,
            eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
        )
        self._micro_batch = job.plan.micro_batch

    def update(self, batch: Batch) -> float:
        """One update; its loss."""
        import torch

        rows = self._micro_batch[batch.length]
        parts = [slice(n, n + rows) for n in range(0, len(batch.tokens), rows)]
        total = 0.0
        for part in parts:
            tokens, positions, labels = (
                torch.as_tensor(array[part], dtype=torch.int64)
                for array in (batch.tokens, batch.positions, batch.labels)
            )
            # The model shifts labels itself: its label of a token is the token, where it counts.
            own = torch.cat([torch.full_like(labels[:, :1], -100), labels[:, :-1]], 1)
            output = self._model(
                input_ids=tokens, position_ids=positions, labels=own, use_cache=False
            )
            loss = output.loss / len(parts)
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return total


def rates(ours: Ours, bare: Bare, job: Job) -> dict[int, list[tuple[float, float, float]]]:
    """By row length, for each update: tokens a second of both sides, and their losses' distance."""
    found: dict[int, list[tuple[float, float, float]]] = {}
    for number, batch in enumerate(local_batches(job.stream(0), 0, 1)):
        sides = [ours, bare] if number % 2 == 0 else [bare, ours]  # Neither always goes first.
        done = {side: timed(lambda side=side, batch=batch: side.update(batch)) for side in sides}
        (loss, seconds), (bare_loss, bare_seconds) = done[ours], done[bare]
        tokens = batch.tokens.size
        print(
            f"update {number + 1}/{job.plan.updates}, rows of {batch.length}: "
            f"{tokens / seconds:.1f} tokens/s, bare {tokens / bare_seconds:.1f}; "
            f"losses {loss:.4f}, {bare_loss:.4f}",
            file=sys.stderr,
        )
        if number:  # The first update warms both up.
            measured = tokens / seconds, tokens / bare_seconds, abs(loss - bare_loss)
            found.setdefault(batch.length, []).append(measured)
    return found


def job_rates(root: str, run: str) -> dict[int, float]:
    """A run's tokens a second by row length, data and all, without its first update."""
    totals: dict[int, tuple[float, float]] = {}
    for item in updates_of(root, run)[1:]:
        tokens, seconds = totals.get(item["length"], (0.0, 0.0))
        totals[item["length"]] = tokens + item["tokens"], seconds + item["step_seconds"]
    return {length: tokens / seconds for length, (tokens, seconds) in totals.items()}


def main() -> None:
    import torch

    options = parser(__doc__)
    options.add_argument("--lengths", type=int, nargs="+", default=[512, 1024])
    options.add_argument("--tokens", type=int, default=1024, help="tokens of an update")
    options.add_argument("--rounds", type=int, default=3, help="updates of each side and length")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument(
        "--job",
        nargs=2,
        metavar=("STORE_ROOT", "RUN_NAME"),
        help="also: a run's rate beside it, such as --job .longspan/store quickstart",
    )
    chosen = parse(options)
    torch.set_num_threads(chosen.threads)
    with temporary_store() as store, tempfile.TemporaryDirectory() as folder:
        job = sample_job(
            store, chosen.model, chosen.samples, chosen.lengths, chosen.tokens, chosen.rounds
        )
        ours = Ours(job, chosen.model, Path(folder) / "group")
        found = rates(ours, Bare(job, chosen.model), job)
        ours.close()
    whole = job_rates(*chosen.job) if chosen.job else {}
    rows = []
    for length, updates in found.items():
        mine, bare, _ = (median(column) for column in zip(*updates, strict=True))
        ratio = median(a / b for a, b, _ in updates)
        of_job = f"{whole[length]:.1f}" if length in whole else "-"
        distance = max(item[2] for item in updates)
        numbers = (f"{mine:.1f}", f"{bare:.1f}", f"{ratio:.3f}", of_job, f"{distance:.4f}")
        rows.append((length, len(updates), *numbers))
    header = (
        "row length",
        "updates",
        "engine, tokens/s",
        "bare loop",
        "ratio",
        "job",
        "loss apart",
    )
    print(table(header, rows))
    print(f"\nUpdates of {chosen.tokens} tokens, fp32, {chosen.threads} threads; {machine()}")


if __name__ == "__main__":
    main()
