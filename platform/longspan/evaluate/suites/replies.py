"""Replies to the prompts of suites: generated once, committed to the store, and never asked for again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from longspan.evaluate.problems import is_rejected, problem_of
from longspan.evaluate.suites.model import SuiteModel
from longspan.generate.ask import Stage, ask
from longspan.generate.order import grouped_longest_first
from longspan.generate.parts import read_parts
from longspan.generate.progress import Log
from longspan.generate.requests import TRANSIENT, Reply, Request, Row, Sampling
from longspan.hashing import content_id, sampling_seed
from longspan.storage import Store

ITEM_PROMPTS = 32
"""Prompts that are handed over together; few, so that little is lost when a job is killed."""
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("is_cut_off", pa.bool_()),
        ("prompt_tokens", pa.int64()),
        ("reply_tokens", pa.int64()),
        ("problem", pa.string()),
    ]
)
"""Committed replies; `problem` is "" or why there is none ("refused: ...")."""


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        id: identity of its tokens and sampling.
        ids: token ids, int32.
        sampling: of the reply.
        cluster: identity of the document that it is about.
    """

    id: str
    ids: np.ndarray
    sampling: Sampling
    cluster: str

    def request(self) -> Request:
        """Return it as a request to a generator."""
        seed = sampling_seed("suite", self.id)
        return Request(self.id, self.sampling, seed, prompt_ids=self.ids.tolist())


@dataclass(frozen=True)
class PromptRequests:
    """Requests for replies to prompts that are known; a `RequestSource`.

    Attributes:
        batches: gives the prompts; an item names one batch by its number.
        window: of the model, in tokens.
    """

    batches: Callable[[], Sequence[Sequence[Prompt]]]
    window: int

    def requests(self, item: Row) -> Iterator[Request]:
        """See `RequestSource.requests`."""
        for prompt in self.batches()[item["batch"]]:
            yield prompt.request()

    def record(self, reply: Reply) -> Row:
        """See `RequestSource.record`."""
        is_final = is_rejected(reply.failure)
        return {
            "id": _rejected(reply.id, self.window) if is_final else reply.id,
            "text": reply.text,
            "is_cut_off": reply.finish_reason == "length",
            "prompt_tokens": reply.prompt_tokens,
            "reply_tokens": reply.reply_tokens,
            "problem": problem_of(reply.failure),
        }


def replies(model: SuiteModel, prompts: Sequence[Prompt], store: Store, log: Log) -> dict[str, Row]:
    """Return rows of `SCHEMA` by the prompts' ids; those without a committed reply are asked for.

    Args:
        model: what answers.
        prompts: with unique ids.
        store: where replies are committed.
        log: takes lines on the progress.

    Raises:
        UserError: see `longspan.generate.ask.ask`.
    """
    assert model.generator is not None
    found = _committed(model, store, prompts)
    left = in_order([prompt for prompt in prompts if prompt.id not in found])
    if not left:
        return found
    batches = [left[at : at + ITEM_PROMPTS] for at in range(0, len(left), ITEM_PROMPTS)]
    stage = Stage(
        job="evaluate",
        name="suites",
        source=PromptRequests(model.generator.share(batches), model.window),
        items=[{"batch": number} for number in range(len(batches))],
        requests=len(left),
        folder=model.replies_folder,
        schema=SCHEMA,
        work=float(sum(len(prompt.ids) for prompt in left)),
        weight=lambda row: row["prompt_tokens"],
        retried=TRANSIENT,
    )
    unanswered = ask(stage, model.generator, store, log)
    return _committed(model, store, prompts) | {row["id"]: row for row in unanswered}


def in_order(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Prompts about one document follow each other, so that its prefix is computed once; the longest come first."""
    return grouped_longest_first(
        prompts, lambda prompt: len(prompt.ids), lambda prompt: (prompt.cluster, prompt.id)
    )


def _committed(model: SuiteModel, store: Store, prompts: Iterable[Prompt]) -> dict[str, Row]:
    """Committed rows by the prompts' ids."""
    names = {}
    for prompt in prompts:
        names |= {prompt.id: prompt.id, _rejected(prompt.id, model.window): prompt.id}
    rows = read_parts(store, model.replies_folder, SCHEMA, names.keys()).to_pylist()
    # A reply takes the place of an earlier problem.
    rows.sort(key=lambda row: not row["problem"])
    return {names[row["id"]]: row for row in rows}


def _rejected(prompt: str, window: int) -> str:
    """Identity of a prompt that was refused or is over length: with another window it may not be."""
    return content_id("rejected", prompt, window)
