"""A recipe's mistakes are one clear message each; sizes are derived and explained."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from longspan.chat.tokenizer import ChatTokenizer
from longspan.config.explain import all_keys
from longspan.config.load import load, parse
from longspan.errors import UserError
from longspan.generate.endpoint import read_api_key
from longspan.generate.schema import Endpoint
from longspan.instruct.prompt_files import load_prompts
from longspan.instruct.schema import InstructRecipe
from longspan.instruct.sizes import derive_sizes
from longspan.recipe.schema import Recipe
from longspan.recipe.sft import SftRecipe
from longspan.serve.schema import ServeSettings

ROOT = Path(__file__).parents[2]
RECIPE: dict[str, Any] = {
    "name": "x",
    "target_context": 4096,
    "generator": {"model": "m"},
    "corpora": [{"name": "a", "path": "a"}],
}
ENDPOINT = {"url": "http://127.0.0.1:8000/v1", "model": "m"}


def test_the_sample_recipe_is_valid() -> None:
    recipe = load(InstructRecipe, ROOT / "jobs/recipes/self_instruct.yaml", ["seed=3"])
    assert recipe.seed == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"generater": 1}, "generater: unknown key; the nearest known key is generator"),
        ({"chunk_token": 9}, "chunk_token: unknown key; the nearest known key is chunk_tokens"),
        ({"name": "a/b"}, "name: 'a/b': use letters"),
        ({"generator": {}}, "generator: give either model, for an engine of this job, or endpoint"),
        ({"generator": {"model": "m", "endpoint": ENDPOINT}}, "give either model"),
        ({"generator": {"endpoint": ENDPOINT}}, "tokenizer: required with generator.endpoint"),
        (
            {"generator": {"endpoint": ENDPOINT | {"url": "https://me:secret@host/v1"}}},
            "must hold no credentials",
        ),
        ({"generator": {"endpoint": ENDPOINT | {"url": "host"}}}, "must be http://host:port/v1"),
        (
            {"generator": {"endpoint": ENDPOINT | {"key_variable": "sk-123"}}},
            "key_variable: must be",
        ),
        (
            {"generator": {"model": "m", "engine": {"trust_remote_code": True}}},
            "trust_remote_code' can't be set here: a model's own code is never run",
        ),
        (
            {
                "generator": {
                    "model": "m",
                    "pool": "serving",
                    "engine": {"distributed_executor_backend": "ray"},
                }
            },
            "engine.distributed_executor_backend: 'ray' makes a placement group that knows no pool",
        ),
        (
            {"critique": {"require": ["nice"]}},
            "critique.require.0: must be 'answerable', 'correct' or 'supported'",
        ),
        ({"critique": {"min_score": 6}}, "critique.min_score: must be less than or equal to 5"),
        ({"near_duplicates": 0}, "near_duplicates: must be greater than 0"),
        ({"corpora": [{"name": "a", "path": "a"}] * 2}, "two sources are called 'a'"),
        (
            {"corpora": [{"name": "a", "path": "a", "heldout_fraction": 0.1}]},
            "corpora.a: heldout_fraction: 0.1 would be ignored with split: all",
        ),
        (
            {"corpora": [{"name": "a", "path": "a", "split": "training"}]},
            "corpora.a: heldout_fraction: required with split: training",
        ),
        (
            {"corpora": [{"name": "a", "path": "a", "split": "heldout", "heldout_fraction": 0}]},
            "corpora.a: heldout_fraction: 0 holds no document out",
        ),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        parse(InstructRecipe, RECIPE | changes)
    assert said in str(error.value)
    assert "secret" not in str(error.value)


def test_a_key_comes_from_the_environment_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint.model_validate(ENDPOINT | {"key_variable": "TEST_API_KEY"})
    with pytest.raises(UserError, match="environment variable TEST_API_KEY is not set"):
        read_api_key(endpoint, "generator.endpoint")
    monkeypatch.setenv("TEST_API_KEY", "hidden-value")
    key = read_api_key(endpoint, "generator.endpoint")
    assert key.get_secret_value() == "hidden-value"
    assert "hidden" not in f"{key} {key!r}"


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "HF_TOKEN",
        "RAY_AUTH_TOKEN",
        "HOME",
        "X_API_KEYS",
    ],
)
def test_a_recipe_has_no_other_variable_sent(name: str) -> None:
    with pytest.raises(ValueError, match=r"must be API_KEY or a name that ends in _API_KEY"):
        Endpoint.model_validate(ENDPOINT | {"key_variable": name})


def test_no_other_key_of_a_recipe_names_a_variable_or_an_address_that_is_asked() -> None:
    """Whoever adds one decides what somebody else's recipe may have sent where; see docs/self_instruct.md."""
    schemas = (Recipe, SftRecipe, InstructRecipe, ServeSettings)
    keys = {key for schema in schemas for key in all_keys(schema)}
    naming = re.compile(r"(variable|env|env_vars|secret|password|token|url|uri|host|endpoint)$")
    assert {key for key in keys if naming.search(key)} == {
        "control.endpoint",
        "generator.endpoint",
        "generator.endpoint.key_variable",
        "generator.endpoint.url",
        "storage.endpoint",
    }


