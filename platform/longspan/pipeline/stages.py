"""A stage: its job, what goes in, what comes out, and whether that is there already."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import AwareDatetime, ValidationError

from longspan.config.load import load
from longspan.config.locations import local_path, open_store
from longspan.config.section import Section
from longspan.corpus.resolve import resolve as resolve_objects
from longspan.errors import UserError
from longspan.evaluate.exit_status import EXIT_STATUS, verdict_of
from longspan.evaluate.schema import EvaluateRecipe
from longspan.instruct.prompt_files import load_prompts
from longspan.instruct.schema import InstructRecipe
from longspan.model.address import model_address
from longspan.pipeline.schema import PipelineRecipe, StageRecipe
from longspan.recipe.schema import Recipe
from longspan.recipe.sft import SftRecipe
from longspan.recipe.sources import cleaning_rules, source_specs
from longspan.storage import Store, sealed

AnyRecipe = Recipe | InstructRecipe | EvaluateRecipe

SCHEMAS: dict[str, type[AnyRecipe]] = {
    "pretrain": Recipe,
    "self_instruct": InstructRecipe,
    "sft": SftRecipe,
    "evaluate": EvaluateRecipe,
}
OF_ALL = re.compile(r"storage(\.|=)")
"""An override without a stage's name that is of all of them."""
NOT_OF_RESULT = {"trackers"}
"""Keys that do not change what a stage gives."""


@dataclass(frozen=True)
class Inputs:
    """Identity of what goes into a stage, as hashes: its recipe, and every object that it reads."""

    recipe: str
    objects: str


class StageRecord(Section):
    """Record of a stage: values to compare with; none is used to read, run or delete anything."""

    format: Literal[1] = 1
    run: str
    """Name in the stage's recipe."""
    ended: AwareDatetime | None
    """When it succeeded; None if it has not."""
    recipe: str
    """Hash, see `Inputs`."""
    objects: str
    """Hash, see `Inputs`."""


@dataclass(frozen=True)
class Stage:
    """One stage of a pipeline.

    Attributes:
        name: unique in its pipeline: that of its job, for an evaluation also that of the stage before.
        job: name of its job, as in a pipeline's file.
        pipeline: the pipeline's name.
        path: its recipe.
        overrides: what is changed in it.
        recipe: both, as one.
        stop_on: verdict of an evaluation that ends the pipeline.
    """

    name: str
    job: str
    pipeline: str
    path: Path
    overrides: tuple[str, ...]
    recipe: AnyRecipe
    stop_on: Literal["fail", "inconclusive", "never"] = "never"

    @property
    def command(self) -> list[str]:
        """Command of the stage with its arguments, without the program."""
        return [self.job.replace("_", "-"), str(self.path), *self.overrides]

    @property
    def store(self) -> Store:
        """Where it reads and writes."""
        return open_store(self.recipe)

    @property
    def output(self) -> str:
        """What comes out, in the store: there when the stage has ended well."""
        if isinstance(self.recipe, InstructRecipe):
            return f"instruct/{self.recipe.name}/manifest.json"
        if isinstance(self.recipe, EvaluateRecipe):
            return f"evaluate/{self.recipe.name}/results.json"
        return f"runs/{self.recipe.name}/exported.json"

    @property
    def is_evaluation(self) -> bool:
        """Whether its job ends in a verdict."""
        return isinstance(self.recipe, EvaluateRecipe)

    def succeeds_with(self, exit_status: int) -> bool:
        """Whether the pipeline goes on after the stage's job has ended with a status."""
        if exit_status == 0:
            return True
        verdict = verdict_of(exit_status) if self.is_evaluation else None
        if verdict is None:
            return False
        stops = {"fail": ("fail",), "inconclusive": ("fail", "inconclusive"), "never": ()}
        return verdict not in stops[self.stop_on]

    def inputs(self) -> Inputs:
        """Identity of what goes in.

        Raises:
            UserError: something of it is not there, or the store can't be reached.
        """
        return Inputs(
            _hash(self.recipe.model_dump(mode="json", exclude=NOT_OF_RESULT)),
            _hash(self._objects()),
        )

    def is_done(self) -> bool:
        """Whether it has ended well with these very inputs, and what came out is there."""
        record = self._load()
        if not record or not record.ended or not self.store.exists(self.output):
            return False
        return Inputs(record.recipe, record.objects) == self.inputs() and self._is_accepted()

    def begin(self, inputs: Inputs) -> None:
        """Note with what it begins, or goes on.

        Raises:
            UserError: it is a training run that has begun with other corpora or models under this name:
                it keeps what it began with, and would not take the new ones in.
        """
        record = self._load()
        training = isinstance(self.recipe, Recipe)
        begun = record.objects if record and record.run == self.recipe.name else None
        if training and begun not in (None, inputs.objects):
            raise UserError(
                f"{self.name}: run {self.recipe.name!r} has begun with other corpora or another "
                f"model than there are now; give the new one a name: {self.name}.name=..."
            )
        self._note(inputs, ended=None)

    def end(self, inputs: Inputs) -> None:
        """Note that it has ended well."""
        self._note(inputs, ended=datetime.now(UTC).replace(microsecond=0))

    def _is_accepted(self) -> bool:
        """Whether a verdict that is there is none that ends the pipeline."""
        if not isinstance(self.recipe, EvaluateRecipe):
            return True
        verdict = json.loads(self.store.read_bytes(self.output))["verdict"]["status"]
        return self.succeeds_with(EXIT_STATUS[verdict])

    def _note(self, inputs: Inputs, ended: datetime | None) -> None:
        record = StageRecord(run=self.recipe.name, ended=ended, **asdict(inputs))
        self.store.write_bytes(self._record, sealed.dumps(record.model_dump(mode="json")))

    def _load(self) -> StageRecord | None:
        try:
            return StageRecord.model_validate(sealed.read(self.store, self._record))
        except (FileNotFoundError, sealed.Damaged, ValidationError):
            return None

    @property
    def _record(self) -> str:
        return f"pipelines/{self.pipeline}/{self.name}.json"

    def _objects(self) -> list[list[Any]]:
        """Paths and versions of what is read."""
        store, recipe, found = self.store, self.recipe, []
        for spec in source_specs(recipe):
            found += [[item.path, item.version] for item in resolve_objects(store, spec)]
        for name in self._models():
            folder = model_address(name, store)
            # A hub's are told by their name alone.
            if folder.startswith(("s3://", "/")) or store.list(f"{name}/*.json", limit=1):
                found += [[item.path, item.version] for item in store.list(folder)]
        if isinstance(recipe, InstructRecipe):
            folder = Path(local_path(recipe.prompts)) if recipe.prompts else None
            found.append(["prompts", load_prompts(folder).hash])
        elif isinstance(recipe, EvaluateRecipe):
            for pattern in _evaluated_files(recipe):
                found += [[item.path, item.version] for item in store.list(pattern)]
        else:
            for spec in cleaning_rules(recipe).evaluations:
                for pattern in spec.patterns:
                    found += [[item.path, item.version] for item in store.list(pattern)]
        return found

    def _models(self) -> list[str]:
        recipe = self.recipe
        if isinstance(recipe, InstructRecipe):
            named = [recipe.generator.model, recipe.tokenizer]
        elif isinstance(recipe, EvaluateRecipe):
            named = [recipe.model, recipe.reference, recipe.losses.key_tokens]
        else:
            named = [recipe.base_model, recipe.tokenizer]
        return [name for name in named if name]


