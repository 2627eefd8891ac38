"""The undisturbed run that others are compared with: one process, without Ray."""

from longspan.config.load import load
from longspan.config.locations import open_store
from longspan.history.check import Finding
from longspan.recipe.schema import Recipe
from longspan.train import standalone
from longspan.train.data.corpora import ingest_of
from tests.chaos.run import of_length, undisturbed_name
from tests.in_process import ingest
from tests.jobs.project import Project
from tests.ranks import RankServer


def trained(project: Project, ranks: RankServer, updates: int) -> Finding:
    """Train the project's recipe for so many updates; returns the run's history."""
    done = ranks.run(1, main, str(project.recipe), updates)
    assert done.returncode == 0, done.stdout + done.stderr
    return project.history(undisturbed_name(updates))


def main(recipe: str, updates: int) -> int:
    """Ingest the recipe's corpora in this process, then train; returns the exit status."""
    overrides = [f"name={undisturbed_name(updates)}", "workers=1", *of_length(updates)]
    loaded = load(Recipe, recipe, overrides)
    ingest(ingest_of(loaded, open_store(loaded)))
    return standalone.main([recipe, *overrides])
