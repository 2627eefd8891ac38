"""Jobs that are refused before anything starts: the drivers' own functions, in this process, without Ray.

One real submission of each kind is in test_pretrain.py and test_faults.py.
"""

import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from longspan.config.load import load
from longspan.config.locations import open_store
from longspan.errors import UserError
from longspan.plan.device import this_machines_device
from longspan.recipe.load import load_recipe
from longspan.recipe.schema import Recipe
from longspan.recipe.sft import SftRecipe
from longspan.runtime import console
from longspan.train.checkpoint.checkpoints import Checkpoint
from longspan.train.data.corpora import ingest_of
from longspan.train.job import Job
from longspan.train.prepare import prepare
from tests.in_process import ingest, main_of
from tests.jobs.conversations import write_conversations, write_sft_recipe
from tests.jobs.project import Project
from tests.s3 import OWNER, S3Server
from tests.tiny import make_tiny_model


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("refusals")
    return Project(folder, make_tiny_model(folder / "base", tied=False), dashboard="")


def prepared(recipe: Recipe) -> Job:
    """A job as its driver has it before workers start; Ray would only have spread the ingest."""
    ingest(ingest_of(recipe, open_store(recipe)))
    return prepare(recipe, this_machines_device(0))


def begin(job: Job) -> None:
    """Commit a checkpoint of the job's run after five updates."""
    job.checkpoints.commit(Checkpoint(job.checkpoint_facts(update=5, steps=5), ()))


@pytest.fixture(scope="module")
def begun(project: Project) -> Job:
    """A pretraining run with a checkpoint."""
    job = prepared(load_recipe(project.recipe, ["name=begun"]))
    begin(job)
    return job


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.seed=7", "training.seed: the checkpoint to resume from has 0, this run 7"),
        (
            "positions.base=7e6",
            "positions.base: the checkpoint to resume from has 500,000, this run 7,000,000",
        ),
    ],
)
def test_a_run_is_not_continued_as_another_one(
    project: Project, begun: Job, change: str, message: str
) -> None:
    with pytest.raises(UserError) as refused:
        prepared(load_recipe(project.recipe, ["name=begun", change]))
    assert message in str(refused.value)
    unchanged = prepared(load_recipe(project.recipe, ["name=begun"]))
    assert unchanged.identity == begun.identity


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("trainning.seed=1", "the nearest known key is training"),
        ("corpora.long.path=corpora/lnog/*.txt", "corpora.long.path"),
        ("base_model=no/such", "base_model: there is no model"),
        ("document_separator=<|eot|>", "document_separator"),
    ],
)
def test_a_mistake_in_the_recipe_ends_the_driver_with_status_2(
    project: Project, capsys: pytest.CaptureFixture[str], change: str, message: str
) -> None:
    arguments = [str(project.recipe), change, "--validate"]
    assert console.run(main_of("pretrain"), arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


@pytest.mark.real
def test_a_missing_bucket_is_one_message(project: Project, s3_server: S3Server) -> None:
    root = "storage.root=s3://longspan-tset/x"
    recipe = load_recipe(project.recipe, [root, f"storage.endpoint={s3_server.endpoint}"])
    with pytest.raises(UserError) as missing:
        prepare(recipe, this_machines_device(0))
    assert "bucket 'longspan-tset' does not exist" in str(missing.value)
    assert f"the nearest that does is {s3_server.bucket!r}" in str(missing.value)
    assert OWNER.secret not in str(missing.value)


@pytest.fixture(scope="module")
def sft_recipe(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    write_conversations(Path(project.store.root) / "corpora")
    return write_sft_recipe(tmp_path_factory.mktemp("sft") / "sft.yaml", project)


def test_other_weights_are_another_finetuning_run(sft_recipe: Path) -> None:
    begin(prepared(load(SftRecipe, sft_recipe)))
    with pytest.raises(UserError, match=r"^corpora\.long\.prompt_loss: .* has 0\.5, this run 0;"):
        prepared(load(SftRecipe, sft_recipe, ["corpora.long.prompt_loss=0"]))


def test_a_conversation_longer_than_a_row_is_refused_unless_it_is_left_out(
    sft_recipe: Path,
) -> None:
    short_rows = ["name=short-rows", "target_context=256"]
    with pytest.raises(UserError) as refused:
        prepared(load(SftRecipe, sft_recipe, short_rows))
    assert str(refused.value).startswith("corpora.long: ")
    assert "longer than a row of 256 tokens" in str(refused.value)
    assert "max_tokens=256" in str(refused.value)


def test_a_row_that_is_no_conversation_is_refused_by_its_place(
    project: Project, sft_recipe: Path
) -> None:
    bad = Path(project.store.root) / "corpora" / "chat" / "zz.jsonl"
    bad.write_text('{"messages": [{"role": "user", "content": "Hi"}]}\n')
    try:
        with pytest.raises(UserError, match=r"corpora/chat/zz\.jsonl, line 1: no assistant turn"):
            prepared(load(SftRecipe, sft_recipe, ["name=bad-chat"]))
    finally:
        bad.unlink()


def plan_lines(job: str, *arguments: str) -> dict[str, list[str]]:
    """The words of a printed plan's lines, by the first."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main_of(job)([*arguments, "--plan"]) == 0
    found = [line.split() for line in printed.getvalue().splitlines() if line]
    return {words[0]: words[1:] for words in found}


def test_a_plan_of_epochs_is_unknown_until_the_examples_are_ingested(
    project: Project, sft_recipe: Path
) -> None:
    changes = ["name=planned", "heldout.fraction=0.16", "training.tokens_per_update=null"]
    before = plan_lines("sft", str(sft_recipe), *changes)
    for key in ("updates", "training.tokens", "training.tokens_per_update", "time"):
        assert before[key][0] == "unknown"
    assert before["chat"][0] == before["long"][0] == "unknown"
    assert before["text"][0] == "20.00%"

    job = prepared(load(SftRecipe, sft_recipe, changes))
    after = plan_lines("sft", str(sft_recipe), *changes)
    assert after["updates"][0] == f"{job.plan.updates:,}"
    assert after["training.tokens"][0] == f"{job.plan.tokens:,}"
    assert after["storage"][0] == project.store.root
    assert plan_lines("ingest", str(sft_recipe), *changes) == after, "ingest.py takes both kinds"
