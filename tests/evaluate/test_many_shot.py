"""Examples of many-shot classification are right, balanced, and never the text that is asked about."""

import re
from collections import Counter
from collections.abc import Callable

import pytest

from longspan.evaluate.documents import Document, documents_hash
from longspan.evaluate.probes.many_shot import TASKS, ManyShotProbe
from longspan.evaluate.samples import ProbeSource, PromptFormat
from tests.evaluate.probe_checks import check_sample
from tests.evaluate.probe_fixtures import chat_format, completion_format, document, prose

BY_CORPUS, BY_DOCUMENT = TASKS
SHOT = re.compile(r"Text: (.*)\nSource: (\d\d)\n\n")


def source_of(
    documents: list[Document], format: Callable[[], PromptFormat] = completion_format
) -> ProbeSource:
    return ProbeSource(tuple(documents), documents_hash(documents), format(), 3)


def texts() -> list[Document]:
    """Two books and two papers."""
    names = ["books", "books", "papers", "papers"]
    return [document(prose(seed, 500), name) for seed, name in enumerate(names)]


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("format", [completion_format, chat_format], ids=["none", "chat"])
def test_labels_are_those_of_the_texts(
    task: ManyShotProbe, format: Callable[[], PromptFormat]
) -> None:
    documents = texts()
    source = source_of(documents, format)
    for length in (2048, 6000):
        assert task.problem(source, length) is None
        labels_of: list[dict[str, str]] = []
        for index in range(4):
            # An example has at most 540 bytes, and a token more than two of them.
            sample = check_sample(task, source, length, index, slack=240)
            shots = SHOT.findall(sample.text)
            assert len(shots) >= 4
            classes: dict[str, str] = {}
            for text, label in shots:
                (owner,) = {
                    each.corpus if task.classes == "corpus" else each.id
                    for each in documents
                    if text in flat(each.text)
                }
                assert classes.setdefault(owner, label) == label
            assert len(set(classes.values())) == (2 if task.classes == "corpus" else 4)
            counts = Counter(label for _, label in shots).values()
            assert max(counts) - min(counts) <= 1
            asked = sample.text.rpartition("Text: ")[2]
            assert asked not in {text for text, _ in shots} and len(shots) == len({*shots})
            (right,) = [each for each in documents if asked in flat(each.text)]
            key = right.corpus if task.classes == "corpus" else right.id
            assert sample.references == (classes[key],) and sample.cluster == right.id
            assert sample.text.endswith(f"\n\nText: {asked}") and sample.depth is None
            labels_of.append(classes)
        # Labels say nothing beyond their own sample.
        assert any(labels_of[0] != other for other in labels_of[1:])


def test_classes_are_asked_about_equally_often() -> None:
    source = source_of(texts())
    clusters = Counter(BY_DOCUMENT.sample(source, 2048, index).cluster for index in range(80))
    # Four documents, twenty each; five standard deviations.
    assert len(clusters) == 4 and all(abs(count - 20) < 20 for count in clusters.values())


def test_a_text_of_two_classes_is_in_neither() -> None:
    shared = prose(9, 60)
    documents = [document(shared + prose(seed, 60), f"corpus{seed}") for seed in range(2)]
    sample = BY_CORPUS.sample(source_of(documents), 1500, 0)
    assert all(text not in flat(shared) for text, _ in SHOT.findall(sample.text))


@pytest.mark.parametrize(
    ("documents", "length", "said"),
    [
        (texts()[:2], 2048, "passages of two classes (by corpus) are needed, and there are 1"),
        (texts(), 256, "probes.lengths: "),
        (texts(), 10**6, "corpora: "),
    ],
    ids=["one class", "short", "long"],
)
def test_what_cannot_be_asked_is_a_problem(
    documents: list[Document], length: int, said: str
) -> None:
    assert said in str(BY_CORPUS.problem(source_of(documents), length))
