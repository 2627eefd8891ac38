"""Runs that began with version 1 of checkpoints, whose identity was sentences, are resumed.

The files in ``format_1`` were written by that version's code from the recipes beside them.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longspan.chat.template import Template
from longspan.chat.tokenizer import ChatTokenizer
from longspan.config.load import load
from longspan.config.locations import open_store
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.errors import UserError
from longspan.ingest.conversations import ConversationTokenizer
from longspan.ingest.corpora import Ingest
from longspan.ingest.objects import ingest_object
from longspan.ingest.state import SourceState
from longspan.plan.device import this_machines_device
from longspan.recipe.schema import Recipe
from longspan.recipe.sft import SftRecipe
from longspan.storage import Store, sealed
from longspan.train.checkpoint.checkpoints import Checkpoint
from longspan.train.data.corpora import ingest_of, run_data
from longspan.train.identity import RunIdentity
from longspan.train.job import Job
from longspan.train.prepare import prepare_without_ray
from tests.raw import sentences

STORED = Path(__file__).parent / "format_1"
SCHEMAS = {"pretrain": Recipe, "sft": SftRecipe}
KINDS = sorted(SCHEMAS)


def rows(values: list[Any]) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def write_corpora(store: Store) -> None:
    """The raw objects that the stored runs began with."""
    for number in range(6):
        texts = sentences(20, number)
        source = "books" if number < 3 else "web"
        objects = [{"text": text, "id": id} for id, text in enumerate(texts)]
        store.write_bytes(f"raw/{source}/{number}.jsonl", rows(objects))
    question = "Which ship came first of all that the keeper ever wrote down in any book that year?"
    store.write_bytes("raw/quiz.jsonl", rows([{"question": question}]))
    turns = iter(sentences(80, 9))
    pairs = [(("user", turn), ("assistant", next(turns))) for turn in turns]
    store.write_bytes(
        "raw/chat.jsonl",
        rows([{"messages": [dict(role=r, content=c) for r, c in pair]} for pair in pairs]),
    )


def ingest_here(ingest: Ingest) -> None:
    for spec in ingest.specs:
        if spec.format == "chat":
            template = Template(ChatTokenizer.load(ingest.tokenizer_dir))
            tokenizer = ConversationTokenizer(template)
        else:
            tokenizer = Tokenizer(ingest.tokenizer_dir, ingest.separator)
        state = SourceState(ingest.store, spec, ingest.settings, "stop")
        for info in state.pending:
            done = ingest_object(ingest.store, spec, info, ingest.settings, tokenizer, "stop")
            state.add(done)
        state.finish(lambda line: None)


class Began:
    """A run as version 1 has left it."""

    def __init__(self, kind: str, folder: Path, model: Path) -> None:
        self.kind, self.changes = kind, (f"storage.root={folder}", f"base_model={model}")
        recipe = self.recipe()
        self.store, self.path = open_store(recipe), f"runs/{recipe.name}"
        write_corpora(self.store)
        ingest = ingest_of(recipe, self.store)
        ingest_here(ingest)
        self.job = self.prepared()
        # What depends on this machine, or on the files that the tokenizer's library writes.
        data = self._stored("data.json")
        settings = data["settings"]
        settings["tokenizer"] = f"files with hash {ingest.settings.tokenizer}"
        if "tokenizer's chat template" in settings:
            settings["tokenizer's chat template"] = f"a file with hash {ingest.settings.template}"
        self.store.write_bytes(f"{self.path}/data/data.json", sealed.dumps(data))
        record = self._stored("checkpoint.json")
        record["facts"]["settings"]["base_model"] = str(model)
        record["facts"]["order"] = self.job.data.fingerprint
        path = f"{self.path}/checkpoints/update-0000004/checkpoint.json"
        self.store.write_bytes(path, sealed.dumps(record))

    def recipe(self, *changes: str) -> Recipe:
        return load(
            SCHEMAS[self.kind], STORED / self.kind / "recipe.yaml", (*self.changes, *changes)
        )

    def prepared(self, *changes: str) -> Job:
        """The run's job, of its recipe with changes."""
        device = this_machines_device(0)
        return prepare_without_ray(self.recipe(*changes), device, log=lambda line: None)

    def _stored(self, name: str) -> dict[str, Any]:
        return sealed.loads((STORED / self.kind / name).read_bytes())


@pytest.fixture(scope="module", params=KINDS)
def began(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> Began:
    return Began(request.param, tmp_path_factory.mktemp("store"), tiny_model)


def test_a_run_of_version_1_is_resumed(began: Began) -> None:
    job = began.prepared()
    job.require_continuable()
    found = job.checkpoints.latest()
    assert found is not None
    facts = found.facts
    assert (facts.update, facts.steps, facts.losses, facts.skipped) == (
        4,
        3,
        (6.25, 6.125, 6.0),
        (3,),
    )
    assert Checkpoint.from_json(found.to_json()) == found, "ranks tell each other in JSON"
    # The next checkpoint has the values themselves.
    assert isinstance(job.checkpoint_facts().run, RunIdentity)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "training.seed=9",
            r"training\.seed: the checkpoint to resume from has \d, this run 9; undo",
        ),
        ("optimizer.eps=1e-6", "optimizer: the checkpoint to resume from has learning rate 0.00"),
        (
            "target_context=1024",
            "target_context: the checkpoint to resume from has 512, this run 1,0",
        ),
    ],
)
def test_another_run_is_still_told(began: Began, change: str, message: str) -> None:
    if began.kind == "sft" and change.startswith("optimizer"):
        message = message.replace("0.00", "2e-05")
    with pytest.raises(UserError, match=message):
        began.prepared(change).require_continuable()


def test_other_data_is_still_told(began: Began) -> None:
    change = {"pretrain": "corpora.books.min_tokens=4", "sft": "corpora.prose.format=text"}
    message = {
        "pretrain": "corpora.books.min_tokens: run 'old-pretrain' began with 3, this recipe has 4",
        "sft": "corpora.prose.format: run 'old-sft' began with jsonl, this recipe has text",
    }
    recipe = began.recipe(change[began.kind])
    with pytest.raises(UserError, match=message[began.kind]):
        run_data(recipe, began.store, Ingest.done)


def test_rows_in_another_order_are_still_told(began: Began) -> None:
    found = began.job.checkpoints.latest()
    assert found is not None
    with pytest.raises(
        UserError, match="corpora: the checkpoint to resume from has rows with fing"
    ):
        replace(found.facts, order="xyz").require(began.job.checkpoint_facts())


def test_data_of_another_format_is_refused(began: Began) -> None:
    path = f"{began.path}/data/data.json"
    before = began.store.read_bytes(path)
    began.store.write_bytes(path, sealed.dumps(sealed.loads(before) | {"format": 3}))
    with pytest.raises(
        UserError, match=r"is stored in format 3, and this version .* reads up to 2"
    ):
        began.prepared()
    began.store.write_bytes(path, before)