def test_a_key_is_sent_in_clear_to_this_machine_and_trusted_hosts_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEST_API_KEY", "hidden-value")

    def key(url: str) -> str:
        facts = {"url": url, "model": "m", "key_variable": "TEST_API_KEY"}
        return read_api_key(Endpoint.model_validate(facts), "generator.endpoint").get_secret_value()

    for url in ("http://10.0.0.5:8000/v1", "http://127.0.0.1.example.org/v1", "http://host/v1"):
        with pytest.raises(UserError, match=r"generator\.endpoint\.url: .* in clear .* use https"):
            key(url)
    assert key("https://host/v1") == key("http://localhost:1/v1") == key("http://[::1]:1/v1")
    monkeypatch.setenv("LONGSPAN_HTTP_HOSTS", "other, 10.0.0.5")
    assert key("http://10.0.0.5:8000/v1") == "hidden-value"
    # Without a key there is nothing to keep.
    read_api_key(Endpoint.model_validate({"url": "http://host/v1", "model": "m"}), "endpoint")


def sizes(tokenizer: ChatTokenizer, window: int | None, **changes: Any) -> Any:
    recipe = parse(InstructRecipe, RECIPE | changes)
    return derive_sizes(recipe, load_prompts(), tokenizer, tokenizer, window)


def test_a_chunk_is_as_long_as_windows_leave_room_for(tokenizer: ChatTokenizer) -> None:
    roomy = sizes(tokenizer, 32_768, target_context=32_768)
    assert roomy.chunk == 2048 and roomy.window < 4096
    tight = sizes(tokenizer, 2048)
    assert 32 < tight.chunk < 2048 - 256 and tight.window == 2048
    narrow = sizes(tokenizer, 32_768, target_context=1024)
    assert narrow.chunk < 1024 - 256
    assert sizes(tokenizer, 2048, chunk_tokens=100).window < tight.window


@pytest.mark.parametrize(
    ("window", "changes", "said"),
    [
        (512, {}, "generator.window: 512 tokens leave no room for a chunk"),
        (2048, {"generator": {"model": "m", "window": 4096}}, "more than the model's own 2,048"),
        (
            32_768,
            {"target_context": 256},
            "target_context: 256 tokens leave no room for a document",
        ),
        (2048, {"chunk_tokens": 2000}, "chunk_tokens: 2,000 is more than the"),
    ],
)
def test_what_does_not_fit_is_told(
    tokenizer: ChatTokenizer, window: int, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as error:
        sizes(tokenizer, window, **changes)
    assert said in str(error.value)


def test_a_tokenizer_without_a_chat_template_is_refused(
    tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    from tests.tiny import make_tiny_tokenizer

    plain = make_tiny_tokenizer()
    plain.chat_template = None
    plain.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"generator\.model: .* has no chat template"):
        ChatTokenizer.load(tmp_path, "generator.model")


def test_overrides_reach_the_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    recipe = load(
        InstructRecipe,
        path,
        [
            "generator.model=null",
            "tokenizer=t",
            "generator.endpoint={url: 'https://host/v1/', model: big}",
        ],
    )
    assert recipe.generator.endpoint and recipe.generator.endpoint.url == "https://host/v1"
