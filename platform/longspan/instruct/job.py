"""A self-instruct job from documents to examples, stage by stage, each resumable."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from longspan.corpus.example_sets import SPLITS
from longspan.generate.ask import Stage, ask
from longspan.generate.generators import TextGenerator
from longspan.generate.parts import read_parts
from longspan.generate.requests import RequestSource
from longspan.hashing import content_id
from longspan.instruct.choose import chosen, shares
from longspan.instruct.documents import DocumentFile, gather
from longspan.instruct.examples import ExampleWorker, Making
from longspan.instruct.generators import make_generator
from longspan.instruct.outcome import Outcome, read_manifest, verdict, write_manifest
from longspan.instruct.prepare import Prepared, needs
from longspan.instruct.report import full_report, short_report
from longspan.instruct.requests import Judgements, items_of, question_id
from longspan.instruct.sieve import (
    Rejects,
    accepted_by_chunk,
    approved,
    by_chunk,
    distinct,
    grounded,
)
from longspan.instruct.tables import REPLIES, VERDICTS
from longspan.recipe.sources import source_specs
from longspan.runtime.map_objects import run_on_all_cpus
from longspan.storage.preflight import require_access

FORMAT = 1
GROUP_TOKENS = 2**22

Row = dict[str, Any]
Log = Callable[[str], None]


def run(prepared: Prepared, log: Log = print) -> str | None:
    """Make the set of examples; Ray must be connected.

    Returns:
        None, or why there is no set: too little was left of what was asked for.

    Raises:
        UserError: something is not as the recipe needs it, or the endpoint does not answer any more.
    """
    require_access(prepared.store, needs(prepared))
    files = gather(prepared.store, source_specs(prepared.recipe), prepared.choice, log)
    files, documents = chosen(files, shares(prepared.recipe))
    facts = _facts(prepared, files)
    manifest = f"{prepared.folder}/manifest.json"
    before = read_manifest(prepared.store, manifest)
    if before and before["fingerprint"] == facts["fingerprint"]:
        log(f"{prepared.folder}: {before['examples']:,} examples are there, made from just this")
        return None
    job = _Stages(prepared, files, log)
    rejects = Rejects()
    unanswered = job.ask_questions()
    rows = grounded(job.replies(), prepared.recipe.min_grounding, rejects)
    unanswered += job.ask_verdicts(rows)
    critique = prepared.recipe.critique
    verdicts = read_parts(prepared.store, prepared.verdicts_folder, VERDICTS)
    rows = approved(rows, verdicts, critique.require, critique.min_score, rejects)
    rows = distinct(rows, prepared.recipe.near_duplicates, rejects)
    # From here on the old set is no set any more: a reader takes what the manifest names.
    prepared.store.delete(manifest)
    prepared.store.delete(f"{prepared.folder}/examples")
    made = job.make_examples(rows, rejects)
    outcome = Outcome(
        documents,
        job.chunks,
        job.asked,
        unanswered,
        rejects,
        [row for file in made for row in file["examples"]],
        [{"path": file["path"], "examples": len(file["examples"])} for file in made],
        job.tokens(),
    )
    return _finish(prepared, outcome, facts, manifest, log)


def _finish(
    prepared: Prepared, outcome: Outcome, facts: Row, manifest: str, log: Log
) -> str | None:
    store, name = prepared.store, prepared.recipe.name
    least = prepared.recipe.least
    why = None if outcome.enough(least) else verdict(outcome, least)
    report = f"{prepared.folder}/report.md"
    store.write_bytes(report, full_report(store, name, outcome, why).encode())
    if why is None:
        write_manifest(store, manifest, outcome, facts)
    else:
        store.delete(f"{prepared.folder}/examples")
    log(f"\n{short_report(outcome)}\n")
    log(f"Report:    {store.uri(report)}")
    if why is None:
        log(f"Examples:  {store.uri(f'{prepared.folder}/examples')}   (manifest.json beside it)")
    return why


class _Stages:
    """The stages over one choice of documents."""

    def __init__(self, prepared: Prepared, files: Sequence[DocumentFile], log: Log) -> None:
        self._prepared, self._files, self._log = prepared, files, log
        self._generator: TextGenerator | None = None
        recipe = prepared.recipe
        asked_with = prepared.prompts.hash_of("question")
        chunks = [
            chunk for file in files for document in file.documents for chunk in document["chunks"]
        ]
        self._ids = {
            question_id(chunk, number, asked_with, recipe.seed): chunk
            for chunk in chunks
            for number in range(recipe.questions_per_chunk)
        }
        self.chunks, self.asked = len(chunks), len(self._ids)

    def ask_questions(self) -> int:
        """Ask for the questions that are not there; returns how many got no answer."""
        prepared = self._prepared
        done = frozenset(self.replies().column("id").to_pylist())
        missing = {chunk for id, chunk in self._ids.items() if id not in done}
        total = self.asked - len(done)
        source = prepared.questions(done)
        return self._ask("questions", source, missing, total, prepared.replies_folder)

    def replies(self) -> pa.Table:
        """The replies that are there, of the questions asked for now, as a table."""
        table = read_parts(self._prepared.store, self._prepared.replies_folder, REPLIES)
        ids = table.column("id").to_pylist()
        return table.filter(pa.array([id in self._ids for id in ids], pa.bool_()))

    def ask_verdicts(self, rows: Sequence[Row]) -> int:
        """Ask for the verdicts on rows that are not there; returns how many got no answer."""
        prepared = self._prepared
        done = read_parts(prepared.store, prepared.verdicts_folder, VERDICTS)
        judged = set(done.column("id").to_pylist())
        left = [row for row in rows if row["id"] not in judged]
        candidates = by_chunk(left)
        source = Judgements(
            prepared.store,
            prepared.prompts,
            prepared.recipe.seed,
            prepared.recipe.critique.max_tokens,
            candidates,
        )
        return self._ask("critique", source, set(candidates), len(left), prepared.verdicts_folder)

    def make_examples(self, rows: Sequence[Row], rejects: Rejects) -> list[Row]:
        """Write the examples; returns of each object its path and its examples' facts."""
        prepared, accepted = self._prepared, accepted_by_chunk(rows)
        making = Making(
            prepared.store,
            f"{prepared.folder}/examples",
            prepared.chat,
            prepared.prompts,
            prepared.recipe.target_context,
            _name(prepared),
            prepared.recipe.seed,
        )
        items = []
        for file in self._files:
            wanted = [
                document["id"]
                for document in file.documents
                if any(chunk in accepted for chunk in document["chunks"])
            ]
            if wanted:
                name = re.sub(r"\.parquet$", "", file.path.rsplit("/", 1)[-1])
                size = sum(document["tokens"] for document in file.documents)
                items.append(({"path": file.path, "documents": wanted, "name": name}, size))
        if not items:
            return []
        self._log(f"examples: {sum(map(len, accepted.values())):,} to make")
        by_id = {row["id"]: row for row in rows}
        made = []
        for result in run_on_all_cpus(
            "examples", ExampleWorker, (making, accepted), items, GROUP_TOKENS, self._log
        ):
            for id, why in result["left_out"]:
                row = by_id[id]
                rejects.add("window", why, f"Q: {row['question']} A: {row['answer']}")
            if result["examples"]:
                made.append(result)
        return sorted(made, key=lambda file: file["path"])

    def tokens(self) -> dict[str, list[int]]:
        """Tokens of prompts and replies, by stage."""
        prepared = self._prepared
        verdicts = read_parts(prepared.store, prepared.verdicts_folder, VERDICTS)
        return {
            stage: [sum(table.column(f"{of}_tokens").to_pylist()) for of in ("prompt", "reply")]
            for stage, table in (("questions", self.replies()), ("critique", verdicts))
        }

    def _ask(
        self, name: str, source: RequestSource, chunks: set[str], requests: int, folder: str
    ) -> int:
        """Ask about some chunks; returns how many requests got no answer."""
        if not requests:
            return 0
        files = [
            replace(file, documents=wanted)
            for file in self._files
            if (wanted := [d for d in file.documents if not chunks.isdisjoint(d["chunks"])])
        ]
        self._generator = self._generator or make_generator(self._prepared, self._log)
        schema = REPLIES if name == "questions" else VERDICTS
        stage = Stage("instruct", name, source, items_of(files), requests, folder, schema)
        return len(ask(stage, self._generator, self._prepared.store, self._log))


