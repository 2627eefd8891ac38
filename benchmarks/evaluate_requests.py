"""Evaluation: answered probes a second through the evaluation's own path, against plain vLLM's `LLM.generate`.

The same prompts as token ids, in the same order, with the same sampling and engine arguments on both sides, one after
the other. Counted from when the engine has begun its first request until all replies are there. The evaluation's side
makes the samples on Ray Data, and scores the replies.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, local_ray, machine, parse, parser, table
from longspan.evaluate.ask import SampleRequests, items_of
from longspan.evaluate.documents import Document, documents_hash
from longspan.evaluate.grid import SampleGrid
from longspan.evaluate.probes.registry import TASKS
from longspan.evaluate.prompt_format import load_format
from longspan.evaluate.samples import ProbeSource
from longspan.generate.cluster import end_tokens
from longspan.generate.engine import Engine, sampling_parameters
from longspan.generate.generators import EngineGenerator
from longspan.hashing import text_id

MARK = "RESULT "
PROBES = ("ruler_niah_single_2", "ruler_niah_multikey_2", "first_sentence")


def grid_of(options: argparse.Namespace) -> SampleGrid:
    books = sorted((options.samples / "corpora" / "books").rglob("*.txt"))[: options.documents]
    texts = [(path, path.read_text(encoding="utf-8")) for path in books]
    documents = tuple(Document(text_id(text), "books", str(path), text) for path, text in texts)
    format = load_format(options.model, "chat", key="--model")
    source = ProbeSource(documents, documents_hash(documents), format, seed=0)
    tasks = tuple(TASKS[name] for name in PROBES)
    return SampleGrid(tasks, tuple(options.lengths), options.number, source, "benchmark")


def evaluation_side(grid: SampleGrid, engine: Engine) -> tuple[int, float]:
    """Requests, and seconds from the first of them to the last reply."""
    generator = EngineGenerator(engine, "model")
    tasks = {task.name: task for task in grid.tasks}
    requests = SampleRequests(tasks, grid.identities, generator.share(grid.source))
    answered, began, ended = 0, 0.0, 0.0
    for rows in generator.records(items_of(grid.sample_keys()), requests, "probes"):
        ended = time.perf_counter()
        assert not any(row["failure"] for row in rows), rows
        # A request's time runs from when the engine was given it, with all of its batch.
        began = began or ended - max(row["seconds"] for row in rows)
        answered += len(rows)
    return answered, ended - began


def write_requests(grid: SampleGrid, path: Path) -> None:
    """Prompts of the plain side, with their sampling parameters."""
    tasks = {task.name: task for task in grid.tasks}
    source = SampleRequests(tasks, grid.identities, lambda: grid.source)
    with path.open("w") as file:
        for item in items_of(grid.sample_keys()):
            for request in source.requests(item):
                parameters = sampling_parameters(request.sampling) | {"seed": request.seed}
                file.write(json.dumps({"ids": request.prompt_ids, "parameters": parameters}) + "\n")


def plain_side(engine: Engine, requests: Path) -> tuple[int, float]:
    """Measure `LLM.generate` on the same prompts, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--plain", str(requests)],
        env=os.environ | engine.environment(),
        input=json.dumps({"model": engine.model} | engine.engine_kwargs()),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    answered, seconds = json.loads(done.stdout.rpartition(MARK)[2].splitlines()[0])
    return answered, seconds


def plain(requests: Path) -> None:
    from vllm import LLM, SamplingParams

    llm = LLM(**json.loads(sys.stdin.read()))
    asked = [json.loads(line) for line in requests.read_text().splitlines()]
    parameters = [SamplingParams(**row["parameters"]) for row in asked]
    prompts: Any = [{"prompt_token_ids": row["ids"]} for row in asked]
    llm.generate([{"prompt_token_ids": [1, 2, 3]}], SamplingParams(max_tokens=2), use_tqdm=False)
    began = time.perf_counter()
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    print(MARK + json.dumps([len(outputs), time.perf_counter() - began]), flush=True)


def in_ray(grid: SampleGrid, engine: Engine, cpus: int) -> tuple[int, float]:
    os.environ |= {
        # Ray's processes find the package there.
        "PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)]),
        # Ray would leave the machine to others first; the other side does not.
        "RAY_worker_niceness": "0",
    }
    with local_ray(cpus):
        return evaluation_side(grid, engine)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--documents", type=int, default=8, help="books to make samples from")
    options.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048])
    options.add_argument("--number", type=int, default=8, help="samples of each task and length")
    options.add_argument("--cpus", type=int, default=2, help="CPUs of the benchmark's Ray")
    options.add_argument("--rounds", type=int, default=1, help="how often each side has its turn")
    chosen = parse(options)
    grid = grid_of(chosen)
    model = chosen.model.resolve()
    engine = Engine(
        *(str(model), max(chosen.lengths)),
        gpu=False,
        cpus=chosen.cpus,
        end_tokens=end_tokens(model),
    )
    totals = {"evaluation": [0.0, 0.0], "LLM.generate": [0.0, 0.0]}
    with tempfile.TemporaryDirectory(prefix="longspan-benchmark-") as folder:
        requests = Path(folder) / "requests.jsonl"
        write_requests(grid, requests)
        turns = [
            ("LLM.generate", lambda: plain_side(engine, requests)),
            ("evaluation", lambda: in_ray(grid, engine, chosen.cpus)),
        ]
        for number in range(chosen.rounds):
            for name, work in turns if number % 2 == 0 else turns[::-1]:
                answered, seconds = work()
                totals[name][0] += answered
                totals[name][1] += seconds
    speeds = {name: answered / seconds for name, (answered, seconds) in totals.items()}
    rows = [(name, int(totals[name][0]), f"{speed:.2f}") for name, speed in speeds.items()]
    print(table(("side", "requests", "requests/s"), rows))
    print(f"\nratio {speeds['evaluation'] / speeds['LLM.generate']:.2f}; {machine()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--plain"]:
        plain(Path(sys.argv[2]))
    else:
        main()
