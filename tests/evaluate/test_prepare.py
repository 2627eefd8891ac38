"""What is checked before an evaluation starts: models, templates, and items of the gate that stay unmeasured."""

import json
from pathlib import Path
from typing import Any

import pytest

from longspan.config.load import parse
from longspan.errors import UserError
from longspan.evaluate.gate_coverage import gate_gaps
from longspan.evaluate.plan import plan_text
from longspan.evaluate.prepare import Prepared, prepare
from longspan.evaluate.schema import EvaluateRecipe
from tests.tiny import make_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a long window, its base model, and one without a chat template."""
    folder = tmp_path_factory.mktemp("prepare")
    for name, window in (("long", 1024), ("base", 256), ("plain", 1024)):
        make_tiny_model(folder / name, window=window)
    for path in (folder / "plain").glob("chat_template*"):
        path.unlink()
    config = folder / "plain" / "tokenizer_config.json"
    values = json.loads(config.read_text())
    values.pop("chat_template", None)
    config.write_text(json.dumps(values))
    (folder / "store" / "books").mkdir(parents=True)
    (folder / "store" / "books" / "a.txt").write_text("Once upon a time.")
    return folder


def prepared(folder: Path, **values: Any) -> Prepared:
    recipe = {
        "name": "probe",
        "model": str(folder / "long"),
        "corpora": [{"name": "books", "path": "books", "heldout_fraction": 1}],
        "storage": {"root": str(folder / "store")},
    }
    return prepare(parse(EvaluateRecipe, recipe | values))


def test_windows_lengths_and_templates_are_derived(folder: Path) -> None:
    found = prepared(folder, reference=str(folder / "base"))
    assert (found.window, found.base_window) == (1024, 256)
    assert found.lengths == (128, 256, 512, 1024)
    assert found.reference is not None and found.lengths_of(found.reference) == (128, 256)
    assert found.template == "chat"


def test_a_model_without_a_chat_template_is_never_given_one(folder: Path) -> None:
    plain = str(folder / "plain")
    assert prepared(folder, model=plain).template == "none"
    assert prepared(folder, reference=plain).template == "none"
    for key in ("model", "reference"):
        with pytest.raises(
            UserError, match=rf"template: chat .*{plain}' \({key}\) has no chat template"
        ):
            prepared(folder, template="chat", **{key: plain})


def test_a_window_beyond_the_models_own_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"window: 2,048 is longer than the model's own"):
        prepared(folder, window=2048)


def test_a_model_that_is_not_there_is_named_by_its_key(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^reference: "):
        prepared(folder, reference=str(folder / "nothing"))


def test_the_plan_names_what_the_gate_will_lack(folder: Path) -> None:
    lacking = prepared(folder, probes={"tasks": ["stories"]}, losses={"documents": 0})
    gaps = {gap.item: gap for gap in gate_gaps(lacking)}
    assert set(gaps) == {
        *("short_tasks_retained", "short_loss_retained", "recall", "beyond_literal"),
        *("context_gain", "far_context_used", "no_drop_to_window"),
        *("own_documents_used", "own_documents_everywhere"),
    }
    assert gaps["recall"].is_required and not gaps["own_documents_used"].is_required
    assert "reference is unset" in gaps["short_loss_retained"].reason
    text = plan_text(lacking)
    assert "recall can't be measured: probes.tasks has none of ruler (required" in text

    other = prepared(folder, probes={"tasks": ["passkey", "first_sentence", "graph_walks"]})
    assert "recall" in {gap.item for gap in gate_gaps(other)}, "no task that counts for it"

    (folder / "store/evaluation").mkdir(exist_ok=True)
    (folder / "store/evaluation/test.jsonl").touch()
    full = prepared(
        folder,
        reference=str(folder / "base"),
        suites=[{"name": "short", "tasks": ["anything"], "data": "evaluation"}],
    )
    assert {gap.item for gap in gate_gaps(full)} == {
        "own_documents_used",
        "own_documents_everywhere",
    }
