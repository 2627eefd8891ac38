"""Evaluation of a run's checkpoints while it is trained: each by the same recipe."""

from __future__ import annotations

from longspan.config.locations import open_store
from longspan.errors import UserError
from longspan.evaluate.job import write_evaluation
from longspan.evaluate.prepare import Prepared, prepare
from longspan.evaluate.results import Results
from longspan.evaluate.schema import EvaluateRecipe
from longspan.evaluate.watch import WatchedEvaluation, WatchedRun, Watcher
from longspan.hashing import content_id
from longspan.runtime.session import connected
from longspan.storage import Store
from longspan.storage.preflight import require_access
from longspan.train.checkpoint.run_record import read_run_record

RUNS = "runs/"


def prepare_watch(recipe: EvaluateRecipe, run: str) -> Prepared:
    """Check a recipe before there is a checkpoint: with the run's base model in the place of its model.

    Raises:
        UserError: there is no such run, or something is not as the recipe needs it.
    """
    store, name = open_store(recipe), run_name(run)
    return prepare(recipe.model_copy(update={"model": _base_model(store, name)}))


def watch(recipe: EvaluateRecipe, run: str) -> int:
    """Evaluate the checkpoints of a run until it is finished, or idle.

    Args:
        recipe: of the evaluation; its model is replaced by each checkpoint's.
        run: `runs/<name>`, or the name alone.

    Returns:
        Exit status: 0, whatever the verdicts are.

    Raises:
        UserError: there is no such run, or an evaluation fails.
    """
    store, name = prepare_watch(recipe, run).store, run_name(run)
    evaluation = WatchedEvaluation(
        recipe.name, f"evaluate/{recipe.name}-{name}-checkpoints", _settings(recipe)
    )
    watched = WatchedRun(store, name)
    with connected(recipe.data.pool) as log:
        if recipe.engine.pool is None:
            log(
                "engine.pool: unset, so engines may take nodes that the watched run could use; set it to another pool"
            )

        def evaluate(model: str, update: int) -> Results:
            changes = {"model": model, "name": f"{recipe.name}-{name}-{update:07d}"}
            return write_evaluation(prepare(recipe.model_copy(update=changes)), log)

        require_access(store, watched.needs(evaluation.workspace))
        result = Watcher(watched, evaluation, evaluate, log=log).watch()
        log(
            f"watched {RUNS}{name}: {len(result.evaluated):,} checkpoints evaluated, {len(result.skipped):,} skipped "
            f"({result.reason})"
        )
    return 0


def run_name(run: str) -> str:
    """Return the name of a run that is given as `runs/<name>`, or by its name alone.

    Raises:
        UserError: it is neither.
    """
    name = run.rstrip("/").removeprefix(RUNS)
    if not name or "/" in name:
        raise UserError(f"--watch: must be runs/<name>, but is {run!r}")
    return name


def _base_model(store: Store, name: str) -> str:
    return read_run_record(store, f"{RUNS}{name}").base_model


def _settings(recipe: EvaluateRecipe) -> str:
    """Identity of all that is measured."""
    elsewhere = {"name", "model", "storage", "data", "engine"}
    return content_id(recipe.model_dump(mode="json", exclude=elsewhere))