def _model(prepared: Prepared) -> str:
    endpoint = prepared.recipe.generator.endpoint
    return endpoint.model if endpoint else str(prepared.recipe.generator.model)


def _name(prepared: Prepared) -> str:
    """Name of the generator in examples; part of a set's fingerprint, so another format makes all sets anew."""
    return f"{_model(prepared)} ({prepared.identity[:8]})"


def _facts(prepared: Prepared, files: Sequence[DocumentFile]) -> Row:
    """What the set is made from; the fingerprint is of all that decides its examples."""
    recipe = prepared.recipe
    elsewhere = {"storage", "data", "corpora", "generator", "prompts"}
    asked = recipe.model_dump(mode="json", exclude=elsewhere)
    documents = [[document["id"] for document in file.documents] for file in files]
    facts = {
        "name": recipe.name,
        "target_context": recipe.target_context,
        "chunk_tokens": prepared.sizes.chunk,
        "tokenizer": prepared.chat.hash,
        "generator": _name(prepared),
        "prompts": prepared.prompts.hash,
        "seed": recipe.seed,
    }
    fingerprint = content_id(
        FORMAT,
        facts,
        asked,
        prepared.identity,
        prepared.verdicts_folder,
        [file.path for file in files],
        documents,
    )
    generator = {"generator": _model(prepared), "generator_identity": prepared.identity}
    # The paths of the document files depend on the splits, so the fingerprint does.
    splits = {SPLITS: {name: asdict(rule) for name, rule in recipe.splits.items()}}
    return {"fingerprint": fingerprint, **facts, **generator, **splits}
