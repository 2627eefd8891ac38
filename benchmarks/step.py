"""Step: tokens a second of the whole job, and of its engine alone, against a bare transformers and torch loop.

The same weights, rows, positions, threads and precision (fp32) on both sides, which take turns. The
whole job is the one that a user submits: its driver, Ray, Ray Data's stream, the DeepSpeed engine
and the metrics. The bare loop is what one would write without this project: the model's own loss,
AdamW, clipping; its rows are in memory.

The sides make an update each by turns, and the one that waits is stopped with all its processes, so
that a machine whose speed drifts treats them alike. A side's first update warms up and is left out.
A job's update lasts until the next one, whatever it spends the time on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import (
    ROOT,
    SAMPLES,
    machine,
    parse,
    parser,
    sample_shards,
    table,
    temporary_store,
    timed,
)
from longspan.plan.device import this_machines_device
from longspan.recipe.derive import derive
from longspan.recipe.load import load_recipe
from longspan.recipe.model import inspect_model
from longspan.storage import Store
from longspan.stream.batch import Batch
from longspan.stream.plan import local_batches
from longspan.train.job import Job, make_job

RECIPE = ROOT / "jobs/recipes/quickstart.yaml"


def overrides(model: Path, samples: Path, length: int, tokens: int, updates: int) -> list[str]:
    """The quickstart with `updates` updates of `tokens` tokens, in fp32."""
    return [
        f"base_model={model.resolve()}",
        *(f"corpora.{name}.path={samples.resolve()}/corpora/{name}" for name in SAMPLES),
        f"lengths={length}",
        f"training.tokens={tokens * updates}",
        f"training.tokens_per_update={tokens}",
        f"training.checkpoint_every={updates}",
        "training.precision=fp32",
        "optimizer.warmup_updates=1",
        f"heldout.every={updates}",
        "heldout.rows_per_source=1",
        "heldout.original_model=false",
    ]


def sample_job(store: Store, options: Sequence[str], model: Path, samples: Path) -> Job:
    """The job of these overrides over shards made here, for the sides that need no Ray."""
    recipe = load_recipe(RECIPE, [*options, f"storage.root={store.root}"])
    facts = inspect_model(recipe, store).facts
    manifests = sample_shards(store, model, samples)
    plan = derive(recipe, facts, this_machines_device(0))
    return make_job(recipe, plan, store, manifests)


class Ours:
    """The engine, built as the job builds it, in a process group of one."""

    def __init__(self, job: Job, model: Path, group: Path) -> None:
        import torch.distributed as dist

        from longspan.train.loop import build_engine

        os.environ["LOCAL_RANK"] = "0"  # DeepSpeed asks for it, whatever made the process group.
        dist.init_process_group("gloo", f"file://{group}", rank=0, world_size=1)
        self.engine = build_engine(job, model, "sdpa")

    def update(self, batch: Batch) -> float:
        """One update; its loss."""
        return self.engine.update(batch).loss

    def close(self) -> None:
        """End the process group."""
        import torch.distributed as dist

        dist.destroy_process_group()


def engine_rates(job: Job, model: Path) -> tuple[list[float], list[float], float]:
    """Engine and bare loop by turns, update by update: both sides' tokens a second, and the losses' distance."""
    from benchmarks.bare import Bare

    with tempfile.TemporaryDirectory() as folder:
        ours, bare = Ours(job, model, Path(folder) / "group"), Bare(job, model)
        mine: list[float] = []
        theirs: list[float] = []
        apart = 0.0
        for number, batch in enumerate(local_batches(job.data.stream(0), 0, 1)):
            sides = [ours, bare] if number % 2 == 0 else [bare, ours]  # Neither always goes first.
            done = {
                side: timed(lambda side=side, batch=batch: side.update(batch)) for side in sides
            }
            (loss, seconds), (bare_loss, bare_seconds) = done[ours], done[bare]
            report(f"engine {batch.tokens.size / seconds:.1f} tokens/s, loss {loss:.4f}")
            report(f"bare   {batch.tokens.size / bare_seconds:.1f} tokens/s, loss {bare_loss:.4f}")
            apart = max(apart, abs(loss - bare_loss))
            if number:
                mine.append(batch.tokens.size / seconds)
                theirs.append(batch.tokens.size / bare_seconds)
        ours.close()
    return mine, theirs, apart


def job_rates(
    job: Job, model: Path, options: Sequence[str], threads: int
) -> tuple[list[float], list[float]]:
    """The whole job and the bare loop by turns: each stands still while the other makes an update."""
    from benchmarks.bare import Bare

    bare, batches = Bare(job, model), list(local_batches(job.data.stream(0), 0, 1))
    bare.update(batches[0])
    mine: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="longspan-benchmark-") as root:
        run = RunningJob([*options, f"storage.root={root}"], threads)
        run.until_update(1)
        for number, batch in enumerate(batches[1:], start=2):
            run.stand_still()
            _, bare_seconds = timed(lambda batch=batch: bare.update(batch))
            run.go_on()
            _, seconds = timed(lambda number=number: run.until_update(number))
            mine.append(batch.tokens.size / seconds)
            theirs.append(batch.tokens.size / bare_seconds)
            report(f"whole job {mine[-1]:.1f} tokens/s, bare {theirs[-1]:.1f}")
        run.until_its_end()
    return mine, theirs


class RunningJob:
    """The driver, with a Ray of its own below it, that can be made to stand still as a whole."""

    def __init__(self, options: Sequence[str], threads: int) -> None:
        command = [sys.executable, "-u", str(ROOT / "jobs/pretrain.py"), str(RECIPE), *options]
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("RAY_A")
        }
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment | {"OMP_NUM_THREADS": str(threads), "RAY_AUTH_MODE": "disabled"},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._still: list[psutil.Process] = []

    def until_update(self, number: int) -> None:
        """Returns when it says that this update is done."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(f"update {number}/"):
                return
        raise SystemExit(f"the job ended before update {number}")

    def stand_still(self) -> None:
        """Stop all its processes, Ray's included."""
        driver = psutil.Process(self._process.pid)
        self._still = [driver, *driver.children(recursive=True)]
        for process in self._still:
            process.suspend()

    def go_on(self) -> None:
        """Undo it."""
        for process in self._still:
            process.resume()

    def until_its_end(self) -> None:
        """Returns when the job has ended well."""
        self._process.communicate()
        if self._process.returncode:
            raise SystemExit("the job failed")


