"""The examples of docs/extend.md, as modules outside the package."""

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longspan.corpus.bad_input import BadInput
from longspan.corpus.filters import LeftOut
from longspan.corpus.resolve import resolve
from longspan.corpus.sources import SourceSpec, read
from longspan.errors import UserError
from longspan.extensions.points import CORPUS_FORMATS, TRACKERS
from longspan.ingest.objects import Settings
from longspan.model.positions import Positions, rope_parameters, verify
from longspan.observe.trackers.isolated import IsolatedTracker
from longspan.observe.trackers.run import TrackedRun
from longspan.recipe.extensions import check_extensions
from longspan.recipe.load import parse_recipe
from longspan.recipe.schema import Recipe
from longspan.recipe.sources import source_specs
from longspan.storage import Store
from longspan.train.callback import Callbacks, Training, Update
from longspan.train.engine import UpdateStats
from tests.extensions.examples import recipe_parts

XML = b"""<papers>
<paper><body>One text.</body><language>en</language></paper>
<paper><body>Ein Text.</body><language>de</language></paper>
<paper><body>Another.</body><language>en</language></paper>
</papers>"""


def recipe_with(**changes: Any) -> Recipe:
    data = {
        "name": "mine",
        "base_model": "model",
        "target_context": 1024,
        "corpora": [{"name": "papers", "path": "corpora", "weight": 1}],
    }
    return parse_recipe(data | changes)


def refusal(**changes: Any) -> str:
    with pytest.raises(UserError) as refused:
        check_extensions(recipe_with(**changes))
    return str(refused.value)


def test_an_encoding_is_built_verified_and_told_from_others(outside: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    name = recipe_with(**recipe_parts("my_encoding")).positions.encoding
    positions = Positions(name, 10_000.0, 4.0, 256)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        rope_parameters=rope_parameters(positions),
    )
    verify(LlamaForCausalLM(config), positions)
    config.rope_parameters = rope_parameters(Positions("pi", 10_000.0, 4.0, 256))
    with pytest.raises(AssertionError, match="frequencies are off"):
        verify(LlamaForCausalLM(config), positions)


def test_an_encoding_that_cannot_be_verified_is_refused(outside: Path) -> None:
    (outside / "mistaken.py").write_text(
        "from longspan.model.encodings import PositionEncoding\n"
        "class Dynamic(PositionEncoding):\n"
        "    def rope_parameters(self, base, factor, original_window):\n"
        "        return {'rope_type': 'dynamic', 'rope_theta': base}\n"
        "class Baseless(PositionEncoding):\n"
        "    def rope_parameters(self, base, factor, original_window):\n"
        "        return {'rope_type': 'default'}\n"
    )
    with pytest.raises(UserError, match="of type 'dynamic', which cannot be verified"):
        rope_parameters(Positions("mistaken:Dynamic", 10_000.0, 4.0, 256))
    with pytest.raises(UserError, match="without a float rope_theta"):
        rope_parameters(Positions("mistaken:Baseless", 10_000.0, 4.0, 256))


@pytest.fixture
def papers(outside: Path, tmp_path: Path) -> tuple[Store, SourceSpec]:
    store = Store(str(tmp_path / "store"))
    store.write_bytes("corpora/papers/a.xml.gz", gzip.compress(XML))
    store.write_bytes("corpora/papers/b.xml.gz", gzip.compress(XML[:100]))
    store.write_bytes("corpora/papers/c.xml.gz", gzip.compress(b"<papers></papers>"))
    (spec,) = source_specs(recipe_with(**recipe_parts("my_format")))
    return store, spec


def test_a_format_gives_documents_filtered_rows_and_bad_input(
    papers: tuple[Store, SourceSpec],
) -> None:
    store, spec = papers
    found = [list(read(store, each.path, spec)) for each in resolve(store, spec)]
    assert found[0] == ["One text.", LeftOut("filtered out"), "Another."]
    assert found[1][0] == "One text."
    reasons = [each.reason for items in found[1:] for each in items if isinstance(each, BadInput)]
    assert reasons == ["empty"] or reasons == ["not XML", "empty"]


def test_options_and_version_of_a_format_are_part_of_what_shards_are_known_by(
    papers: tuple[Store, SourceSpec],
) -> None:
    from dataclasses import replace

    store, spec = papers
    info = resolve(store, spec)[0]
    settings = Settings("tokenizer", None, 0.0, 100)
    key = settings.key(spec, info)
    assert settings.key(replace(spec, format_options={"element": "other"}), info) != key
    found: Any = CORPUS_FORMATS.load(spec.format, "corpora.papers.format")
    found.version = 2
    assert settings.key(spec, info) != key


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format_options": {"tag": "x"}}, "format_options.tag: unknown option; options are elem"),
        (
            {"format": "my_callback:ParameterNorm"},
            "format: my_callback:ParameterNorm is not a corp",
        ),
        (
            {"format": "my_format:XmlRecord"},
            "has no class XmlRecord; the nearest name is XmlRecords",
        ),
    ],
)
def test_a_format_is_checked_before_anything_is_read(
    papers: tuple[Store, SourceSpec], changes: dict[str, Any], said: str
) -> None:
    from dataclasses import replace

    store, spec = papers
    with pytest.raises(UserError) as refused:
        resolve(store, replace(spec, **changes))
    assert str(refused.value).startswith("corpora.papers.format")
    assert said in str(refused.value)


def test_options_of_a_format_of_the_package_are_refused() -> None:
    corpus = {"name": "papers", "path": "x", "weight": 1, "format_options": {"element": "x"}}
    with pytest.raises(UserError, match="'element' would be ignored: format auto has no options"):
        recipe_with(corpora=[corpus])


