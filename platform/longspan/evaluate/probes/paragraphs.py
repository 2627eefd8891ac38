"""Questions over paragraphs: the ones that answer stand among others, as many as fit (RULER's qa_1 and qa_2).

The paragraphs and questions are from files that the user names (`question_files`). A second task asks the same
questions without any paragraph, so that what a model knows by heart can be told from what it reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from longspan.evaluate.haystack import Frame, Placed, place, split_sentences
from longspan.evaluate.probes.fitting import (
    STOP,
    enough,
    fill_or_base,
    first_fitting,
    longest,
    turns,
)
from longspan.evaluate.probes.question_files import Paragraph, Question, QuestionFile
from longspan.evaluate.probes.questions import QuestionProbe
from longspan.evaluate.samples import CLOSED_BOOK, ProbeSource, Sample

MAX_TOKENS = 32
_BEFORE = (
    "Below are paragraphs of several articles. Use them to answer the question that follows.\n\n"
)
_AFTER = "\n\nQuestion: {question} Answer with a few words only."
ANSWER_PREFIX = "\nAnswer:"
_SEPARATOR = "\n\n"


@dataclass(frozen=True)
class ParagraphProbe(QuestionProbe):
    """Questions of one file; the first paragraph that answers stands at the depth, further ones behind it.

    A question whose paragraphs do not fit into a length gives way to the next one whose do, so that all other samples
    ask the same questions at every length.

    Other paragraphs are those that the file has beside them, then any others of the file; such that have one of
    the answers are taken last.

    Attributes:
        file: questions and paragraphs.
    """

    file: QuestionFile

    @property
    def questions_hash(self) -> str:
        """See `QuestionProbe.questions_hash`."""
        return self.file.hash

    def context_id(self, source: ProbeSource, index: int) -> str:
        """See `Task.context_id`: the question's article, but at lengths that it gives way at."""
        return next(self._candidates(source, index)).cluster

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """See `Probe.build`."""
        candidates = self._candidates(source, index)
        if self.closed_book:
            asked = next(candidates)
            frame = Frame("", _asking(asked).lstrip(), ANSWER_PREFIX)
            placed, depth = fill_or_base(source.format, frame, (), (), None), None
        else:
            asked = first_fitting(
                source.format, candidates, self._bare_prompt, budget, ANSWER_PREFIX
            )
            frame = Frame(_BEFORE, _asking(asked), ANSWER_PREFIX)
            depth = source.depth(index)
            placed = self._filled(source, asked, (index, depth, budget), frame)
        return self.finished(
            source,
            (length, index),
            (placed, frame),
            asked.answers,
            depth=depth,
            evidence=range(len(placed.spans)),
            cluster=asked.cluster,
            stop=STOP,
        )

    def _candidates(self, source: ProbeSource, index: int) -> Iterator[Question]:
        """Yield questions in the order in which they are preferred, with and without paragraphs, at all lengths."""
        questions = self.file.questions
        for at in turns(source, self.questions_hash, len(questions), index):
            yield questions[at]

    def _bare_prompt(self, asked: Question) -> str:
        """The prompt with no paragraphs but those that answer."""
        gold = (_shown(self.file.paragraphs[number]) for number in asked.gold)
        return f"{_BEFORE}{_SEPARATOR.join(gold)}{_asking(asked)}"

    def _filled(
        self, source: ProbeSource, asked: Question, place_of: tuple[int, float, int], frame: Frame
    ) -> Placed:
        """The prompt with as many sentences of other paragraphs as fit."""
        index, depth, budget = place_of
        rng = source.rng(self.name, self.version, index)
        depths = [depth, *(depth + (1 - depth) * rng.random() for _ in asked.gold[1:])]
        gold = [_shown(self.file.paragraphs[number]) for number in asked.gold]
        inserts = list(zip(depths, gold, strict=True))
        rest = [number for number in range(len(self.file.paragraphs)) if number not in asked.gold]
        rng.shuffle(rest)
        numbers = others(self.file.paragraphs, asked, rest)
        pieces = enough(_pieces(self.file.paragraphs, numbers), budget)

        def build(count: int) -> Placed:
            context = place(_joined(pieces[:count]), inserts, _SEPARATOR)
            text = frame.before + context.text + frame.after
            return Placed(text, context.shifted(len(frame.before)))

        return longest(source.format, build, pieces, budget, frame.answer_prefix)


def others(paragraphs: Sequence[Paragraph], asked: Question, rest: Sequence[int]) -> Iterator[int]:
    """Yield numbers of paragraphs to put around those that answer a question, each once.

    Args:
        paragraphs: all.
        asked: the question.
        rest: numbers of all paragraphs but those that answer, in random order.
    """
    # Yes and no are no words to look for.
    words = [re.escape(answer) for answer in asked.answers if answer.lower() not in ("yes", "no")]
    answer = re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)", re.IGNORECASE) if words else None
    near = set(asked.near)
    late = []
    for number in (*asked.near, *(number for number in rest if number not in near)):
        if answer and answer.search(paragraphs[number].text):
            late.append(number)
        else:
            yield number
    yield from late


def _asking(asked: Question) -> str:
    return _AFTER.format(question=asked.text)


def _shown(paragraph: Paragraph) -> str:
    return f"{paragraph.title}\n{paragraph.text}"


def _pieces(paragraphs: Sequence[Paragraph], numbers: Iterator[int]) -> Iterator[str]:
    """Sentences of paragraphs; the first one of each begins with a separator and the title."""
    for number in numbers:
        first, *more = split_sentences(paragraphs[number].text) or [""]
        yield f"{_SEPARATOR}{paragraphs[number].title}\n{first}"
        yield from more


def _joined(pieces: Sequence[str]) -> list[str]:
    """Paragraphs again, the last one perhaps cut after a sentence."""
    found: list[str] = []
    for piece in pieces:
        if piece.startswith(_SEPARATOR):
            found.append(piece.removeprefix(_SEPARATOR))
        else:
            found[-1] += f" {piece}"
    return found


def make_tasks(files: Mapping[str, QuestionFile]) -> tuple[ParagraphProbe, ...]:
    """Return the tasks of files by name: `qa_<name>` and `qa_<name>_closed_book`."""
    return tuple(
        ParagraphProbe(
            f"qa_{name}{CLOSED_BOOK if closed_book else ''}",
            *(1, "documents", "contains_any", MAX_TOKENS),
            file=file,
            closed_book=closed_book,
        )
        for name, file in files.items()
        for closed_book in (False, True)
    )
