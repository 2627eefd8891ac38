"""Self-instruct: generated tokens a second of the job's question stage, against plain vLLM's `LLM.chat`.

The same prompts, seeds, sampling parameters and engine arguments on both sides, one after the other,
with and without prefix caching; several questions share a chunk, which stands first in each prompt.
Replies are short, so that few of them run alone at the end, which is chance, and the same for both.
Counted from when the engine has begun its first request until all replies are there. The stage is
what the job runs: document files out of a store, prompts and their tokens made by tasks of Ray Data,
the engine of ray.data.llm, replies parsed and checked.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, local_ray, machine, parse, parser, table
from longspan.config.load import load
from longspan.corpus.resolve import resolve
from longspan.generate.engine import Engine, sampling_parameters
from longspan.generate.generators import EngineGenerator
from longspan.generate.requests import Reply, Row
from longspan.instruct.choose import chosen
from longspan.instruct.documents import DocumentFile, take
from longspan.instruct.prepare import Prepared, prepare
from longspan.instruct.requests import Questions
from longspan.instruct.schema import InstructRecipe
from longspan.recipe.sources import source_specs

RECIPE = ROOT / "jobs/recipes/self_instruct.yaml"
MARK = "RESULT "


class Timed(Questions):
    """The job's questions; keeps how long each reply is."""

    def record(self, reply: Reply) -> Row:
        super().record(reply)
        return {"id": reply.id, "reply_tokens": reply.reply_tokens}


def prepared_of(store: Path, options: argparse.Namespace) -> Prepared:
    books = f"{options.samples.resolve()}/corpora/books"
    return prepare(
        load(
            InstructRecipe,
            RECIPE,
            [
                f"generator.model={options.model.resolve()}",
                f"corpora=[{{name: books, path: {json.dumps(books)}}}]",
                f"max_documents={options.documents}",
                f"questions_per_chunk={options.questions}",
                f"generator.max_tokens={options.tokens}",
                f"storage.root={store}",
            ],
        )
    )


def document_files(prepared: Prepared) -> list[DocumentFile]:
    (spec,) = source_specs(prepared.recipe)
    files = [
        take(prepared.store, spec, info, prepared.choice) for info in resolve(prepared.store, spec)
    ]
    return chosen(files, prepared.choice.most)[0]


def items_of(files: Sequence[DocumentFile]) -> list[Row]:
    return [
        {"path": file.path, "documents": json.dumps([each["id"] for each in file.documents])}
        for file in files
    ]


def job_side(prepared: Prepared, engine: Engine, items: Sequence[Row]) -> tuple[int, float]:
    """Tokens, and seconds from the first request to the last reply."""
    asked = prepared.questions()
    timed = Timed(
        asked.store, asked.prompts, asked.per_chunk, asked.seed, asked.sampling, asked.done
    )
    tokens, began, ended = 0, 0.0, 0.0
    generator = EngineGenerator(engine, "generator", prepared.tokenizer.prompt_ids)
    for rows in generator.records(items, timed, "questions"):
        ended = time.perf_counter()
        assert not any(row["failure"] for row in rows), rows
        # A request's time runs from when the engine was given it, with all of its batch.
        began = began or ended - max(row["seconds"] for row in rows)
        tokens += sum(row["reply_tokens"] for row in rows)
    return tokens, ended - began


def plain_side(model: str, engine: Engine, requests: Path) -> tuple[int, float]:
    """The same with `LLM.chat`, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--plain", str(requests)],
        env=os.environ | engine.environment(),
        input=json.dumps({"model": model} | engine.engine_kwargs()),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    tokens, seconds = json.loads(done.stdout.rpartition(MARK)[2].splitlines()[0])
    return tokens, seconds


def plain(requests: Path) -> None:
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    llm = LLM(**json.loads(sys.stdin.read()))
    asked = [json.loads(line) for line in requests.read_text().splitlines()]
    for row in asked:
        if shape := row["parameters"].get("structured_outputs"):
            row["parameters"]["structured_outputs"] = StructuredOutputsParams(**shape)
    parameters = [SamplingParams(**row["parameters"]) for row in asked]
    conversations: Any = [[{"role": "user", "content": row["content"]}] for row in asked]
    llm.chat([[{"role": "user", "content": "Hello"}]], SamplingParams(max_tokens=2), use_tqdm=False)
    began = time.perf_counter()
    outputs = llm.chat(conversations, parameters, use_tqdm=False)
    seconds = time.perf_counter() - began
    tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    print(MARK + json.dumps([tokens, seconds]), flush=True)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--documents", type=int, default=6, help="documents, a chunk of each")
    options.add_argument("--questions", type=int, default=8, help="questions about a chunk")
    options.add_argument("--tokens", type=int, default=96, help="of a reply, at most")
    options.add_argument("--cpus", type=int, default=2, help="CPUs of the benchmark's Ray")
    options.add_argument("--rounds", type=int, default=1, help="how often each side has its turn")
    chosen_options = parse(options)
    rows = []
    with tempfile.TemporaryDirectory(prefix="longspan-benchmark-") as folder:
        store, requests = Path(folder) / "store", Path(folder) / "requests.jsonl"
        prepared = prepared_of(store, chosen_options)
        items = items_of(document_files(prepared))
        parameters = sampling_parameters(prepared.sampling)
        with requests.open("w") as file:
            for item in items:
                for row in prepared.questions().requests(item):
                    said = parameters | {"seed": row.seed}
                    file.write(json.dumps({"content": row.content, "parameters": said}) + "\n")
        assert prepared.model is not None
        with_caching = Engine(
            prepared.model, prepared.sizes.window, gpu=False, cpus=chosen_options.cpus
        )
        for engine in (with_caching, replace(with_caching, prefix_caching=False)):
            rows.append(measured(prepared, engine, items, requests, chosen_options))
    print(
        table(("prefix caching", "requests", "job, tokens/s", "LLM.chat, tokens/s", "ratio"), rows)
    )
    print(f"\n{machine()}")


def measured(
    prepared: Prepared,
    engine: Engine,
    items: Sequence[Row],
    requests: Path,
    options: argparse.Namespace,
) -> tuple[object, ...]:
    """A row of the table: each side's tokens over its seconds, all rounds together."""
    ours, theirs = [0.0, 0.0], [0.0, 0.0]
    turns = [
        (theirs, lambda: plain_side(engine.model, engine, requests)),
        (ours, lambda: in_ray(prepared, engine, items, options.cpus)),
    ]
    for number in range(options.rounds):
        for total, work in turns if number % 2 == 0 else turns[::-1]:
            tokens, seconds = work()
            total[0] += tokens
            total[1] += seconds
    speeds = [tokens / seconds for tokens, seconds in (ours, theirs)]
    number = len(requests.read_text().splitlines())
    name = "on" if engine.prefix_caching else "off"
    return (name, number, f"{speeds[0]:.1f}", f"{speeds[1]:.1f}", f"{speeds[0] / speeds[1]:.2f}")


def in_ray(
    prepared: Prepared, engine: Engine, items: Sequence[Row], cpus: int
) -> tuple[int, float]:
    os.environ |= {
        # Ray's processes find the package there.
        "PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)]),
        # Ray would leave the machine to others first; the other side does not.
        "RAY_worker_niceness": "0",
    }
    with local_ray(cpus):
        return job_side(prepared, engine, items)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--plain"]:
        plain(Path(sys.argv[2]))
    else:
        main()
