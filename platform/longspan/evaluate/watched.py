"""Evaluation of a run's checkpoints while it is trained: each by the same recipe."""

from __future__ import annotations

from longspan.errors import UserError
from longspan.evaluate.job import write_evaluation
from longspan.evaluate.prepare import prepare
from longspan.evaluate.results import Results
from longspan.evaluate.schema import EvaluateRecipe
from longspan.evaluate.watch import WatchedRun, Watcher
from longspan.recipe.sources import open_store
from longspan.run.cluster import connected

RUNS = "runs/"


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
    name = run.rstrip("/").removeprefix(RUNS)
    if not name or "/" in name:
        raise UserError(f"--watch: must be runs/<name>, but is {run!r}")
    store = open_store(recipe)
    with connected(recipe.data.pool) as log:

        def evaluate(model: str, update: int) -> Results:
            changes = {"model": model, "name": f"{recipe.name}-{name}-{update:07d}"}
            return write_evaluation(prepare(recipe.model_copy(update=changes)), log)

        workspace = f"evaluate/{recipe.name}-{name}-checkpoints"
        watched = WatchedRun(store, name)
        store.preflight(watched.needs(workspace))
        watcher = Watcher(watched, recipe.name, workspace, evaluate, log=log)
        result = watcher.watch()
        log(
            f"watched {RUNS}{name}: {len(result.evaluated):,} checkpoints evaluated, {len(result.skipped):,} skipped "
            f"({result.reason})"
        )
    return 0
