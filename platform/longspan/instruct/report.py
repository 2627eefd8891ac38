"""The report of a set of examples: counts at every stage, lengths, positions, examples to read."""

from __future__ import annotations

from collections import Counter
from typing import Any

from longspan.generate.tables import each_row
from longspan.instruct.outcome import Outcome
from longspan.instruct.sieve import STAGES
from longspan.observe.tables import table
from longspan.storage import Store

EXAMPLES_SHOWN = 10
BINS = 10
BAR = 40
QUESTION_SHOWN = 600
"""Characters of a user's turn, from its end: the question stands there."""

Row = dict[str, Any]


def short_report(outcome: Outcome) -> str:
    """What is printed at the end."""
    parts = [table(_funnel(outcome), ("questions", "left", "of those before"))]
    if reasons := _reasons(outcome):
        parts.append(table(reasons, ("turned down at", "reason", "number")))
    if outcome.examples:
        parts += [_lengths_line(outcome), histogram(outcome)]
    return "\n\n".join(parts)


def full_report(store: Store, name: str, outcome: Outcome, verdict: str | None) -> str:
    """The report as Markdown, with rejected replies and examples to read; `verdict` is why it failed."""
    taken = outcome.documents["taken"]
    parts = [f"# Self-instruct: {name}"]
    if verdict:
        parts.append(f"**No data set.** {verdict}")
    documents = [(what, f"{number:,}") for what, number in sorted(outcome.documents.items())]
    parts += [
        f"{len(outcome.examples):,} examples from {outcome.chunks:,} chunks of {taken:,} documents.",
        "## Documents",
        _block(table(documents, ("documents", "number"))),
        "## Questions",
        _block(short_report(outcome)),
    ]
    if outcome.tokens:
        rows = [(stage, f"{n[0]:,}", f"{n[1]:,}") for stage, n in outcome.tokens.items()]
        parts += [
            "## Tokens of the generator",
            _block(table(rows, ("stage", "prompts", "replies"))),
        ]
    parts += _rejected(outcome)
    parts += _to_read(store, outcome)
    return "\n\n".join(parts) + "\n"


def histogram(outcome: Outcome) -> str:
    """Where in the window chunks begin, in tenths of it."""
    counts = Counter(min(BINS - 1, int(row["position"] * BINS)) for row in outcome.examples)
    most = max(counts.values())
    rows = [
        (
            f"{n / BINS:.0%} to {(n + 1) / BINS:.0%}",
            f"{counts[n]:,}",
            "#" * (counts[n] * BAR // most),
        )
        for n in range(BINS)
    ]
    return table(rows, ("chunk begins at", "examples", ""))


def _funnel(outcome: Outcome) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    before = outcome.asked
    for what, left in outcome.left_after():
        rows.append((what, f"{left:,}", f"{left / before:.0%}" if before else "-"))
        before = left
    return rows


def _reasons(outcome: Outcome) -> list[tuple[str, ...]]:
    return [
        (stage, reason, f"{number:,}")
        for stage in STAGES
        for reason, number in outcome.rejects.counts[stage].most_common()
    ]


def _lengths_line(outcome: Outcome) -> str:
    lengths = sorted(row["tokens"] for row in outcome.examples)
    styles = Counter(row["style"] for row in outcome.examples)
    cut = sum(row["cut"] for row in outcome.examples)
    documents = len({row["document"] for row in outcome.examples})
    said = ", ".join(f"{number:,} {style}" for style, number in sorted(styles.items()))
    return (
        f"{len(lengths):,} examples ({said}) of {documents:,} documents, {sum(lengths):,} tokens: "
        f"shortest {lengths[0]:,}, median {lengths[len(lengths) // 2]:,}, longest {lengths[-1]:,}; "
        f"{cut:,} with a document cut to the window"
    )


def _rejected(outcome: Outcome) -> list[str]:
    lines = [
        f"- *{stage}: {reason}*: {_one_line(text)}"
        for stage in STAGES
        for reason, _ in outcome.rejects.counts[stage].most_common()
        for text in outcome.rejects.samples[stage, reason]
    ]
    return ["## Turned down, some of each reason", "\n".join(lines)] if lines else []


def _to_read(store: Store, outcome: Outcome) -> list[str]:
    """Ten examples, as the hash of their ids picks them."""
    picked = sorted(row["id"] for row in outcome.examples)[:EXAMPLES_SHOWN]
    found: list[str] = []
    for file in outcome.files:
        if len(found) == len(picked):
            break
        found += [_shown(row) for row in each_row(store, file["path"]) if row["id"] in picked]
    return ["## Examples to read", *found] if found else []


def _shown(row: Row) -> str:
    user, assistant = (turn["content"] for turn in row["messages"])
    kept, chunk = row["kept"], row["chunk_span"]
    question = user.rpartition('"""')[2].strip()[-QUESTION_SHOWN:]
    text = (
        f"**{row['id']}** ({row['style']}, {row['corpus']}, {row['object']}, document {row['number']}; "
        f"tokens {kept['first_token']:,} to {kept['end_token']:,} of {row['document_tokens']:,}, chunk "
        f"{chunk['first_token']:,} to {chunk['end_token']:,}, {row['tokens']:,} tokens in all; "
        f"score {row['score']})"
    )
    return f"{text}\n\n> {_one_line(question)}\n>\n> {_one_line(assistant)}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _block(text: str) -> str:
    return f"```\n{text}\n```"
