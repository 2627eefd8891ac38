"""Replies to the prompts of suites: generated once, committed to the store, and never asked for again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from longspan.evaluate.suites.model import SuiteModel
from longspan.generate.ask import Stage, ask
from longspan.generate.parts import read_parts
from longspan.generate.progress import Log
from longspan.generate.requests import Reply, Request, Row
from longspan.storage import Store

ITEM_REQUESTS = 32
"""Requests that are handed over together; few, so that what is lost when a job is killed is little."""
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
"""Committed replies; `problem` is "" or why there is none ("over_length: ...")."""


@dataclass(frozen=True)
class Requests:
    """Source of requests that are known already: an item holds some of them as JSON."""

    def requests(self, item: Row) -> Iterator[Request]:
        """See `RequestSource.requests`."""
        yield from map(Request.from_row, json.loads(item["requests"]))

    def record(self, reply: Reply) -> Row:
        """See `RequestSource.record`."""
        failure = reply.failure
        return {
            "id": reply.id,
            "text": reply.text,
            "is_cut_off": reply.finish_reason == "length",
            "prompt_tokens": reply.prompt_tokens,
            "reply_tokens": reply.reply_tokens,
            "problem": f"{failure.kind}: {failure.message}" if failure else "",
        }


def replies(
    model: SuiteModel, requests: Sequence[Request], store: Store, name: str, log: Log
) -> dict[str, Row]:
    """Return rows of `SCHEMA` by the requests' ids; those without a committed reply are asked for.

    Args:
        model: what answers.
        requests: in the order in which they are to be sent; ids are unique.
        store: where replies are committed.
        name: of the work, in lines and on dashboards.
        log: takes lines on the progress.

    Raises:
        UserError: see `longspan.generate.ask.ask`.
    """
    assert model.generator is not None
    wanted = {request.id for request in requests}
    found = _committed(model, store, wanted)
    left = [request for request in requests if request.id not in found]
    batches = [left[at : at + ITEM_REQUESTS] for at in range(0, len(left), ITEM_REQUESTS)]
    items = [{"requests": json.dumps([each.row() for each in batch])} for batch in batches]
    stage = Stage("evaluate", name, Requests(), items, len(left), model.replies_folder, SCHEMA)
    unanswered = ask(stage, model.generator, store, log)
    found = _committed(model, store, wanted) if left else found
    return found | {row["id"]: row for row in unanswered}


def _committed(model: SuiteModel, store: Store, wanted: set[str]) -> dict[str, Row]:
    table = read_parts(store, model.replies_folder, SCHEMA)
    return {row["id"]: row for row in table.to_pylist() if row["id"] in wanted}
