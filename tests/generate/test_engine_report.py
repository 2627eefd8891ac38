"""A model as an engine has loaded it: what differs from the model's folder is refused with both values."""

from dataclasses import replace
from typing import Any

import pytest

from longspan.chat.token_probe import TokenProbe
from longspan.evaluate.results import ReportedEngine
from longspan.generate.engine import _failure
from longspan.generate.engine_report import MISMATCH, ExpectedModel, LoadedModel

ROPE = {"rope_type": "default", "rope_theta": 500_000.0}
CONFIG = {"model_type": "llama", "max_position_embeddings": 4096, "rope_parameters": ROPE}
TOKENS = TokenProbe((1, 2, 3), (4, 5))
LOADED = LoadedModel("0.29", 4096, CONFIG, "bfloat16", TOKENS)
EXPECTED = ExpectedModel("my-model", "reference", ROPE, TOKENS)


def test_a_model_that_is_loaded_as_its_folder_states_is_reported() -> None:
    assert EXPECTED.differences(LOADED, 4096) == []
    report = ReportedEngine.model_validate_json(LOADED.report())
    assert (report.vllm, report.window, report.rope) == ("0.29", 4096, ROPE)
    assert report.tokens.keys() == {"text", "conversation"} and not report.unchecked


@pytest.mark.parametrize(
    ("changed", "stated"),
    [
        (
            {"config": CONFIG | {"rope_parameters": ROPE | {"rope_theta": 5000.0}}},
            "rope_theta is 500000.0 in config.json, 5000.0 in the engine",
        ),
        (
            {"config": CONFIG | {"rope_parameters": ROPE | {"rope_type": "linear", "factor": 2}}},
            "rope_type is 'default' in config.json, 'linear' in the engine",
        ),
        ({"window": 2048}, "the window is 4,096 tokens, 2,048 in the engine"),
        (
            {"tokens": TokenProbe((1, 2, 3), (4, 6))},
            "the chat template makes 2 tokens of a conversation here, 2 in the engine (token 1 is 5 here, 6 there)",
        ),
    ],
    ids=["base", "kind", "window", "template"],
)
def test_a_difference_denies_every_request_with_both_values(
    changed: dict[str, Any], stated: str
) -> None:
    problems = EXPECTED.differences(replace(LOADED, **changed), 4096)
    assert problems == [stated]
    failure = _failure(f"{MISMATCH}: {EXPECTED.refusal(problems)}")
    assert failure.kind == "denied"
    assert failure.message.startswith("reference: vLLM has loaded 'my-model' otherwise")
    assert stated in failure.message
