"""Files of questions over paragraphs: SQuAD 2.0 and HotpotQA, as the data sets are published."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from longspan.errors import UserError
from longspan.hashing import content_id, text_id
from longspan.storage import Store


@dataclass(frozen=True)
class Paragraph:
    """A text with the title of the article that it is from."""

    title: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question with its answers.

    Attributes:
        id: as in the file.
        text: the question.
        answers: that are right, each once.
        gold: numbers of the paragraphs that the answer follows from.
        near: numbers of paragraphs that the file has beside them, which look alike.
        cluster: questions of one cluster are not independent of each other.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    gold: tuple[int, ...]
    near: tuple[int, ...]
    cluster: str


@dataclass(frozen=True)
class QuestionFile:
    """Questions and all paragraphs of a file.

    Attributes:
        hash: of the file's content.
    """

    hash: str
    paragraphs: tuple[Paragraph, ...]
    questions: tuple[Question, ...]


def read_questions(store: Store, path: str, key: str) -> QuestionFile:
    """Read a file of either format; which one is seen from its content.

    SQuAD 2.0 is `{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}`;
    questions without an answer are left out. HotpotQA is a list of `{"_id", "question", "answer",
    "supporting_facts": [[title, number]], "context": [[title, [sentence]]]}`.

    Args:
        store: where it is.
        path: of the object.
        key: the recipe's key that names it, for messages.

    Raises:
        UserError: there is no such file, or it has neither format.
    """
    try:
        with store.local(path) as copy, open(copy.path, encoding="utf-8") as file:
            text = file.read()
        return parse_questions(text)
    except FileNotFoundError:
        raise UserError(f"{key}: there is no file {store.uri(path)}; correct the path") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(
            f"{key}: {store.uri(path)} is neither SQuAD 2.0 nor HotpotQA ({type(error).__name__}: {error}); give a "
            "file in one of these formats"
        ) from None


def parse_questions(text: str) -> QuestionFile:
    """Return what a file says; see `read_questions`.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, IndexError: it has neither format.
    """
    content = json.loads(text)
    table = _Paragraphs()
    questions = _squad(content, table) if isinstance(content, dict) else _hotpot(content, table)
    found = tuple(question for question in questions if question.answers)
    if not found:
        raise ValueError("it has no question with an answer")
    return QuestionFile(text_id(text), tuple(table.numbers), found)


class _Paragraphs:
    """Paragraphs with their numbers, each once."""

    def __init__(self) -> None:
        self.numbers: dict[Paragraph, int] = {}

    def number(self, title: str, text: str) -> int:
        paragraph = Paragraph(title, " ".join(text.split()))
        return self.numbers.setdefault(paragraph, len(self.numbers))


def _squad(content: Mapping[str, Any], table: _Paragraphs) -> Iterator[Question]:
    for article in content["data"]:
        title = article["title"].replace("_", " ")
        for paragraph in article["paragraphs"]:
            number = table.number(title, paragraph["context"])
            for asked in paragraph["qas"]:
                answers = tuple(dict.fromkeys(answer["text"] for answer in asked["answers"]))
                yield Question(asked["id"], asked["question"], answers, (number,), (), title)


def _hotpot(content: list[dict[str, Any]], table: _Paragraphs) -> Iterator[Question]:
    for asked in content:
        supporting = {title for title, _ in asked["supporting_facts"]}
        gold, near = [], []
        for title, sentences in asked["context"]:
            number = table.number(title, "".join(sentences))
            (gold if title in supporting else near).append(number)
        if len(gold) != len(supporting):
            raise ValueError(f"question {asked['_id']!r} has supporting facts without context")
        yield Question(
            asked["_id"],
            asked["question"],
            (asked["answer"],),
            tuple(gold),
            tuple(near),
            content_id("question", asked["_id"]),
        )
