"""A checkpoint exported outside its job is the model that the job itself would export."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import GenerationConfig

from longspan.cli.entry import run_module
from longspan.cli.runs import export
from longspan.errors import UserError
from longspan.model.export import export_model
from longspan.storage import Store, sealed
from longspan.storage.local import LocalCopy
from longspan.train.checkpoint.export import CheckpointDamaged, CheckpointDeleted, export_checkpoint
from longspan.train.checkpoint.run_record import (
    MODEL_FILES,
    RECORD,
    load_buffers,
    read_run_record,
    save_buffers,
)
from tests.ranks import RankServer
from tests.tiny import make_tiny_model
from tests.train.made_run import MadeRun, add_buffer
from tests.train.whole_runs import WholeRuns, make_family


@pytest.fixture(scope="module")
def runs(ranks: RankServer, tmp_path_factory: pytest.TempPathFactory) -> WholeRuns:
    return WholeRuns(ranks, tmp_path_factory.mktemp("exports"))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.real
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("workers", "overrides"),
    [
        (1, "training.zero_stage=1"),
        (2, "training.zero_stage=3 training.precision=bf16 positions.encoding=yarn"),
        pytest.param(2, "training.zero_stage=1 positions.encoding=none", marks=pytest.mark.deep),
        pytest.param(2, "training.zero_stage=2 training.precision=bf16", marks=pytest.mark.deep),
    ],
)
def test_the_last_checkpoint_is_the_exported_model_bit_for_bit(
    runs: WholeRuns, tmp_path: Path, workers: int, overrides: str
) -> None:
    name = re.sub(r"[^a-z0-9]+", "-", f"of-{workers}-{overrides}")
    run = runs.train(name, workers, "training.tokens=1024", *overrides.split())
    found = contents(export_checkpoint(runs.store, run, 2, tmp_path / "model"))
    expected = contents(Path(runs.store.root, run, "model"))
    assert sorted(found) == sorted(expected)
    assert [file for file in found if found[file] != expected[file]] == []
    record = read_run_record(runs.store, run)
    assert (record.base_model, record.updates) == (str(runs.recipe.parent / "base"), 2)
    assert (record.base_window, record.window) == (256, 512)


@pytest.mark.real
@pytest.mark.deep
@pytest.mark.timeout(600)
def test_a_model_with_tensors_that_are_not_trained_is_exported_bit_for_bit(
    runs: WholeRuns, tmp_path: Path
) -> None:
    base = make_family(tmp_path / "base", "apertus")
    own_positions = ("target_context=256", "positions.encoding=none")
    run = runs.train("apertus", 2, f"base_model={base}", "training.tokens=1024", *own_positions)
    found = contents(export_checkpoint(runs.store, run, 2, tmp_path / "model"))
    assert found == contents(Path(runs.store.root, run, "model"))


@pytest.fixture
def made(tmp_path: Path, tiny_model: Path) -> MadeRun:
    return MadeRun(Store(str(tmp_path / "store")), tiny_model)


def test_weights_are_the_masters_in_the_data_type_of_the_run(made: MadeRun, tmp_path: Path) -> None:
    made.start()
    for update in (10, 20):
        made.save(update)
    folder = export_checkpoint(made.store, made.path, 10, tmp_path / "model")
    found = load_file(folder / "model.safetensors")
    expected = made.masters(10)
    assert found.keys() == expected.keys()
    for name, master in expected.items():
        assert torch.equal(found[name], master.to(torch.bfloat16)), name


def test_files_besides_the_weights_are_those_of_the_jobs_own_export(
    made: MadeRun, tmp_path: Path
) -> None:
    chat = GenerationConfig(eos_token_id=[0, 2], stop_strings=["END"], temperature=0.6)
    spec = replace(made.spec, generation_config=chat)
    made.start(spec)
    made.save(10)
    own = export_model(made.masters(10), made.model_dir, spec, tmp_path / "own")
    found = export_checkpoint(made.store, made.path, 10, tmp_path / "found")
    assert contents(found) == contents(own)


def test_tensors_that_are_no_parameters_are_exported(made: MadeRun, tmp_path: Path) -> None:
    bias = add_buffer(made.model)
    with tempfile.TemporaryDirectory() as folder:
        save_buffers(made.model, Path(folder))
        found = load_buffers(Path(folder))
    assert found.keys() == {"routing_bias"}
    assert torch.equal(found["routing_bias"], bias)
    assert load_buffers(tmp_path) == {}


def test_a_checkpoint_that_is_deleted_is_told_from_a_damaged_one(
    made: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.start()
    for update in (10, 20):
        made.save(update)
    with pytest.raises(
        CheckpointDeleted, match=r"no checkpoint after 15 updates .*checkpoints: 10, 20$"
    ):
        export_checkpoint(made.store, made.path, 15, tmp_path / "model")

    part = Path(made.store.root, made.checkpoints.read(10).parts[1].path)
    data = bytearray(part.read_bytes())
    data[-5] ^= 1
    part.write_bytes(data)
    with pytest.raises(
        CheckpointDamaged, match=r"after 10 updates: .*-00001.* not what was written"
    ):
        export_checkpoint(made.store, made.path, 10, tmp_path / "model")

    local = made.store.local

    def prune_first(path: str, version: str | None = None) -> LocalCopy:
        if path.endswith("part-00001.safetensors"):
            made.checkpoints.delete(20)
        return local(path, version)

    monkeypatch.setattr(made.store, "local", prune_first)
    with pytest.raises(CheckpointDeleted, match=r"after 20 updates .*checkpoints: 10$"):
        export_checkpoint(made.store, made.path, 20, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_run_of_an_earlier_version_is_told_what_to_do(made: MadeRun, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run: there is no run in .*runs/made; give the folder"):
        export_checkpoint(made.store, made.path, 10, tmp_path / "model")
    made.save(10)
    with pytest.raises(UserError, match=r"has no run\.json: .* submit its job again"):
        export_checkpoint(made.store, made.path, 10, tmp_path / "model")
    made.start()
    newer = sealed.read(made.store, f"{made.path}/{RECORD}") | {"schema_version": 2, "later": 1}
    made.store.write_bytes(f"{made.path}/{RECORD}", sealed.dumps(newer))
    with pytest.raises(UserError, match=r"newer version of Longspan \(schema version 2, this one"):
        export_checkpoint(made.store, made.path, 10, tmp_path / "model")


def test_a_checkpoint_of_another_model_is_refused(made: MadeRun, tmp_path: Path) -> None:
    made.start()
    made.save(10)
    larger = MadeRun(made.store, make_tiny_model(tmp_path / "larger", heads=4, kv_heads=2))
    larger.start()
    with pytest.raises(
        UserError, match=r"elements of model\..*the files in the run's folder are of"
    ):
        export_checkpoint(made.store, made.path, 10, tmp_path / "model")


def test_parts_outside_the_checkpoint_are_not_read(made: MadeRun, tmp_path: Path) -> None:
    made.start()
    checkpoint = made.save(10)
    made.store.write_bytes("runs/other/part.safetensors", b"secret")
    elsewhere = replace(checkpoint.parts[0], path="runs/other/part.safetensors")
    made.checkpoints.commit(replace(checkpoint, parts=(elsewhere, *checkpoint.parts[1:])))
    with pytest.raises(
        CheckpointDamaged, match=r"its part runs/other/part\.safetensors is elsewhere"
    ):
        export_checkpoint(made.store, made.path, 10, tmp_path / "model")


def test_the_command_exports_the_newest_or_the_named_checkpoint_to_a_new_folder(
    made: MadeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.start()
    for update in (10, 20):
        made.save(update)
    run = f"{made.store.root}/{made.path}/"
    for options, update in (([], 20), (["--update", "10"], 10)):
        to = tmp_path / str(update)
        assert run_module(export, "longspan export", [run, *options, "--to", str(to)]) == 0
        assert capsys.readouterr().out == f"model after {update} updates: {to}\n"
        found = load_file(to / "model.safetensors")["model.norm.weight"]
        assert torch.equal(found, made.masters(update)["model.norm.weight"].to(torch.bfloat16))
    assert run_module(export, "longspan export", [run, "--to", str(tmp_path / "20")]) == 2
    assert "error: --to: " in capsys.readouterr().err
    assert (
        run_module(export, "longspan export", [made.store.root, "--to", str(tmp_path / "new")]) == 2
    )
    assert "give one that ends in runs/<name>" in capsys.readouterr().err


def test_the_files_of_the_model_are_written_once_and_verified(
    made: MadeRun, tmp_path: Path
) -> None:
    made.start()
    before = made.store.list(made.path)
    made.start()
    assert made.store.list(made.path) == before
    made.save(10)
    made.store.write_bytes(f"{made.path}/{MODEL_FILES}/tokenizer.json", b"{}")
    with pytest.raises(UserError, match=r"tokenizer\.json is not what the run's job has written"):
        export_checkpoint(made.store, made.path, 10, tmp_path / "model")
