import json
from pathlib import Path
from typing import Any

import pytest

from longspan.model.vocabulary import token_ids, why_foreign


def read(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name).read_text())


def test_every_token_has_its_id(tiny: Path) -> None:
    tokens = token_ids(read(tiny, "tokenizer.json"))
    assert sorted(tokens.values()) == list(range(512))
    assert tokens["<|im_end|>"] == 2


def test_a_unigram_vocabulary_is_a_list() -> None:
    described = {"model": {"vocab": [["<unk>", 0.0], ["a", -1.5]]}}
    assert token_ids(described) == {"<unk>": 0, "a": 1}


# Vocabularies are rounded up, and a chat model may end turns and texts differently.
@pytest.mark.parametrize("change", [{}, {"vocab_size": 544}, {"eos_token_id": [0, 2]}])
def test_the_models_own_tokenizer_belongs_to_it(tiny: Path, change: dict[str, Any]) -> None:
    assert why_foreign(read(tiny, "tokenizer.json"), read(tiny, "config.json") | change) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 500}, "ids up to 511, the model's vocabulary is 500"),
        ({"vocab_size": 32_000}, "has 512 tokens, the model's vocabulary is 32,000"),
        ({"eos_token_id": 17}, "eos_token_id 17 is the ordinary token '/'"),
        ({"eos_token_id": [2, 300]}, "eos_token_id 300 is the ordinary token"),
        ({"bos_token_id": 17}, "bos_token_id 17 is the ordinary token"),
    ],
)
def test_another_models_is_told(tiny: Path, change: dict[str, Any], message: str) -> None:
    described = read(tiny, "tokenizer.json")
    assert message in (why_foreign(described, read(tiny, "config.json") | change) or "")


def test_a_tokenizer_without_a_vocabulary(tiny: Path) -> None:
    assert why_foreign({}, read(tiny, "config.json")) == "it has no vocabulary"
