"""Finetuning rows: padding, and the time of the same conversations packed, padded to each other, and a row each.

Every side computes forward and backward of the very same conversations with the same model, loss and
weights, batches by turns, so that a machine whose speed drifts treats all alike. "Padded to the
longest of a batch" is what a collator without packing does, with as many conversations a batch as a
packed row holds on average.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.common import machine, parse, parser, table, timed
from longspan.chat.conversation import Conversation
from longspan.chat.template import Template
from longspan.chat.tokenizer import ChatTokenizer
from longspan.corpus.sources import SourceSpec, documents
from longspan.model.facts import read_facts
from longspan.model.load import load_model
from longspan.model.loss import CausalLMLoss
from longspan.order.packing import Packed, Spans, best_fit, one_document_per_row
from longspan.shards.loss_mask import marked
from longspan.storage import Store
from longspan.stream.batch import Batch, TokenWeights, collate
from longspan.stream.pieces import padded, whole

ANSWERS = TokenWeights((0.0,))
CHUNK = 2048


def conversations(samples: Path, model: Path, count: int) -> list[np.ndarray]:
    """Marked tokens of sample conversations."""
    template, store = Template(ChatTokenizer.load(model)), Store(str(samples))
    spec = SourceSpec("chat", ("corpora/chat",), format="chat")
    texts = [
        text for info in store.list("corpora/chat") for text in documents(store, info.path, spec)
    ]
    if not texts:
        raise SystemExit(f"{store.uri('corpora/chat')} holds no conversations: 'make sample'")
    chosen = np.random.default_rng(0).permutation(len(texts))[:count]
    return [marked(*template.encode(Conversation.loads(texts[number]))) for number in chosen]


def batches(texts: Sequence[np.ndarray], packed: Packed, length: int) -> Iterator[Batch]:
    """One row each."""
    numbers = np.arange(len(texts))
    pieces = whole(texts, numbers, np.zeros(len(texts), np.int32))
    for number in range(len(packed)):
        row = padded(pieces.parts(packed.row(number)), length).row(number, 0, 0)
        yield collate(0, [row], 1, length, document_mask=True, weights=ANSWERS)


def padded_batches(texts: Sequence[np.ndarray], size: int) -> Iterator[Batch]:
    """So many conversations each, padded to the longest of them."""
    for first in range(0, len(texts), size):
        part = texts[first : first + size]
        length = max(len(text) for text in part)
        rows = [
            padded(whole([text], np.zeros(1, np.int64), np.zeros(1, np.int32)), length).row(n, 0, 0)
            for n, text in enumerate(part)
        ]
        yield collate(0, rows, len(rows), length, document_mask=True, weights=ANSWERS)


def compute(model: CausalLMLoss, batch: Batch) -> float:
    """The batch's summed loss, forward and backward."""
    arrays = (batch.tokens, batch.positions, batch.labels)
    tensors = [torch.as_tensor(array).long() for array in arrays]
    loss = model(*tensors, torch.as_tensor(batch.weights))
    loss.backward()
    model.zero_grad(set_to_none=True)
    return loss.item()


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--conversations", type=int, default=64)
    options.add_argument("--length", type=int, default=1024, help="tokens of a packed row")
    options.add_argument("--alone", type=int, default=256, help="tokens of a row of its own")
    given = parse(options)
    texts = conversations(given.samples, given.model, given.conversations)
    lengths = np.array([len(text) for text in texts])
    given.alone = max(given.alone, int(lengths.max()))
    packed = best_fit(Spans.whole(lengths), given.length)
    size = math.ceil(len(texts) / len(packed))
    facts = read_facts(given.model)
    model = CausalLMLoss(
        load_model(given.model, facts.positions, facts.window, torch.float32, "sdpa", False), CHUNK
    )
    sides = {
        f"packed (best fit) into rows of {given.length:,}": list(
            batches(texts, packed, given.length)
        ),
        f"{size} a batch, padded to the longest": list(padded_batches(texts, size)),
        f"a row each, padded to {given.alone:,}": list(
            batches(texts, one_document_per_row(Spans.whole(lengths), given.alone), given.alone)
        ),
    }
    compute(model, next(iter(sides.values()))[0])  # Warms up.
    seconds, losses = dict.fromkeys(sides, 0.0), dict.fromkeys(sides, 0.0)
    for turn in zip_longest(*sides.values()):
        for name, batch in zip(sides, turn, strict=True):
            if batch is not None:
                loss, taken = timed(lambda batch=batch: compute(model, batch))
                seconds[name] += taken
                losses[name] += loss
    real = int(lengths.sum())
    first = next(iter(sides))
    rows = []
    for name, made in sides.items():
        computed = sum(batch.tokens.size for batch in made)
        assert math.isclose(losses[name], losses[first], rel_tol=1e-3), losses
        rows.append(
            (
                name,
                f"{computed:,}",
                f"{1 - real / computed:.1%}",
                f"{seconds[name]:.1f}",
                f"{real / seconds[name]:.0f}",
                f"{seconds[name] / seconds[first]:.2f}",
            )
        )
    header = ("rows", "tokens computed", "padding", "seconds", "tokens/s", "time, packed = 1")
    print(table(header, rows))
    print(
        f"\n{len(texts)} conversations of {real:,} tokens, {int(lengths.max()):,} at most; "
        f"the sides' summed losses agree to 0.1 %; {machine()}"
    )


if __name__ == "__main__":
    main()
