"""Evaluation's scorer: scored tokens a second, against a plain transformers loop over the same rows.

The loop computes all logits of a row at once and their cross-entropy, a row at a time. The rows: long ones whose
tokens are all scored (losses by position), long ones whose last tokens are scored (matched targets), short ones
(which the scorer computes together), and continuations of one context (which the loop scores as rows of their own,
and whose tokens are counted so). Both sides take turns in one process, and their losses are compared; the last line
is of long rows through a pool with one Ray actor, from its first batch to its last.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.common import (
    ROOT,
    local_ray,
    machine,
    parse,
    parser,
    table,
    temporary_store,
    timed,
)
from longspan.evaluate.scoring.batches import score_all
from longspan.evaluate.scoring.pool import Pool, ScoredModel, Workers
from longspan.evaluate.scoring.requests import ChoiceRequest, LossRequest, Request, Score, Texts
from longspan.evaluate.scoring.scorer import BATCH_TOKENS, Scorer
from longspan.model.load import load_tokenizer

TARGETS = 32
SHORT = 8
CHOICES = 4
TOLERANCE = 1e-3
"""Nats per token that both sides may differ by, on average."""

TokenRow = tuple[list[int], int]
"""Token ids and the number of the first target."""


@dataclass(frozen=True)
class Timed(Pool):
    """Keeps when batches came, and how many tokens they had."""

    came: list[tuple[float, int]] = field(default_factory=list)

    def _scored(
        self, batches: Sequence[Sequence[Request]], texts: Texts, name: str
    ) -> Iterator[list[dict[str, Any]]]:
        for rows in super()._scored(batches, texts, name):
            self.came.append((time.perf_counter(), sum(row["tokens"] for row in rows)))
            yield rows


def rows_of(request: Request, texts: Texts) -> list[TokenRow]:
    """Rows that the loop computes for a request."""
    if isinstance(request, LossRequest):
        return [(texts.row(request.row).tolist(), request.first_target)]
    context = list(request.context)
    return [([*context, *own], len(context)) for own in request.continuations]


def works_of(ids: list[int], texts: Texts, options: Namespace) -> dict[str, list[Request]]:
    """The requests of each line of the table."""
    length, short = options.length, options.length // SHORT
    long = [texts.span(ids[n * length : (n + 1) * length]) for n in range(options.rows)]
    shorts = [texts.span(ids[n * short : (n + 1) * short]) for n in range(options.rows * SHORT)]
    endings = [tuple(ids[n * 7 : n * 7 + 6]) for n in range(CHOICES)]
    contexts = [tuple(ids[n * length : n * length + length - 6]) for n in range(options.rows)]
    return {
        "long rows": [LossRequest((span,), 1) for span in long],
        f"last {TARGETS} tokens of them": [LossRequest((s,), length - TARGETS) for s in long],
        "short rows": [LossRequest((span,), 1) for span in shorts],
        f"{CHOICES} continuations": [ChoiceRequest(own, tuple(endings)) for own in contexts],
    }


@torch.no_grad()
def loop(model: Any, rows: Sequence[TokenRow]) -> float:
    """Sum of all losses, in nats."""
    total = 0.0
    for ids, first in rows:
        tokens = torch.tensor([ids])
        logits = model(input_ids=tokens, use_cache=False).logits[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="none")
        total += float(losses[first - 1 :].double().sum())
    return total


def loss_of(scores: dict[str, Score]) -> float:
    """Sum of all losses, in nats."""
    return sum(
        float(score.losses.astype(np.float64).sum()) - sum(score.loglikelihoods)
        for score in scores.values()
    )


def measured(
    name: str,
    scorer: Scorer,
    model: Any,
    requests: Sequence[Request],
    texts: Texts,
    rounds: int,
) -> tuple[object, ...]:
    """A row of the table."""
    rows = [row for request in requests for row in rows_of(request, texts)]
    tokens = rounds * sum(len(ids) for ids, _ in rows)
    targets = sum(len(ids) - first for ids, first in rows)
    ours = theirs = 0.0
    for number in range(rounds):
        sides = [lambda: loss_of(score_all(scorer, requests, texts)), lambda: loop(model, rows)]
        results = [timed(side) for side in (sides if number % 2 else sides[::-1])]
        (own, own_s), (other, other_s) = results if number % 2 else results[::-1]
        assert abs(own - other) < TOLERANCE * targets, f"{name}: losses of {own} and {other}"
        ours, theirs = ours + own_s, theirs + other_s
    return line(name, tokens / ours, tokens / theirs)


def line(name: str, own: float, other: float) -> tuple[object, ...]:
    """Name, both speeds, and their ratio."""
    return (name, f"{own:.0f}", f"{other:.0f}", f"{own / other:.2f}")


def pooled(options: Namespace, requests: Sequence[Request], texts: Texts) -> float:
    """Tokens a second of a pool of one actor, without its start."""
    os.environ |= {
        # Ray's processes find the package there.
        "PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)]),
        # Ray would leave the machine to others first; the other side does not.
        "RAY_worker_niceness": "0",
    }
    with temporary_store() as store, local_ray(options.cpus):
        model = ScoredModel(str(options.model.resolve()), "benchmark", "fp32")
        pool = Timed(store, model, Workers(1, threads=options.cpus), lambda line: None)
        pool.score(requests, texts, "losses")
    (began, _), *others = pool.came
    return sum(tokens for _, tokens in others) / (others[-1][0] - began)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--length", type=int, default=2048, help="tokens of a long row")
    options.add_argument("--rows", type=int, default=4, help="long rows")
    options.add_argument("--batches", type=int, default=3, help="batches of the pool; 0: no pool")
    options.add_argument("--cpus", type=int, default=os.cpu_count(), help="threads of each side")
    options.add_argument("--rounds", type=int, default=2, help="how often each side has its turn")
    chosen = parse(options)
    torch.set_num_threads(chosen.cpus)
    from transformers import AutoModelForCausalLM

    books = sorted((chosen.samples / "corpora/books").rglob("*.txt"))[:8]
    book = "\n".join(book.read_text() for book in books)
    ids = list(load_tokenizer(chosen.model)(book, verbose=False)["input_ids"])
    texts = Texts()
    works = works_of(ids, texts, chosen)
    model = AutoModelForCausalLM.from_pretrained(
        chosen.model, dtype=torch.float32, trust_remote_code=False
    ).eval()
    scorer = Scorer.load(chosen.model, "fp32")
    loop(model, [(ids[:256], 1)])  # The first pass of a process is slow.
    lines = [
        measured(name, scorer, model, requests, texts, chosen.rounds)
        for name, requests in works.items()
    ]
    del scorer
    if chosen.batches:
        rows = [
            LossRequest((texts.span(ids[first : first + chosen.length]),), 1)
            for first in range(0, chosen.batches * BATCH_TOKENS, chosen.length)
        ]
        other = float(str(lines[0][2]))
        lines.append(line("long rows, through the pool", pooled(chosen, rows, texts), other))
    print(table(("rows", "scorer, tokens/s", "loop, tokens/s", "ratio"), lines))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
