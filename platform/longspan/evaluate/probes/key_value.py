"""Key-value retrieval: HELMET's JSON-KV (arXiv 2410.02694, table 2; from arXiv 2307.03172).

A JSON object maps random UUIDs to random UUIDs; two solved questions on the same object stand before the
question. Scored is whether the reply contains the value. The wording of the instruction is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from longspan.evaluate.haystack import Frame, fill
from longspan.evaluate.probes.probe import Probe
from longspan.evaluate.probes.words import distinct, identifier
from longspan.evaluate.samples import ProbeSource, Sample

SHOTS = 2
DEPTHS = 6
"""Places of the pair that is asked for, evenly from 0 to 1."""
MIN_PAIR_TOKENS = 16


@dataclass(frozen=True)
class KeyValue(Probe):
    """A question for the value of one key of a JSON object."""

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """See `Probe.build`."""
        rng = self.rng(source, length, index)
        ids = distinct(lambda: identifier(rng), 2 * (SHOTS + 1 + length // MIN_PAIR_TOKENS))
        pairs = list(zip(ids[::2], ids[1::2], strict=True))
        (key, value), *shots = pairs[: SHOTS + 1]
        solved = "".join(
            f'Key: "{key}"\nCorresponding value: "{value}"\n\n' for key, value in shots
        )
        frame = Frame(
            "Find the value of a key in this JSON object.\n\n{",
            f'}}\n\n{solved}Key: "{key}"',
            "\nCorresponding value:",
        )
        depth = (index % DEPTHS) / (DEPTHS - 1)
        depths = [depth, *(rng.random() for _ in shots)]
        members = [f'"{key}": "{value}"' for key, value in pairs]
        placed = fill(
            source.format,
            frame,
            members[SHOTS + 1 :],
            list(zip(depths, members, strict=False)),
            budget,
            ",\n ",
        )
        return self.finished(
            source, (length, index), (placed, frame), [value], depth=depth, evidence=[0]
        )


TASKS: tuple[KeyValue, ...] = (KeyValue("helmet_json_kv", 1, "retrieval", "contains_all", 100),)
