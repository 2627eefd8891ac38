"""Evaluation: answered probes a second through the evaluation's own path, against plain vLLM's `LLM.generate`.

The same prompts as token ids, in the same order, with the same sampling and engine arguments on both sides, which take
turns. Counted from when an engine has been given its first request, warm on the plain side, until all replies are
there: start-up and loading of the model are left out. The evaluation's side is all of its stage: samples made on Ray
Data, replies committed to a store, scored, and written as records. With few requests its first moments, in which
samples are made and other processes start, weigh more: the number is stated.

The second table is of the plain engine alone: the share of prompt tokens that its prefix cache had (as vLLM counts them
for each request, `num_cached_tokens`), in the evaluation's order and in a shuffled one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, local_ray, machine, parse, parser, table, temporary_store
from longspan.evaluate.ask import SampleRequests, ask_samples, items_of
from longspan.evaluate.documents import Document, documents_hash
from longspan.evaluate.grid import SampleGrid, request_order
from longspan.evaluate.probes.registry import TASKS
from longspan.evaluate.prompt_format import load_format
from longspan.evaluate.samples import ProbeSource
from longspan.generate.cluster import end_tokens
from longspan.generate.engine import Engine, sampling_parameters
from longspan.generate.generators import EngineGenerator
from longspan.generate.requests import RequestSource, Row
from longspan.hashing import text_id

MARK = "RESULT "
PROBES = (
    *("ruler_niah_single_2", "first_sentence", "association"),
    *("story_one_fact", "many_shot_documents"),
)


class Measured(NamedTuple):
    """Requests of one turn, its seconds, and the tokens of its prompts, of which some were cached."""

    requests: int
    seconds: float
    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def speed(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def hit_rate(self) -> float:
        """Share of prompt tokens that were cached."""
        return self.cached_tokens / max(1, self.prompt_tokens)


@dataclass(frozen=True)
class Timed(EngineGenerator):
    """Keeps when each request was given to the engine."""

    begins: list[float] = field(default_factory=list)

    def records(
        self, items: Sequence[Row], source: RequestSource, name: str
    ) -> Iterable[list[Row]]:
        """See `TextGenerator.records`."""
        for rows in super().records(items, source, name):
            assert not any(row["failure"] for row in rows), rows
            now = time.perf_counter()
            self.begins.extend(now - row["seconds"] for row in rows)
            yield rows


def grid_of(options: argparse.Namespace) -> SampleGrid:
    books = sorted((options.samples / "corpora" / "books").rglob("*.txt"))[: options.documents]
    texts = [(path, path.read_text(encoding="utf-8")) for path in books]
    documents = tuple(Document(text_id(text), "books", str(path), text) for path, text in texts)
    format = load_format(options.model, "chat", key="--model")
    source = ProbeSource(documents, documents_hash(documents), format, seed=0)
    tasks = tuple(TASKS[name] for name in PROBES)
    return SampleGrid(tasks, tuple(options.lengths), options.number, source, "benchmark")


def evaluation_side(grid: SampleGrid, engine: Engine, cpus: int) -> Measured:
    os.environ |= {
        # Ray's processes find the package there.
        "PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)]),
        # Ray would leave the machine to others first; the other side does not.
        "RAY_worker_niceness": "0",
    }
    with temporary_store() as store, local_ray(cpus):
        generator = Timed(engine, "model")
        asked = ask_samples(grid, generator, store, "benchmark", lambda line: None)
        ended = time.perf_counter()
    assert not asked.left_out, asked.left_out
    return Measured(len(asked.records), ended - min(generator.begins))


def write_requests(grid: SampleGrid, path: Path) -> None:
    """Write the prompts of the plain side, with their sampling parameters, in the evaluation's order."""
    tasks = {task.name: task for task in grid.tasks}
    source = SampleRequests(tasks, grid.identities, lambda: grid.source)
    with path.open("w") as file:
        for item in items_of(request_order(grid, grid.sample_keys())):
            for request in source.requests(item):
                parameters = sampling_parameters(request.sampling) | {"seed": request.seed}
                file.write(json.dumps({"ids": request.prompt_ids, "parameters": parameters}) + "\n")