def test_a_format_that_yields_something_else_is_named(outside: Path, tmp_path: Path) -> None:
    (outside / "mistaken.py").write_text(
        "from longspan.corpus.format import CorpusFormat\n"
        "class Bytes(CorpusFormat):\n"
        "    def read(self, stream, object_path):\n"
        "        yield stream.read(10)\n"
    )
    store = Store(str(tmp_path / "store"))
    store.write_bytes("a", b"text")
    with pytest.raises(UserError, match=r"mistaken:Bytes\.read yields a bytes for 'a', document 1"):
        list(read(store, "a", SourceSpec("s", ("a",), "mistaken:Bytes")))


def test_a_tracker_gets_records(outside: Path, tmp_path: Path) -> None:
    choice = recipe_with(**recipe_parts("my_tracker")).trackers[1]
    assert choice.options == {"path": "/data/csv", "every": 10}
    found = TRACKERS.load(choice.name, "trackers")
    run = TrackedRun("mine", Store(str(tmp_path)), "runs/mine", 0, {}, print)
    made = IsolatedTracker("csv", lambda: found(run, tmp_path / "csv"), print)
    made.log({"kind": "update", "update": 1, "time": 1.0, "loss": 2.5})
    made.close(30)
    (file,) = (tmp_path / "csv").iterdir()
    assert file.name == f"{run.id}-0000000.csv"
    assert file.read_text().splitlines() == ["1,train/loss,2.5"]


def test_trackers_and_callbacks_are_checked_together(outside: Path) -> None:
    trackers = [{"name": "my_tracker:CsvTracker", "options": {"every": 0.5}}, "tensorboard"]
    said = refusal(trackers=trackers, callbacks=["my_callback:Norm"])
    assert [line.split(": ")[0] for line in said.splitlines()] == [
        "trackers.my_tracker:CsvTracker.options.path",
        "trackers.my_tracker:CsvTracker.options.every",
        "callbacks.my_callback:Norm",
    ]
    with pytest.raises(UserError, match="trackers: 'wandb' is given twice"):
        recipe_with(trackers=["wandb", {"name": "wandb"}])
    assert [each.name for each in recipe_with().trackers] == ["tensorboard"]
    assert recipe_with(trackers=[]).trackers == []


@pytest.mark.parametrize(
    ("tracker", "option", "address"),
    [
        ("mlflow", "tracking_uri", "https://me:hunter22@example.com"),
        ("trackio", "server_url", "https://example.com/?write_token=hunter22"),
    ],
)
def test_an_address_with_a_login_is_refused_and_not_repeated(
    tracker: str, option: str, address: str
) -> None:
    said = refusal(trackers=[{"name": tracker, "options": {option: address}}])
    assert f"trackers.{tracker}.options.{option}: holds credentials" in said
    assert "hunter22" not in said


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"trackers": ["antigravity:Tracker"]}, "trackers.antigravity:Tracker"),
        ({"callbacks": ["antigravity:Callback"]}, "callbacks.antigravity:Callback"),
    ],
)
def test_a_recipe_of_somebody_else_imports_nothing(changes: dict[str, Any], key: str) -> None:
    assert refusal(**changes).startswith(f"{key}: the recipe names code")
    assert "antigravity" not in sys.modules


def test_a_format_of_somebody_else_imports_nothing() -> None:
    corpus = {"name": "papers", "path": "x", "weight": 1, "format": "antigravity:Format"}
    with pytest.raises(UserError, match=r"corpora\.papers\.format: the recipe names code"):
        source_specs(recipe_with(corpora=[corpus]))


def test_credentials_of_a_tracker_are_not_sent_in_clear(outside: Path) -> None:
    options = {"path": "http://example.com/x"}
    said = refusal(trackers=[{"name": "my_tracker:CsvTracker", "options": options}])
    assert "options.path: credentials would be sent to example.com in clear" in said


def stats(update: int) -> UpdateStats:
    return UpdateStats(update, 2.0, 1e-3, 0.5, 512, 512, 512 * 64, (512,))


def callbacks_of(recipe: Recipe, said: list[str]) -> Callbacks:
    import torch

    model = torch.nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, 1.0, 2.0]]))
    return Callbacks(recipe, Training(model, 0, 1, 0, 12, said.append))


def test_a_callback_is_called_and_its_numbers_are_metrics(outside: Path) -> None:
    said: list[str] = []
    callbacks = callbacks_of(recipe_with(**recipe_parts("my_callback")), said)
    callbacks.on_start()
    batch: Any = np.zeros(1)
    assert callbacks.on_update(Update(4, stats(3), batch)) == {}
    assert callbacks.on_update(Update(5, stats(4), batch)) == {"parameter_norm": 3.0}
    callbacks.on_end()
    assert said == ["parameter norm: every 5 of 12 updates"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "raise ValueError('no')",
            r"on_update: ValueError: no \(.*mistaken\.py, line 4\); fix the",
        ),
        ("return 1.0", "on_update: returned a float; return numbers by name"),
        ("return {'a b': 1}", "on_update: 'a b' is no name of a metric"),
        ("return {'a': None}", "on_update: a is a NoneType; return a float"),
    ],
)
def test_a_callback_that_fails_is_named(outside: Path, body: str, message: str) -> None:
    (outside / "mistaken.py").write_text(
        "from longspan.train.callback import Callback\n"
        "class Failing(Callback):\n"
        "    def on_update(self, training, update):\n"
        f"        {body}\n"
    )
    callbacks = callbacks_of(recipe_with(callbacks=["mistaken:Failing"]), [])
    with pytest.raises(UserError, match=f"callbacks.mistaken:Failing.{message}"):
        callbacks.on_update(Update(1, stats(0), None))  # pyrefly: ignore
