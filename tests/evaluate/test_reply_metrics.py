import random
import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import cast, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.evaluate.metrics import (
    exact_match,
    last_list,
    score,
    squad_normalized,
    token_f1,
)
from longspan.evaluate.samples import Scoring

WORDS = ["the", "A", "an", "cat", "cats", "sat,", "on", "mat.", "42", "(x)", "Über", "don't", "  "]
texts = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


def lm_eval_file(path: str) -> dict:
    spec = find_spec("lm_eval")
    assert spec and spec.origin
    return runpy.run_path(str(Path(spec.origin).parent / path))


SQUAD = lm_eval_file("tasks/qasper/metrics.py")


def random_pairs(number: int) -> list[tuple[str, list[str]]]:
    rng = random.Random(0)
    alphabet = "aAbB1 é"

    def text(most: int) -> str:
        return "".join(rng.choices(alphabet, k=rng.randint(1, most)))

    return [(text(30), [text(3) for _ in range(rng.randint(1, 5))]) for _ in range(number)]


def test_contains_scores_are_those_of_rulers_formulas():
    """NVIDIA/RULER, scripts/eval/synthetic/constants.py, on 1,000 random replies at once."""
    pairs = random_pairs(1000)
    found = [[each.lower() in reply.lower() for each in references] for reply, references in pairs]
    match_all = 100 * sum(sum(each) / len(each) for each in found) / len(found)
    match_part = 100 * sum(max(each) for each in found) / len(found)
    assert 0 < match_all < match_part < 100
    for scoring, expected in (("contains_all", match_all), ("contains_any", match_part)):
        mean = sum(score(scoring, *pair) for pair in pairs) / len(pairs)
        assert 100 * mean == pytest.approx(expected, abs=1e-9)


@given(reply=texts, reference=texts)
def test_squad_measures_are_those_of_lm_eval(reply, reference):
    normalize, f1 = SQUAD["normalize_answer"], SQUAD["f1_abstractive"]
    assert squad_normalized(reply) == normalize(reply)
    assert exact_match(reply, [reference]) == (normalize(reply) == normalize(reference))
    if normalize(reply) and normalize(reference):
        assert token_f1(reply, [reference]) == pytest.approx(f1([reply], [reference]))


@settings(max_examples=30)
@given(reply=texts, references=st.lists(texts, min_size=1, max_size=3))
def test_rouge_l_of_ascii_text_is_that_of_rouge_score(reply, references):
    from rouge_score.rouge_scorer import RougeScorer

    reply, references = reply.replace("Ü", "U"), [each.replace("Ü", "U") for each in references]
    best = RougeScorer(["rougeL"]).score_multi(references, reply)["rougeL"].fmeasure
    assert score("rouge_l", reply, references) == pytest.approx(best)


@pytest.mark.parametrize(
    ("scoring", "reply", "references", "expected"),
    [
        ("contains_all", "It is 17 and 23.", ["17", "23", "5"], 2 / 3),
        ("contains_any", "It is 17.", ["23", "17"], 1),
        ("contains_any", "", ["17"], 0),
        ("exact", "The Cat!", ["dog", "cat"], 1),
        ("exact", "cat sat", ["cat"], 0),
        ("f1", "the black cat", ["dog", "a cat"], 2 / 3),
        ("f1", "", ["the"], 1),
        ("f1", "", ["cat"], 0),
        ("f1", "a a cat cat", ["cat"], 2 / 3),
        ("rouge_l", "the cat sat", ["dog", "the cat ran"], 2 / 3),
        ("rouge_l", "Война и мир", ["война и мир"], 1),
        ("rouge_l", "我爱北京", ["我爱上海"], 1 / 2),
        ("label", " 17\nquestion: 5", ["17"], 1),
        ("label", "Label: 17", ["17"], 1),
        ("label", "017", ["17"], 1),
        ("label", "117", ["17"], 0),
        ("label", "none", ["17"], 0),
        ("label", "Answer: Yes, it is", ["yes"], 1),
        ("label", "yesterday", ["yes"], 0),
        ("label", "no, yes", ["yes"], 0),
        ("one_of_labels", "In the kitchen.", ["kitchen", "garden"], 1),
        ("one_of_labels", "kitchen. Garden", ["kitchen", "garden"], 1),
        ("one_of_labels", "kitchen or garden", ["kitchen", "garden"], 0),
        ("one_of_labels", "the north", ["no", "yes"], 0),
        ("one_of_labels", "no\nQuestion: is it? yes", ["no", "yes"], 1),
        ("one_of_labels", "the garden", ["kitchen", "garden"], 0),
        ("set_f1", "Final Answer: [a1, b2]", ["b2", "a1"], 1),
        ("set_f1", "[x] then ['a1', \"b2\", c3]", ["a1", "b2"], 4 / 5),
        ("set_f1", " a1, b2]", ["a1", "b2"], 1),
        ("set_f1", "[]", [], 1),
        ("set_f1", "[a1]", [], 0),
        ("set_f1", "[]", ["a1"], 0),
        ("set_f1", "a1, b2", ["a1", "b2"], 0),
        ("set_f1", "", [], 0),
    ],
)
def test_scores(scoring: Scoring, reply: str, references: list[str], expected: float):
    assert score(scoring, reply, references) == pytest.approx(expected)


@given(
    scoring=st.sampled_from(get_args(Scoring)),
    reply=st.text(max_size=40),
    references=st.lists(st.text(min_size=1, max_size=10), min_size=1, max_size=3),
)
def test_every_score_of_any_text_is_a_share(scoring, reply, references):
    assert 0 <= score(scoring, reply, references) <= 1


@pytest.mark.parametrize("scoring", sorted(set(get_args(Scoring)) - {"set_f1"}))
def test_a_sample_without_references_is_an_error(scoring):
    with pytest.raises(ValueError, match=scoring):
        score(scoring, "reply", [])


def test_an_unknown_scoring_is_an_error():
    with pytest.raises(AssertionError):
        score(cast(Scoring, "bleu"), "reply", ["reply"])


def test_ascii_reduction_decomposes_and_drops():
    assert squad_normalized("Café ﬁn—naïve", ascii_only=True) == "cafe finnaive"
    assert exact_match("cafe", ["Café"]) == 0
    assert exact_match("cafe", ["Café"], ascii_only=True) == 1


def test_a_reply_without_a_list_is_told_from_an_empty_list():
    assert last_list("none") is None
    assert last_list("[ ]") == frozenset()