def plain_side(engine: Engine, requests: Path, orders: int = 1) -> list[Measured]:
    """Measure `LLM.generate` on the same prompts, in a process of its own: in their order, then shuffled."""
    done = subprocess.run(
        [sys.executable, __file__, "--plain", str(requests), str(orders)],
        env=os.environ | engine.environment(),
        input=json.dumps({"model": engine.model} | engine.engine_kwargs()),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found = json.loads(done.stdout.rpartition(MARK)[2].splitlines()[0])
    return [Measured(*each) for each in found]


def plain(requests: Path, orders: int) -> None:
    from vllm import LLM, SamplingParams

    llm = LLM(**json.loads(sys.stdin.read()))
    asked = [json.loads(line) for line in requests.read_text().splitlines()]
    llm.generate([{"prompt_token_ids": [1, 2, 3]}], SamplingParams(max_tokens=2), use_tqdm=False)
    shuffled = random.Random(0).sample(asked, len(asked))
    found = []
    for order in (asked, shuffled)[:orders]:
        assert llm.reset_prefix_cache()
        parameters = [SamplingParams(**row["parameters"]) for row in order]
        prompts: Any = [{"prompt_token_ids": row["ids"]} for row in order]
        began = time.perf_counter()
        outputs = llm.generate(prompts, parameters, use_tqdm=False)
        seconds = time.perf_counter() - began
        tokens = sum(len(row["ids"]) for row in order)
        cached = sum(output.num_cached_tokens or 0 for output in outputs)
        found.append(Measured(len(outputs), seconds, tokens, cached))
    print(MARK + json.dumps(found), flush=True)


def orders_table(found: Sequence[Measured]) -> str:
    """Table of the plain engine in both orders."""
    rows = [
        (name, f"{each.prompt_tokens:,}", f"{each.hit_rate:.1%}", f"{each.speed:.2f}")
        for name, each in zip(("the evaluation's", "shuffled"), found, strict=True)
    ]
    return table(("order", "prompt tokens", "cached", "requests/s"), rows)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--documents", type=int, default=8, help="books to make samples from")
    options.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048])
    options.add_argument("--number", type=int, default=16, help="samples of each task and length")
    options.add_argument("--cpus", type=int, default=2, help="CPUs of the benchmark's Ray")
    options.add_argument("--rounds", type=int, default=3, help="how often each side has its turn")
    chosen = parse(options)
    grid = grid_of(chosen)
    model = chosen.model.resolve()
    engine = Engine(
        *(str(model), max(chosen.lengths)),
        gpu=False,
        cpus=chosen.cpus,
        end_tokens=end_tokens(model),
    )
    found: dict[str, list[Measured]] = {"evaluation": [], "LLM.generate": []}
    with tempfile.TemporaryDirectory(prefix="longspan-benchmark-") as folder:
        requests = Path(folder) / "requests.jsonl"
        write_requests(grid, requests)
        # The engine of the first turn is asked once more, in the other order.
        orders = plain_side(engine, requests, orders=2)
        found["LLM.generate"].append(orders[0])
        found["evaluation"].append(evaluation_side(grid, engine, chosen.cpus))
        turns: list[tuple[str, Callable[[], Measured]]] = [
            ("LLM.generate", lambda: plain_side(engine, requests)[0]),
            ("evaluation", lambda: evaluation_side(grid, engine, chosen.cpus)),
        ]
        for number in range(1, chosen.rounds):
            for name, work in turns if number % 2 == 0 else turns[::-1]:
                found[name].append(work())
    rows = [
        (number + 1, own.requests, f"{own.speed:.2f}", f"{other.speed:.2f}", ratio_of(own, other))
        for number, (own, other) in enumerate(zip(*found.values(), strict=True))
    ]
    print(table(("round", "requests", "evaluation, requests/s", "LLM.generate", "ratio"), rows))
    ratios = [own.speed / other.speed for own, other in zip(*found.values(), strict=True)]
    print(f"\nmedian ratio {median(ratios):.2f}; {machine()}\n")
    print(orders_table(orders))


def ratio_of(own: Measured, other: Measured) -> str:
    """Ratio of the speeds."""
    return f"{own.speed / other.speed:.2f}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--plain"]:
        plain(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
