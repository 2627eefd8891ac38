"""What a set of examples came to: its manifest, and the verdict where too little is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from longspan.instruct.schema import Least
from longspan.instruct.sieve import STAGES, Rejects
from longspan.storage import Store, sealed

FORMAT = 1

Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Counts at every stage, and facts of every example.

    Attributes:
        documents: by what became of them; "taken" are those asked about.
        chunks: asked about.
        asked: questions asked for.
        unanswered: requests that the endpoint did not answer.
        rejects: what was turned down.
        examples: of each its id, tokens, position, style, document, corpus, and whether its document was cut.
        files: examples by object.
        tokens: of prompts and of replies, by stage.
    """

    documents: Counter[str]
    chunks: int
    asked: int
    unanswered: int
    rejects: Rejects
    examples: list[Row] = field(default_factory=list)
    files: list[Row] = field(default_factory=list)
    tokens: dict[str, list[int]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of the questions asked for that became examples."""
        return len(self.examples) / self.asked if self.asked else 0.0

    def enough(self, least: Least) -> bool:
        """Whether this is a success."""
        return len(self.examples) >= least.examples and self.share >= least.share

    def left_after(self) -> list[tuple[str, int]]:
        """How many are left after each stage, in order."""
        left = self.asked - self.unanswered
        rows = [("asked for", self.asked), ("answered", left)]
        for stage in STAGES:
            left -= self.rejects.total(stage)
            rows.append((_AFTER[stage], left))
        return rows


_AFTER = {
    "replies": "question and answer found",
    "grounding": "answer's words in the chunk",
    "critique": "approved by the critique",
    "near duplicates": "near duplicates removed",
    "window": "examples",
}


def verdict(outcome: Outcome, least: Least) -> str:
    """Why there is no data set, in words: where things were lost, and two replies to look at."""
    got = (
        f"{len(outcome.examples):,} of {outcome.asked:,} questions became examples "
        f"({outcome.share:.1%}); least asks for {least.examples:,} and {least.share:.1%}"
    )
    if not outcome.asked:
        reasons = _counted(outcome.documents, ("read", "taken"))
        return (
            f"there is nothing to ask about: no document was taken ({reasons or 'none was read'})"
        )
    if outcome.unanswered > outcome.asked / 2:
        return f"{got}. {outcome.unanswered:,} requests got no answer; run the same command again"
    worst = max(STAGES, key=outcome.rejects.total)
    counts = outcome.rejects.counts[worst]
    lines = [
        f"{got}. Most were lost at the stage '{worst}': {outcome.rejects.total(worst):,} "
        f"({_counted(counts)}). {_ADVICE[worst]}"
    ]
    lines += [
        f"  rejected ({reason}): {' '.join(text.split())}"
        for reason, text in _samples(outcome.rejects, worst)
    ]
    return "\n".join(lines)


_ADVICE = {
    "replies": "The generator does not keep to the form asked for: use a stronger one, or change the prompts.",
    "grounding": "Answers do not come from the chunk: use a stronger generator, or lower min_grounding.",
    "critique": "The generator turns its own answers down: use a stronger one, or ask less of critique.",
    "near duplicates": "The generator asks the same again and again: raise near_duplicates or temperature, "
    "or ask fewer questions_per_chunk.",
    "window": "Chunks are too long for target_context: lower chunk_tokens.",
}


def _counted(counts: Counter[str], without: Sequence[str] = ()) -> str:
    return ", ".join(
        f"{reason} {number:,}" for reason, number in counts.most_common() if reason not in without
    )


def _samples(rejects: Rejects, stage: str) -> list[tuple[str, str]]:
    """Two, of the commonest reasons."""
    found = [
        (reason, text)
        for reason, _ in rejects.counts[stage].most_common()
        for text in rejects.samples[stage, reason]
    ]
    firsts = [
        (reason, rejects.samples[stage, reason][0])
        for reason, _ in rejects.counts[stage].most_common()
    ]
    return [*firsts[:2], *found[1 : 3 - len(firsts[:2])]]


def write_manifest(store: Store, path: str, outcome: Outcome, facts: Row) -> None:
    """Write what a reader of the examples needs: which objects they are, and what they were made from."""
    store.write_bytes(
        path,
        sealed.dumps(
            {
                "format": FORMAT,
                **facts,
                "examples": len(outcome.examples),
                "tokens": sum(row["tokens"] for row in outcome.examples),
                "files": outcome.files,
                "documents": dict(outcome.documents),
                "chunks": outcome.chunks,
                "asked": outcome.asked,
                "unanswered": outcome.unanswered,
                "rejects": {
                    stage: dict(outcome.rejects.counts[stage].most_common()) for stage in STAGES
                },
                "generator_tokens": outcome.tokens,
            }
        ),
    )


def read_manifest(store: Store, path: str) -> Row | None:
    """A set's manifest; None where there is none that can be read."""
    try:
        found = sealed.read(store, path)
    except (FileNotFoundError, ValueError):
        return None
    wanted = {"format": int, "fingerprint": str, "examples": int}
    is_valid = all(isinstance(found.get(key), kind) for key, kind in wanted.items())
    return found if is_valid and found["format"] == FORMAT else None
