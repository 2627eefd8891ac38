"""Samples of the recall probes: exact lengths, right answers, and that nothing else decides what they are."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.errors import UserError
from longspan.evaluate.haystack import haystack_of
from longspan.evaluate.probes.counting import ZETA, CommonWords, frequencies
from longspan.evaluate.probes.first_sentence import FRAME as FIRST_SENTENCE
from longspan.evaluate.probes.registry import GROUPS, TASKS, tasks_of
from longspan.evaluate.probes.words import ADJECTIVES, NOUNS, counting_words, distinct
from longspan.evaluate.samples import PromptFormat, Sample
from longspan.hashing import content_id
from tests.evaluate.probe_fixtures import (
    byte_format,
    chat_format,
    completion_format,
    document,
    probe_source,
    prose,
)

ROOT = Path(__file__).parents[2]
OWN = (
    *("ruler_niah_single_1", "ruler_niah_single_2", "ruler_niah_single_3"),
    *("ruler_niah_multikey_1", "ruler_niah_multikey_2", "ruler_niah_multikey_3"),
    *("ruler_niah_multivalue", "ruler_niah_multiquery"),
    *("ruler_vt", "ruler_cwe", "ruler_fwe", "helmet_json_kv", "passkey", "first_sentence"),
)
NEEDLES = [name for name in OWN if "niah" in name]
FORMATS = {"completion": completion_format(), "chat": chat_format(), "bytes": byte_format()}
LENGTHS = {"completion": 8192, "chat": 8192, "bytes": 16_384}
"""Long enough for every task: bytes are many."""
UNIT_TOKENS = 330
"""More than the tokens of the largest unit of any task, a word that occurs three times, in bytes."""


def sample(name: str, length: int | None = None, index: int = 3, seed: int = 1) -> Sample:
    return TASKS[name].sample(probe_source(seed=seed), length or usual(name), index)


def usual(name: str) -> int:
    """A length that is long enough, and no longer, by the tiny tokenizer."""
    return 8192 if name == "ruler_cwe" else 3072


def tokens(format: PromptFormat, sample: Sample) -> int:
    return len(format.prompt_ids(sample.text, sample.answer_prefix)) + sample.max_tokens


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", OWN)
def test_prompt_and_answer_have_the_length_to_less_than_a_unit(name: str, format: str) -> None:
    source, length = probe_source(FORMATS[format], documents=9), LENGTHS[format]
    assert TASKS[name].problem(source, length) is None
    for index in (0, 4):
        found = TASKS[name].sample(source, length, index)
        assert length - UNIT_TOKENS < tokens(FORMATS[format], found) <= length
        assert (found.length, found.index, found.task) == (length, index, name)


@given(st.sampled_from(OWN), st.integers(700, 5000), st.integers(0, 500))
@settings(max_examples=25)
def test_any_length_is_kept_or_refused(name: str, length: int, index: int) -> None:
    source = probe_source()
    if TASKS[name].problem(source, length) is None:
        found = TASKS[name].sample(source, length, index)
        assert length - UNIT_TOKENS < tokens(source.format, found) <= length


@pytest.mark.parametrize("name", [*NEEDLES, "passkey", "helmet_json_kv"])
def test_each_answer_is_in_the_prompt_once_and_where_evidence_says(name: str) -> None:
    hay = haystack_of(probe_source())
    for index in range(4):
        found = sample(name, index=index)
        assert len(found.references) == len(found.evidence) == len(set(found.references))
        for reference, (start, end) in zip(found.references, found.evidence, strict=True):
            assert found.text.count(reference) == 1
            assert reference in found.text[start:end]
            assert not hay.contains(reference)


@pytest.mark.parametrize(
    ("name", "keys", "values", "asked"),
    [
        ("ruler_niah_multikey_1", 4, 4, 1),
        ("ruler_niah_multivalue", 1, 4, 4),
        ("ruler_niah_multiquery", 4, 4, 4),
        ("ruler_niah_single_2", 1, 1, 1),
    ],
)
def test_needles_of_each_kind(name: str, keys: int, values: int, asked: int) -> None:
    found = sample(name)
    needles = re.findall(r"One special number for (\S+-\S+) is (\d{7})\.", found.text)
    assert len({key for key, _ in needles}) == keys
    assert len({value for _, value in needles}) == len(needles) == values
    question = found.text[max(end for _, end in found.evidence) :].rsplit("\n", 1)[1]
    wanted = [value for key, value in needles if key in question]
    assert sorted(found.references) == sorted(wanted)
    assert len(wanted) == asked
    assert all(key in found.answer_prefix for key, _ in needles if key in question)


@pytest.mark.parametrize("name", ["ruler_niah_multikey_2", "ruler_niah_multikey_3"])
def test_a_haystack_of_needles_has_the_asked_key_once(name: str) -> None:
    found = sample(name)
    needles = re.findall(r"^One special \w+ for (\S+) is (\S+)\.$", found.text, re.MULTILINE)
    assert len(needles) > 20
    (key,) = {key for key, value in needles if value == found.references[0]}
    assert [value for name, value in needles if name == key] == list(found.references)


@pytest.mark.parametrize("name", ["ruler_niah_single_1", "ruler_niah_single_2", "passkey"])
def test_depths_are_even_and_as_stated(name: str) -> None:
    found = [sample(name, index=index) for index in range(20)]
    assert [one.depth for one in found] == [(index % 10) / 9 for index in range(20)]
    for one in found:
        (start, end) = one.evidence[0]
        before = one.text.index("\n") + 1
        after = len(one.text) - one.text.rindex("\n")
        context = len(one.text) - before - after - (end - start)
        assert abs((start - before) / context - (one.depth or 0.0)) < 0.04


def test_several_values_have_no_depth_of_their_own() -> None:
    starts = [sample("ruler_niah_multivalue", index=index).evidence for index in range(8)]
    assert sample("ruler_niah_multivalue").depth is None
    assert len({evidence[0][0] for evidence in starts}) == 8


@pytest.mark.parametrize(
    "name", ["ruler_niah_multivalue", "ruler_niah_multiquery", "ruler_vt", "ruler_niah_single_2"]
)
def test_evidence_is_spread_evenly(name: str) -> None:
    from scipy.stats import kstest

    depths = []
    for index in range(50):
        found = sample(name, 2048, index)
        first = 0 if name != "ruler_vt" else found.text.rindex("Follow the variable")
        length = found.text.rindex("\n") - first
        depths += [(start - first) / length for start, _ in found.evidence]
    assert kstest(depths, "uniform").pvalue > 0.01


def test_variables_can_be_tracked() -> None:
    found = sample("ruler_vt")
    value = re.findall(r"have the value (\d{5})", found.text + found.answer_prefix)
    assert value[-1] == value[-2]
    known: dict[str, str] = {}
    for name, source in re.findall(r"^VAR (\w+) = (?:VAR )?(\w+)$", found.text, re.MULTILINE):
        known[name] = known.get(source, source)
    assert tuple(name for name, number in known.items() if number == value[-1]) == found.references
    assert len(found.references) == len(set(found.references)) == 5
    assert all(re.fullmatch("[A-Z]{5}", name) for name in found.references)
    example = [name for name, number in known.items() if number == value[0]]
    assert f"have the value {value[0]}: {' '.join(example)}\n\n" in found.text
    lines = [found.text[start:end] for start, end in found.evidence]
    assert [line.split()[1] for line in lines] == list(found.references)


@pytest.mark.parametrize(("length", "common", "others"), [(4095, 6, 1), (8192, 30, 3)])
def test_common_words_are_counted(length: int, common: int, others: int) -> None:
    found = sample("ruler_cwe", length)
    example, counted = found.text.split("Here is a numbered list")[1:]
    for part, repeats in (
        (counted, (common, others)),
        (example, (3, 1) if others == 1 else (10, 3)),
    ):
        entries = re.findall(r"(\d+)\. (\w+)", part.split("\nQuestion")[0])
        assert [int(number) for number, _ in entries] == list(range(1, len(entries) + 1))
        counts = Counter(word for _, word in entries)
        assert set(counts.values()) == set(repeats)
        top = [word for word, count in counts.items() if count == repeats[0]]
        assert len(top) == 10
    answers = set(found.references)
    counts = Counter(re.findall(r"\d+\. (\w+)", counted.split("\nQuestion")[0]))
    assert answers == {word for word, count in counts.items() if count == common}
    assert not any(answer in word for answer in answers for word in counts if word != answer)


def test_the_example_of_common_words_is_solved() -> None:
    text = sample("ruler_cwe").text.split("Here is a numbered list")[1]
    counts = Counter(re.findall(r"\d+\. (\w+)", text.split("\nQuestion")[0]))
    answer = re.findall(r"\d+\. (\w+)", text.split("are:")[1])
    assert Counter(dict(counts.most_common(10))) == Counter(dict.fromkeys(answer, 10))


def test_coded_words_follow_a_zeta_distribution() -> None:
    found = sample("ruler_fwe")
    text = found.text.split("most often. ", 1)[1].rsplit("\nQuestion", 1)[0]
    counts = Counter(text.split(" "))
    ranked = [word for word, _ in counts.most_common()]
    assert ranked[0] == "..."
    assert tuple(ranked[1:4]) == found.references
    assert all(re.fullmatch("[a-z]{6}", word) for word in ranked[1:])
    total = next(n for n in range(len(ranked), 9999) if frequencies(1, n) == [counts["..."]])
    assert [counts[word] for word in ranked[:4]] == pytest.approx(frequencies(4, total), abs=1)
    assert len(ranked) <= 3072 // 50


def test_frequencies_are_shares_of_the_zeta_distribution() -> None:
    assert frequencies(3, 1000) == [int(1000 / ZETA), int(250 / ZETA), int(1000 / 9 / ZETA)]


def test_key_value_prompts_are_json_with_two_solved_questions() -> None:
    found = sample("helmet_json_kv")
    pairs = json.loads(found.text[found.text.index("{") : found.text.index("}") + 1])
    *shots, (key, end) = re.findall(
        r'Key: "(.*?)"(?:\nCorresponding value: "(.*?)")?(?:\n\n|$)', found.text
    )
    assert end == "" and (pairs[key],) == found.references
    assert len(shots) == 2
    assert all(pairs[key] == value for key, value in shots)
    depths = {sample("helmet_json_kv", index=index).depth for index in range(12)}
    assert depths == {0.0, 0.2, 0.4, 0.6, 0.8, 1.0}


def test_the_first_sentence_is_the_first() -> None:
    source = probe_source()
    clusters = set()
    for index in range(12):
        found = sample("first_sentence", index=index)
        lines = found.text.removeprefix(FIRST_SENTENCE.before).split("\n\n")
        assert (lines[0],) == found.references
        assert found.text.count(lines[0]) == 1
        assert found.stop == ("\n\n",)
        (start, end) = found.evidence[0]
        assert found.text[start:end] == lines[0]
        (owner,) = [doc for doc in source.documents if doc.id == found.cluster]
        assert lines[0] in " ".join(owner.text.split())
        clusters.add(found.cluster)
    assert len(clusters) > 2


@pytest.mark.parametrize("name", OWN)
def test_samples_depend_on_nothing_but_their_own_coordinates(name: str) -> None:
    source = probe_source(seed=7)
    length = usual(name)
    alone = TASKS[name].sample(source, length, 3)
    in_order = [TASKS[name].sample(source, length, index) for index in range(4)]
    TASKS[name].sample(source, length + 64, 0)
    backwards = [TASKS[name].sample(source, length, index) for index in reversed(range(4))]
    assert in_order == backwards[::-1]
    assert in_order[3] == alone
    assert len({one.id for one in in_order}) == len({one.text for one in in_order}) == 4


@pytest.mark.parametrize("name", OWN)
def test_samples_differ_by_seed_and_by_documents(name: str) -> None:
    found = sample(name)
    other = sample(name, seed=2)
    assert (found.id, found.text) != (other.id, other.text)
    assert found.text != other.text
    texts = tuple(document(prose(number, 400)) for number in range(10, 16))
    source = dataclasses.replace(probe_source(), documents=texts, documents_hash="other")
    assert TASKS[name].sample(source, usual(name), 3).id != found.id


def test_samples_are_the_same_in_another_process() -> None:
    """With another seed of Python's hashes, and other tasks made before."""
    script = "from tests.evaluate.test_probes import fingerprint; print(fingerprint(reverse=True))"
    path = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    environment = os.environ | {"PYTHONHASHSEED": "77", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == fingerprint()


def fingerprint(reverse: bool = False) -> str:
    """Identity of two samples of each task, made in one order or the other."""
    wanted = [(name, index) for name in OWN for index in (0, 9)]
    made = {
        each: dataclasses.asdict(sample(each[0], index=each[1]))
        for each in (reversed(wanted) if reverse else wanted)
    }
    return content_id([made[each] for each in wanted])


def test_a_length_without_place_for_a_task_has_a_problem() -> None:
    source = probe_source()
    found = TASKS["ruler_vt"].problem(source, 300)
    assert found is not None and found.startswith("ruler_vt at 300 tokens: probes.lengths:")
    found = TASKS["ruler_cwe"].problem(source, 600)
    assert found is not None and "ruler_cwe at 600 tokens: probes.lengths:" in found
    found = TASKS["ruler_niah_single_2"].problem(probe_source(documents=1, sentences=50), 65_536)
    assert found is not None and "corpora:" in found and "max_documents" in found
    # Noise needs no documents.
    assert TASKS["passkey"].problem(probe_source(documents=1, sentences=50), 65_536) is None


def test_a_first_sentence_that_is_repeated_everywhere_is_a_problem() -> None:
    texts = (document("The same sentence stands here many times over. " * 300),)
    source = dataclasses.replace(probe_source(), documents=texts)
    found = TASKS["first_sentence"].problem(source, 1024)
    assert found is not None and "not repeated" in found


def test_names_of_tasks_and_groups_are_found() -> None:
    assert set(OWN) <= set(TASKS)
    assert all(TASKS[name].name == name for name in TASKS)
    assert {name for group in GROUPS.values() for name in group} <= set(TASKS)
    assert not set(GROUPS) & set(TASKS)
    found = [task.name for task in tasks_of(["passkey", "helmet_recall", "ruler_niah_multivalue"])]
    assert set(found) == {*GROUPS["helmet_recall"], "passkey"}
    assert found == [name for name in TASKS if name in found]
    with pytest.raises(UserError, match="tasks: 'niah' is no probe"):
        tasks_of(["passkey", "niah"])


def test_no_word_is_a_part_of_another() -> None:
    assert not any(a != b and b.endswith(a) for a in ADJECTIVES for b in ADJECTIVES)
    assert not any(a != b and b.startswith(a) for a in NOUNS for b in NOUNS)
    assert len(set(ADJECTIVES)) * len(set(NOUNS)) > 30_000


def test_words_of_documents_come_before_made_up_ones() -> None:
    source = probe_source()
    rng = source.rng("x")
    assert set(counting_words(["tide", "ship", "mill"], 2, rng)) < {"tide", "ship", "mill"}
    many = counting_words(["tide", "ship"], 20_000, rng)
    assert len(set(many)) == len(many) == 20_000
    assert distinct(iter("aabbc").__next__, 2, "a") == ["b", "c"]


def test_a_version_of_a_task_changes_its_samples() -> None:
    task = TASKS["ruler_cwe"]
    assert isinstance(task, CommonWords)
    other = dataclasses.replace(task, version=task.version + 1)
    found, changed = (each.sample(probe_source(), 8192, 0) for each in (task, other))
    assert found.id != changed.id and found.text != changed.text
