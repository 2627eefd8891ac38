"""From a recipe to what an evaluation needs; small files are read, nothing is started."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr

from longspan.config.locations import open_store
from longspan.errors import UserError
from longspan.evaluate.lengths import evaluated_lengths, evaluated_window
from longspan.evaluate.models import EvaluatedModel, inspect_model
from longspan.evaluate.probes import own_documents, paragraphs
from longspan.evaluate.probes.pairs import load_pairs, set_folder
from longspan.evaluate.probes.question_files import read_questions
from longspan.evaluate.probes.registry import tasks_of
from longspan.evaluate.samples import Task
from longspan.evaluate.schema import EvaluateRecipe
from longspan.evaluate.suites.checks import check_suites, suite_needs
from longspan.evaluate.suites.files import suites_folder
from longspan.generate.endpoint import EndpointAccess, checked_window, read_api_key
from longspan.recipe.sources import find_objects, source_specs
from longspan.storage import Need, Store
from longspan.storage.preflight import LIST_ROOT, require_access


@dataclass(frozen=True)
class Prepared:
    """An evaluation that can begin.

    Attributes:
        recipe: what is asked for.
        store: where everything is.
        model: to evaluate.
        reference: to compare it with.
        window: longest length that is judged, in tokens.
        base_window: before the model was extended, in tokens.
        lengths: of the probes, rising.
        template: how prompts are given.
        tasks: probes.
        evaluator: chooses key tokens; None: they are not measured.
        api_key: of the endpoint.
    """

    recipe: EvaluateRecipe
    store: Store
    model: EvaluatedModel
    reference: EvaluatedModel | None
    window: int
    base_window: int
    lengths: tuple[int, ...]
    template: Literal["none", "chat"]
    tasks: tuple[Task, ...]
    evaluator: EvaluatedModel | None = None
    api_key: SecretStr | None = None

    @property
    def folder(self) -> str:
        """Folder of the evaluation in the store."""
        return f"evaluate/{self.recipe.name}"

    @property
    def models(self) -> tuple[EvaluatedModel, ...]:
        """The model, and the reference if there is one."""
        return (self.model, self.reference) if self.reference else (self.model,)

    def lengths_of(self, model: EvaluatedModel) -> tuple[int, ...]:
        """Lengths that a model is asked at: for the reference, those within its own window."""
        if model is self.model:
            return self.lengths
        return tuple(length for length in self.lengths if length <= model.facts.window)


def prepare(recipe: EvaluateRecipe) -> Prepared:
    """Check everything that can be checked before anything starts.

    Raises:
        UserError: something is not as the recipe needs it; the key to change is named.
    """
    store = open_store(recipe)
    model = inspect_model(recipe.model, "model", store)
    reference = inspect_model(recipe.reference, "reference", store) if recipe.reference else None
    window = evaluated_window(recipe.window, model.facts.window)
    probes = recipe.probes
    lengths = evaluated_lengths(probes.lengths, window, model.facts.window, probes.beyond_window)
    template = _template(recipe, model, reference)
    if reference:
        require_same_tokenizer(model, reference)
    api_key = None
    if recipe.endpoint:
        api_key = read_api_key(recipe.endpoint, "endpoint")
        access = EndpointAccess(recipe.endpoint, api_key, "endpoint")
        if lengths[-1] > window:
            checked_window(lengths[-1], access, "probes.beyond_window", "set it to false")
        else:
            checked_window(lengths[-1], access, "window")
    find_objects(recipe, store)
    check_suites(recipe.suites, store, suites_folder(), likelihoods=recipe.endpoint is None)
    evaluator = recipe.losses.key_tokens
    base = recipe.base_window or min(each.facts.window for each in (model, reference) if each)
    prepared = Prepared(
        recipe,
        store,
        model,
        reference,
        window,
        base,
        tuple(lengths),
        template,
        _tasks(recipe, store),
        inspect_model(evaluator, "losses.key_tokens", store) if evaluator else None,
        api_key,
    )
    # Permission to write is left to the job: trying it would leave an empty folder.
    require_access(store, [need for need in needs(prepared) if need.access in ("list", "read")])
    return prepared


def needs(prepared: Prepared) -> list[Need]:
    """Return what the evaluation does with its store."""
    recipe = prepared.recipe
    read = [
        Need("read", pattern, f"corpora.{spec.name}.path")
        for spec in source_specs(recipe)
        for pattern in spec.patterns
    ]
    evaluators = [prepared.evaluator] if prepared.evaluator else []
    read += [
        Need("read", f"{model.address}/*", model.key)
        for model in (*prepared.models, *evaluators)
        if model.address.startswith("s3://")
    ]
    read += [
        Need("read", path, f"probes.files.{name}") for name, path in recipe.probes.files.items()
    ]
    if own := recipe.own_documents:
        read.append(Need("read", f"{set_folder(own.set)}/**", "own_documents.set"))
    read += suite_needs(recipe.suites)
    return [LIST_ROOT, *read, Need("write", "evaluate", "storage.root")]


def require_same_tokenizer(model: EvaluatedModel, reference: EvaluatedModel) -> None:
    """Refuse a pair of models that can't be given the same token ids.

    Raises:
        UserError: their tokenizers differ.
    """
    first, second = (_vocabulary(each) for each in (model, reference))
    if first != second:
        raise UserError(
            f"reference: the tokenizers of {reference.name!r} and of {model.name!r} differ, so that the two can't be "
            "given the same prompts; leave reference out, and evaluate each of them"
        )


def _tasks(recipe: EvaluateRecipe, store: Store) -> tuple[Task, ...]:
    """Probes by name, questions of files, and questions about own documents."""
    files = {
        name: read_questions(store, path, f"probes.files.{name}")
        for name, path in recipe.probes.files.items()
    }
    tasks: list[Task] = [*tasks_of(recipe.probes.tasks), *paragraphs.make_tasks(files)]
    if own := recipe.own_documents:
        fractions = {corpus.name: corpus.heldout_fraction or 1.0 for corpus in recipe.corpora}
        pairs = load_pairs(store, own.set, fractions, own.questions)
        tasks += own_documents.make_tasks(pairs)
    return tuple(tasks)


def _template(
    recipe: EvaluateRecipe, model: EvaluatedModel, reference: EvaluatedModel | None
) -> Literal["none", "chat"]:
    """How prompts are given to all models: a model that has no template never saw one."""
    without = [each for each in (model, reference) if each and not _has_template(each)]
    if recipe.template == "chat" and without:
        raise UserError(
            f"template: chat is asked for, and the tokenizer of {without[0].name!r} ({without[0].key}) has no chat "
            "template; set template: none"
        )
    if recipe.template == "auto":
        return "none" if without else "chat"
    return recipe.template


def _has_template(model: EvaluatedModel) -> bool:
    if (model.folder / "chat_template.jinja").is_file():
        return True
    config = model.folder / "tokenizer_config.json"
    return config.is_file() and bool(json.loads(config.read_bytes()).get("chat_template"))


def _vocabulary(model: EvaluatedModel) -> object:
    """Ids of all tokens, and how a text is divided into them; templates may differ."""
    path = model.folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"{model.key}: there is no tokenizer.json in {model.name!r}; save the tokenizer in the fast format"
        )
    described = json.loads(path.read_bytes())
    keys = ("added_tokens", "normalizer", "pre_tokenizer", "model")
    return [described.get(key) for key in keys]
