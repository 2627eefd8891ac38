"""Samples: one prompt each, with the answers that are right, made from held-out documents and a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, Protocol

from longspan.evaluate.documents import Document
from longspan.hashing import content_id

Family = Literal[
    "retrieval",  # literal recall: needles, key-value pairs, first sentences
    "tracing",  # variable tracking, graph walks
    "aggregation",  # common and frequent words
    "association",  # needles that share no word with their question
    "reasoning",  # stories of several facts
    "documents",  # questions over paragraphs
    "many_shot",  # classification by examples in the prompt
    "own_documents",  # questions on the user's held-out documents
]
"""What a task measures; the acceptance gate groups tasks by it."""

Scoring = Literal[
    "contains_all",  # share of the references that the reply contains, case-folded (RULER: string_match_all)
    "contains_any",  # 1 if the reply contains one of the references, case-folded (RULER: string_match_part)
    "exact",  # 1 if the normalized reply equals a normalized reference (SQuAD)
    "f1",  # bag-of-words F1 with the best reference (SQuAD)
    "rouge_l",  # ROUGE-L F with the best reference
    "label",  # 1 if the first integer or label of the reply is the reference
    "one_of_labels",  # 1 if the reply names the reference and no other label (BABILong); labels follow the reference
    "set_f1",  # F1 of the set of ids in the reply's last list (Graphwalks)
]
"""How a reply is scored, as a number in [0, 1]: see `longspan.evaluate.metrics`."""


CLOSED_BOOK = "_closed_book"
"""Ending of the name of a control: it asks the questions of the task named before it, without their documents."""


@dataclass(frozen=True)
class Sample:
    """One prompt with its references.

    A pure function of (task, version, length, index, seed, documents, tokenizer, prompt format): the same
    whatever other tasks, lengths and samples there are, and wherever it is made.

    Attributes:
        id: identity of all of the above.
        task: name of its task.
        length: tokens of prompt and answer together, at most; the prompt is shorter than that by less than a
            sentence (or another unit of the task).
        index: number of the sample, from 0.
        depth: where the evidence begins, as a share of the context (0: at its start); None: no single place.
        text: the user's turn.
        answer_prefix: how the answer begins, for models that complete a text; "" if the task has none.
        references: right answers.
        scoring: how a reply is compared with them.
        max_tokens: most tokens of the answer.
        stop: strings that end the answer.
        cluster: identity of what its result depends on (a document): samples of one cluster are not
            independent.
        evidence: characters [from, to) of `text` that hold the answer.
    """

    id: str
    task: str
    length: int
    index: int
    depth: float | None
    text: str
    answer_prefix: str
    references: tuple[str, ...]
    scoring: Scoring
    max_tokens: int
    stop: tuple[str, ...] = ()
    cluster: str = ""
    evidence: tuple[tuple[int, int], ...] = ()


class PromptFormat(Protocol):
    """Turns a sample into the token ids that a model is given."""

    @property
    def hash(self) -> str:
        """Identity of the tokenizer, its template, and how both are used."""
        ...

    def prompt_ids(self, text: str, answer_prefix: str) -> list[int]:
        """Token ids of a whole prompt, with every token that template and tokenizer put around it."""
        ...

    def count(self, text: str) -> int:
        """Number of tokens of a text by itself."""
        ...


@dataclass(frozen=True)
class ProbeSource:
    """All that samples are made from.

    Attributes:
        documents: held-out documents, in a fixed order.
        documents_hash: their identity (`documents_hash`).
        format: of prompts.
        seed: of all choices.
        depths: places at which evidence is put, evenly from 0 to 1; sample `index` has place `index % depths`.
    """

    documents: tuple[Document, ...]
    documents_hash: str
    format: PromptFormat
    seed: int
    depths: int = 10

    def rng(self, *parts: object) -> random.Random:
        """Return a generator of random numbers that depends on the seed and these parts only."""
        return random.Random(content_id("probe", self.seed, *parts))

    def depth(self, index: int) -> float:
        """Depth of a sample, in [0, 1]."""
        return (index % self.depths) / max(1, self.depths - 1)

    def sample_id(self, task: str, version: int, length: int, index: int) -> str:
        """Identity of a sample."""
        return content_id(
            *("sample", task, version, length, index, self.seed, self.depths),
            *(self.documents_hash, self.format.hash),
        )


class Task(Protocol):
    """One kind of probe."""

    @property
    def name(self) -> str:
        """Unique name, as in recipes and results."""
        ...

    @property
    def version(self) -> int:
        """Increased whenever any of its prompts or its scoring changes."""
        ...

    @property
    def family(self) -> Family:
        """What it measures."""
        ...

    @property
    def scoring(self) -> Scoring:
        """How replies are compared with the references."""
        ...

    @property
    def max_tokens(self) -> int:
        """Most tokens of an answer."""
        ...

    def sample_id(self, source: ProbeSource, length: int, index: int) -> str:
        """Return the identity of a sample without making it: it changes with all that the sample depends on."""
        ...

    def context_id(self, source: ProbeSource, index: int) -> str:
        """Return the identity of the document, or other text, that the context of a sample begins with at any length.

        "" if that depends on the length. The sample is not made. Samples with the same context are asked one after
        another, as their prompts may begin alike.
        """
        ...

    def problem(self, source: ProbeSource, length: int) -> str | None:
        """Return why there can be no sample of this length; None if there can."""
        ...

    def sample(self, source: ProbeSource, length: int, index: int) -> Sample:
        """Return a sample; see `Sample` for what it depends on."""
        ...