def stages_of(pipeline: PipelineRecipe, path: Path, overrides: Sequence[str]) -> list[Stage]:
    """The stages, in order.

    Args:
        pipeline: what is asked for.
        path: its file.
        overrides: ``stage.key=value``, or ``storage.key=value`` for all of them.

    Raises:
        UserError: a recipe is not valid, or an override is of no stage (it is named).
    """
    shared, own = _divided(overrides, pipeline)
    found: list[Stage] = []
    for name, stage in pipeline.stages.items():
        file = path.parent / stage.recipe
        changes = (*_stated(stage), *shared, *own[name])
        found.append(Stage(name, name, pipeline.name, file, changes, _load(name, file, changes)))
        if pipeline.evaluate and name in pipeline.evaluated:
            changes = (*_stated(pipeline.evaluate), *shared, *own["evaluate"])
            found.append(_evaluation(pipeline, found[-1], path, changes))
    return found


def _evaluation(
    pipeline: PipelineRecipe, trained: Stage, path: Path, changes: tuple[str, ...]
) -> Stage:
    """The stage that evaluates what another one has trained."""
    stage, recipe = pipeline.evaluate, trained.recipe
    assert stage is not None and isinstance(recipe, Recipe)
    derived = (
        f"name={_as_yaml(f'{pipeline.name}-{trained.name}')}",
        f"model={_as_yaml(f'runs/{recipe.name}/model')}",
        f"reference={_as_yaml(recipe.base_model)}",
    )
    changes = (*derived, *changes)
    name, file = f"evaluate_{trained.name}", path.parent / stage.recipe
    loaded = _load("evaluate", file, changes)
    return Stage(name, "evaluate", pipeline.name, file, changes, loaded, stage.stop_on)


def _evaluated_files(recipe: EvaluateRecipe) -> Iterator[str]:
    """Paths and patterns of what an evaluation reads besides models and held-out documents."""
    yield from recipe.probes.files.values()
    if recipe.own_documents:
        # Written last, with what its examples are: it changes whenever the set is made anew.
        yield f"instruct/{recipe.own_documents.set}/manifest.json"
    for suite in recipe.suites:
        yield from suite.include
        if suite.data:
            yield suite.data
        for task in suite.tasks:
            for paths in task.files.values():
                yield from [paths] if isinstance(paths, str) else paths


def _stated(stage: StageRecipe) -> list[str]:
    return [f"{key}={_as_yaml(value)}" for key, value in stage.set.items()]


def _divided(
    overrides: Iterable[str], pipeline: PipelineRecipe
) -> tuple[list[str], dict[str, list[str]]]:
    shared: list[str] = []
    names = [*pipeline.stages, *(["evaluate"] if pipeline.evaluate else [])]
    own: dict[str, list[str]] = {name: [] for name in names}
    for override in overrides:
        stage, dot, rest = override.partition(".")
        if OF_ALL.match(override):
            shared.append(override)
        elif dot and stage in own and "=" not in stage:
            own[stage].append(rest)
        else:
            raise UserError(
                f"override {override!r}: begin it with the stage that it is for "
                f"({', '.join(own)}), as in {next(iter(own))}.{override}; only storage.* is for all"
            )
    return shared, own


def _load(job: str, file: Path, changes: Sequence[str]) -> AnyRecipe:
    """The recipe of a stage; mistakes in it say of which one.

    Raises:
        UserError: it is not valid.
    """
    try:
        return load(SCHEMAS[job], file, changes)
    except UserError as error:
        raise UserError("\n".join(f"{job}: {line}" for line in str(error).splitlines())) from None


def _as_yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, default=list).encode()).hexdigest()[:16]
