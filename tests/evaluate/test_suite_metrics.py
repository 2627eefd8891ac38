import math

import pytest

from longspan.evaluate.suite_metrics import (
    Rouge,
    choice_letter,
    concordance,
    exponential_similarity,
    multi_select,
    ndcg,
    rouge,
    rouge_geo_of_means,
    rouge_geo_per_reply,
    vader_mean,
)


def test_rouge_is_that_of_rouge_score_with_the_best_reference_of_each_type():
    from rouge_score.rouge_scorer import RougeScorer

    reply, references = "the cat sat on a mat", ["a mat on the cat", "dogs sat on a rug"]
    single = [RougeScorer(["rouge1", "rouge2", "rougeL"]).score(each, reply) for each in references]
    best = [max(each[name].fmeasure for each in single) for name in ("rouge1", "rouge2", "rougeL")]
    found = rouge(reply, references)
    assert (found.rouge_1, found.rouge_2, found.rouge_l) == pytest.approx(tuple(best))


def test_the_two_definitions_of_rouge_geo_differ():
    replies = [Rouge(1.0, 1.0, 1.0), Rouge(0.5, 0.0, 0.5)]
    assert rouge_geo_of_means(replies) == pytest.approx((0.75 * 0.5 * 0.75) ** (1 / 3))
    assert rouge_geo_per_reply(replies) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("reply", "reference", "expected"),
    [
        ("75%", "75%", 1.0),
        ("about 65 % of them", "75%", 0.5),
        ("85.0%, or 75%", "75%", 0.5),
        ("55%", "75%", 0.25),
        ("0%", "100%", 2.0**-10),
        ("three quarters", "75%", 0.0),
        ("75", "75%", 0.0),
    ],
)
def test_exponential_similarity(reply, reference, expected):
    assert exponential_similarity(reply, reference) == pytest.approx(expected)


def test_a_reference_without_a_percentage_is_an_error():
    with pytest.raises(ValueError, match="percentage"):
        exponential_similarity("75%", "three quarters")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("3, 1, 2, 4", 1.0),
        ("4,2,1,3", 0.0),
        ("3 1 4 2", 5 / 6),
        ("Order: 1, 3, 2, 4.", 5 / 6),
        ("3, 1, 2", 0.0),
        ("3, 1, 2, 2", 0.0),
        ("3, 1, 2, 4, 5", 0.0),
        ("", 0.0),
    ],
)
def test_concordance(reply, expected):
    assert concordance(reply, [3, 1, 2, 4]) == pytest.approx(expected)


def test_ndcg():
    relevance = {"a": 3.0, "b": 1.0, "c": 0.0}
    ideal = 3 + 1 / math.log2(3)
    assert ndcg(["a", "b", "c"], relevance) == pytest.approx(1)
    assert ndcg(["b", "a"], relevance) == pytest.approx((1 + 3 / math.log2(3)) / ideal)
    assert ndcg(["x", "a"], relevance) == pytest.approx(3 / math.log2(3) / ideal)
    # A repeated id has its first place, and those behind it move up.
    assert ndcg(["b", "b", "a"], relevance) == pytest.approx(ndcg(["b", "a"], relevance))
    assert ndcg([*"0123456789", "a"], relevance) == 0


@pytest.mark.parametrize(
    ("reply", "reference", "expected"),
    [
        ("AC", "AC", 1.0),
        ("C, A", "AC", 1.0),
        ("Answer: A and C.", "AC", 1.0),
        ("A", "AC", 0.25),
        ("A", "A", 1.0),
        ("AB", "AC", 0.0),
        ("ABC", "AC", 0.0),
        ("none", "AC", 0.0),
    ],
)
def test_multi_select(reply, reference, expected):
    assert multi_select(reply, reference) == expected


@pytest.mark.parametrize(
    ("reply", "expected"), [("(B) because A", 1), ("Because: B", 1), ("A", 0), ("BAD", 0), ("", 0)]
)
def test_choice_letter(reply, expected):
    assert choice_letter(reply, "B") == expected


def test_vader_mean_is_of_compound_scores():
    good, bad = vader_mean(["I love this."]), vader_mean(["I hate this."])
    assert bad < 0 < good
    assert vader_mean(["I love this.", "I hate this."]) == pytest.approx((good + bad) / 2)
