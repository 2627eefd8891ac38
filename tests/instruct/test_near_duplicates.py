"""Near-duplicate questions: of each group the first stays."""

import time

from longspan.instruct.near_duplicates import near_duplicates
from tests.instruct.texts import NAMES, THINGS


def test_rewordings_go_and_other_questions_stay() -> None:
    questions = [
        "What did Anna keep in the house by the sea?",
        "Who sold the violin?",
        "what did Anna keep in the house by the sea",
        "What did Anna keep in the old house by the sea?",
        "What did Boris keep in the barn?",
    ]
    assert near_duplicates(questions, 0.99) == {2: 0}
    assert near_duplicates(questions, 0.5) == {2: 0, 3: 0}


def test_questions_without_words_are_compared_as_they_are() -> None:
    assert near_duplicates(["?", "!", "?", ""], 0.7) == {2: 0}


def test_many_questions_take_little_time() -> None:
    questions = [
        f"Which {thing} did {name} leave in house {number} after year {number * 7}, and why {number % 13}?"
        for number in range(15)
        for name in NAMES
        for thing in THINGS
    ]
    began = time.monotonic()
    found = near_duplicates([*questions, questions[5], questions[700]], 1.0)
    assert found == {len(questions): 5, len(questions) + 1: 700}
    assert time.monotonic() - began < 20