def report(line: str) -> None:
    """Progress, apart from the tables."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def main() -> None:
    import torch

    options = parser(__doc__)
    options.add_argument("--length", type=int, default=1024, help="tokens of a row")
    options.add_argument("--tokens", type=int, default=2048, help="tokens of an update")
    options.add_argument("--updates", type=int, default=9, help="updates of each side")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parse(options)
    torch.set_num_threads(chosen.threads)
    recipe = overrides(chosen.model, chosen.samples, chosen.length, chosen.tokens, chosen.updates)
    with temporary_store() as store:
        job = sample_job(store, recipe, chosen.model, chosen.samples)
        whole = job_rates(job, chosen.model, recipe, chosen.threads)
        *engine, apart = engine_rates(job, chosen.model)
    rows = []
    for name, (ours, bare) in (("whole job", whole), ("engine alone", engine)):
        ratios = [a / b for a, b in zip(ours, bare, strict=True)]
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        rates = (f"{median(ours):.1f}", f"{median(bare):.1f}")
        rows.append((name, *rates, f"{median(ratios):.3f}", spread))
    print(table(("", "tokens/s", "bare loop", "ratio", "min to max"), rows))
    print(
        f"\nMedians of {chosen.updates - 1} updates of {chosen.tokens} tokens in rows of {chosen.length}; fp32, "
        f"{chosen.threads} threads; losses at most {apart:.1e} apart; {machine()}"
    )


if __name__ == "__main__":
    main()
