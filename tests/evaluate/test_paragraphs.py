"""Questions over paragraphs: files are read as published, and the paragraphs that answer stand among others."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from longspan.errors import UserError
from longspan.evaluate.probes.paragraphs import ParagraphProbe, make_tasks, others
from longspan.evaluate.probes.question_files import parse_questions, read_questions
from longspan.evaluate.samples import PromptFormat
from longspan.storage import Store
from tests.evaluate.probe_checks import check_sample, evidence_of, prompt_tokens
from tests.evaluate.probe_fixtures import chat_format, completion_format, probe_source

COLORS = ("red", "blue", "green", "white", "black", "yellow", "brown", "violet")


def paragraph(town: int) -> str:
    color = COLORS[town % len(COLORS)]
    tale = " ".join(f"The mill of town {town} turned {n} times." for n in range(town % 5 + 3))
    return f"Town {town} painted its gate {color} in year {1000 + town}.  {tale}"


def squad() -> dict[str, Any]:
    """Eight articles of five paragraphs, each with an answerable question and one that is not."""
    data = []
    for article in range(8):
        paragraphs = []
        for town in range(5 * article, 5 * article + 5):
            year = str(1000 + town)
            start = paragraph(town).index(year)
            answers = [{"text": year, "answer_start": start}] * 2
            qas = [
                {"id": f"q{town}", "question": f"When was the gate of town {town} painted?"}
                | {"answers": answers, "is_impossible": False},
                {"id": f"n{town}", "question": "Who?", "answers": [], "is_impossible": True},
            ]
            paragraphs.append({"context": paragraph(town), "qas": qas})
        data.append({"title": f"Region_{article}", "paragraphs": paragraphs})
    return {"version": "v2.0", "data": data}


def hotpot() -> list[dict[str, Any]]:
    """Twenty questions, each about two towns, with three other towns beside them."""
    draw = random.Random(1)
    rows = []
    for number in range(20):
        towns = draw.sample(range(40), 5)
        same = towns[0] % len(COLORS) == towns[1] % len(COLORS)
        parts = [[f"Town {town}", re.findall(r"[^.]+\.", paragraph(town))] for town in towns]
        draw.shuffle(parts)
        rows.append(
            {
                "_id": f"h{number}",
                "question": f"Are the gates of towns {towns[0]} and {towns[1]} of one color?",
                "answer": "yes" if same else "no",
                "supporting_facts": [[f"Town {town}", 0] for town in towns[:2]],
                "context": parts,
                "type": "comparison",
            }
        )
    return rows


FILES = {
    name: parse_questions(json.dumps(made()))
    for name, made in (("squad", squad), ("hotpot", hotpot))
}
TASKS = {task.name: task for task in make_tasks(FILES)}
BOTH = pytest.mark.parametrize("name", ["squad", "hotpot"])


def test_squad_is_read_as_published() -> None:
    file = FILES["squad"]
    assert len(file.paragraphs) == 40 and len(file.questions) == 40
    third = file.questions[7]
    assert third.answers == ("1007",) and third.cluster == "Region 1"
    (number,) = third.gold
    assert file.paragraphs[number].title == "Region 1"
    assert file.paragraphs[number].text == " ".join(paragraph(7).split())


def test_hotpot_is_read_as_published() -> None:
    file = FILES["hotpot"]
    assert len(file.questions) == 20 and len(file.paragraphs) <= 40
    for row, question in zip(hotpot(), file.questions, strict=True):
        titles = {title for title, _ in row["supporting_facts"]}
        assert {file.paragraphs[number].title for number in question.gold} == titles
        assert len(question.gold) == 2 and len(question.near) == 3
        assert question.answers == (row["answer"],)
    assert len({question.cluster for question in file.questions}) == 20


@pytest.mark.parametrize(
    "content",
    [
        b"no json",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b'{"data": []}',
        b'{"data": [{"title": 1}]}',
        b'[{"_id": 1}]',
        b"7",
        json.dumps([hotpot()[0] | {"supporting_facts": [["Elsewhere", 0]]}]).encode(),
    ],
    ids=["text", "bytes", "object", "list", "no article", "article", "question", "number", "fact"],
)
def test_another_file_is_refused_with_its_key(tmp_path: Path, content: bytes) -> None:
    store = Store(str(tmp_path))
    store.write_bytes("q.json", content)
    with pytest.raises(UserError, match=r"^files\.squad: .*q\.json is neither SQuAD 2\.0 nor"):
        read_questions(store, "q.json", "files.squad")


def test_files_are_found_in_the_store_or_named_as_missing(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_bytes("q.json", json.dumps(squad()).encode())
    assert read_questions(store, "q.json", "k") == FILES["squad"]
    assert read_questions(store, str(tmp_path / "q.json"), "k") == FILES["squad"]
    with pytest.raises(UserError, match=r"^k: there is no file .*none\.json"):
        read_questions(store, "none.json", "k")


@BOTH
@pytest.mark.parametrize("format", [completion_format, chat_format], ids=["none", "chat"])
def test_paragraphs_fill_the_length(name: str, format: Callable[[], PromptFormat]) -> None:
    source, task = probe_source(format(), sentences=5), TASKS[f"qa_{name}"]
    file = FILES[name]
    known = {paragraph.text for paragraph in file.paragraphs}
    for length in (1500, 2600):
        assert task.problem(source, length) is None
        for index in (0, 5, 9):
            sample = check_sample(task, source, length, index, slack=60)
            asked = sample.text.rpartition("Question: ")[2].partition("?")[0] + "?"
            (question,) = [each for each in file.questions if each.text == asked]
            gold = [file.paragraphs[number] for number in question.gold]
            shown = [f"{each.title}\n{each.text}" for each in gold]
            assert evidence_of(sample) == shown and sample.references == question.answers
            assert all(sample.text.count(text) == 1 for text in shown)
            context = sample.text.rpartition("\n\nQuestion:")[0].partition("\n\n")[2]
            texts = [part.partition("\n")[2] for part in context.split("\n\n")]
            # All paragraphs are whole, but for at most one, cut after a sentence.
            cut = [text for text in texts if text not in known]
            assert len(cut) <= 1 and len(texts) == len(set(texts)) >= 4
            assert all(any(whole.startswith(text) for whole in known) for text in cut)
            at = (sample.evidence[0][0] - sample.text.index("\n\n")) / len(context)
            assert sample.depth is not None and abs(at - sample.depth) < 0.25
            # The same question at every length, and without paragraphs.
            alone = TASKS[f"qa_{name}_closed_book"].sample(source, 0, index)
            assert asked in alone.text and alone.references == sample.references
            assert alone.cluster == sample.cluster == question.cluster


@BOTH
def test_a_closed_book_has_no_paragraph(name: str) -> None:
    source, task = probe_source(), TASKS[f"qa_{name}_closed_book"]
    assert task.problem(source, 0) is None
    assert "asked at length 0 only" in str(task.problem(source, 4096))
    assert "has no context" not in str(TASKS[f"qa_{name}"].problem(source, 4096))
    for index in range(10):
        sample = task.sample(source, 0, index)
        assert prompt_tokens(source, sample) < 120
        assert all(paragraph.text[:20] not in sample.text for paragraph in FILES[name].paragraphs)
        assert sample.evidence == () and sample.depth is None


def test_paragraphs_with_an_answer_come_last() -> None:
    file = FILES["squad"]
    question = file.questions[0]
    blue = type(question)("x", "?", ("Blue",), (1,), (0, 17, 2), "c")
    rest = [number for number in range(40) if number != 1]
    order = list(others(file.paragraphs, blue, rest))
    assert sorted(order) == rest and order[:2] == [0, 2]
    has_answer = ["blue" in file.paragraphs[number].text for number in order]
    assert has_answer == sorted(has_answer) and sum(has_answer) == 4


def test_samples_of_other_files_have_other_identities() -> None:
    source = probe_source()
    changed = squad()
    changed["data"][0]["title"] = "Elsewhere"
    (other, _) = make_tasks({"squad": parse_questions(json.dumps(changed))})
    ids = {task.sample(source, 1500, 0).id for task in (TASKS["qa_squad"], other)}
    assert len(ids) == 2


def test_too_few_paragraphs_are_a_problem() -> None:
    task: ParagraphProbe = TASKS["qa_squad"]
    assert "probes.lengths: " in str(task.problem(probe_source(), 20_000))


def test_a_question_whose_paragraph_does_not_fit_gives_way_to_another_one() -> None:
    published = squad()
    article = published["data"][3]["paragraphs"][1]
    article["context"] = article["context"].replace("  ", " ") + " The mill stood still." * 200
    task, closed = make_tasks({"squad": parse_questions(json.dumps(published))})
    source = probe_source(sentences=5)
    question = article["qas"][0]["question"]
    whole = [closed.sample(source, 0, index) for index in range(40)]
    (number,) = [index for index, sample in enumerate(whole) if question in sample.text]
    assert question in task.sample(source, 5000, number).text
    assert task.problem(source, 1500) is None
    other = task.sample(source, 1500, number)
    assert question not in other.text
    assert other.references == whole[(number + 1) % 40].references
