"""What an endpoint reports is compared with the model's folder, and what it does not report is stated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from longspan.errors import UserError
from longspan.evaluate.prepare import prepare
from longspan.evaluate.reported import check_endpoint, recorded_reports, report_recorder
from longspan.evaluate.results import ReportedEngine
from longspan.evaluate.schema import EvaluateRecipe
from longspan.recipe.load import parse
from longspan.storage import Store
from tests.openai_server import Body, Completion, OpenAIServer
from tests.tiny import make_tiny_model, make_tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reported")
    make_tiny_model(folder / "model", window=1024)
    (folder / "store" / "books").mkdir(parents=True)
    (folder / "store" / "books" / "a.txt").write_text("Once upon a time.")
    return folder


def checked(
    folder: Path, tokenize: Callable[[Body], list[int]] | None, log: list[str], **values: Any
) -> ReportedEngine:
    """The report of a server that tokenizes so, or not at all."""
    with OpenAIServer("tiny", lambda body: Completion(""), window=1024) as server:
        server.tokenize = tokenize
        recipe = {
            "name": "probe",
            "model": str(folder / "model"),
            "endpoint": {"url": server.url, "model": "tiny"},
            "losses": {"documents": 0},
            "corpora": [{"name": "books", "path": "books", "heldout_fraction": 1}],
            "storage": {"root": str(folder / "store")},
        }
        return check_endpoint(prepare(parse(EvaluateRecipe, recipe | values)), log.append)


def like_vllm(tokenizer: Any) -> Callable[[Body], list[int]]:
    """vLLM's `/tokenize`."""

    def tokenize(body: Body) -> list[int]:
        text = body.get("prompt") or tokenizer.apply_chat_template(
            body["messages"],
            tokenize=False,
            add_generation_prompt=body["add_generation_prompt"],
            **body.get("chat_template_kwargs", {}),
        )
        return tokenizer.encode(text, add_special_tokens=False)

    return tokenize


def test_an_endpoint_with_the_models_tokens_is_checked_but_for_its_positions(folder: Path) -> None:
    log: list[str] = []
    found = checked(folder, like_vllm(make_tiny_tokenizer()), log)
    assert found.window == 1024 and found.tokens.keys() == {"text", "conversation"}
    assert log == ["endpoint: not checked: RoPE base: no API reports it"]
    assert checked(folder, like_vllm(make_tiny_tokenizer()), [], template="none").tokens.keys() == {
        "text"
    }


def test_another_template_than_the_models_is_refused_with_both_numbers(folder: Path) -> None:
    other = make_tiny_tokenizer()
    other.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(UserError, match=r"endpoint\.model: .*the chat template makes \d+ tokens"):
        checked(folder, like_vllm(other), [])
    # Prompts without the template are none of its business.
    assert checked(folder, like_vllm(other), [], template="none").tokens


def test_what_a_server_does_not_tell_is_stated(folder: Path) -> None:
    log: list[str] = []
    found = checked(folder, None, log)
    assert not found.tokens
    assert any("tokenizer and chat template: http" in line and "404" in line for line in log)
    assert found.unchecked == [line.removeprefix("endpoint: not checked: ") for line in log]


def test_reports_of_engines_are_kept_once_for_each_model(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    reports = [ReportedEngine(window=window, vllm="0.29") for window in (512, 1024)]
    for report in [*reports, reports[0]]:
        report_recorder(store, "a")(report.model_dump_json())
    found = recorded_reports(store, "a")
    assert sorted(each.window or 0 for each in found) == [512, 1024]
    assert recorded_reports(store, "b") == []
    first, _ = store.list("evaluate/replies/*/engines/*.json")
    store.write_bytes(first.path, b"{")
    with pytest.raises(UserError, match="not written by this job"):
        recorded_reports(store, "a")
