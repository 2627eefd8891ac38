"""Command `evaluate`, and `evaluate compare`, `report` and `preference` on what it has written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Command
from longspan.cli.job_options import job_options, split_words
from longspan.cli.preference import preference
from longspan.errors import UserError

if TYPE_CHECKING:
    from longspan.storage import Store

EXAMPLES = """
What it does:
  Generates prompts of known length and depth from held-out documents, asks the model, measures losses by length of
  the context, compares with the base model on the same samples, and writes a report with a verdict:
  evaluate/<name>/report.html and results.json in the store. Killed at any moment, the same command resumes.

Examples:
  {program}                                              the quickstart's model, some minutes on two cores
  {program} my.yaml --plan                               what it measures, at what cost, and how precisely
  {program} my.yaml model=runs/my-run/model probes.samples=200
  {program} my.yaml --watch runs/my-run                  every checkpoint of a run that is being trained

On evaluations that are written:
  {program} compare evaluate/a evaluate/b                paired differences of two: probes, suites, losses
  {program} report evaluate/a                            the report of results, written again as one HTML page
  {program} preference --help                            which of two models people or a judge prefer

Exit status:
  0 the verdict is pass, 3 fail, 4 inconclusive; 1 the job failed, 2 a mistake of the user's.

A value is YAML (2e-5, true, [a, b], {length: 4096}). docs/evaluate.md says what each number means.
"""

COMPARE_EXAMPLES = """
Examples:
  {program} evaluate/before evaluate/after            two evaluations in the store
  {program} a/results.json b/results.json --root .    copies of the two folders
  {program} evaluate/a evaluate/b --root s3://bucket/runs --html difference.html

Compared are probes on the same samples, suites of the same settings on the same questions, and losses of the same
tokens with the same contexts.
"""

REPORT_EXAMPLES = """
Examples:
  {program} evaluate/my-run                           report.html in the current folder
  {program} results.json --root . --to my-run.html    a copy of the results, without samples
"""

root_option = click.option(
    "--root",
    default=".longspan/store",
    show_default=True,
    help="Folder or s3://bucket/prefix that the paths are relative to.",
)


@click.command(cls=Command, examples=COMPARE_EXAMPLES)
@click.argument("a")
@click.argument("b")
@root_option
@click.option(
    "--html", type=click.Path(path_type=Path), help="Also write the differences as a page."
)
def compare(a: str, b: str, root: str, html: Path | None) -> int:
    """Paired differences of two evaluations on the same samples: A minus B.

    A and B are folders of evaluations, or their results.json.
    """
    from longspan.evaluate.report.compare import compare_page, compare_stored, compare_text

    store = _store_with_results(root, a, b)
    comparison = compare_stored(store, a, b)
    print(compare_text(comparison))
    if html:
        html.write_text(compare_page(comparison), encoding="utf-8")
        print(f"\n{html}")
    return ExitCode.OK


@click.command(cls=Command, examples=REPORT_EXAMPLES)
@click.argument("evaluation")
@root_option
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="File to write.",
)
def report(evaluation: str, root: str, to: Path) -> int:
    """Write the report of an evaluation again, as one HTML page.

    EVALUATION is the folder of an evaluation, or its results.json. Nothing is measured.
    """
    from longspan.evaluate.report.load import load_evaluation
    from longspan.evaluate.report.page import write_report

    stored = load_evaluation(_store_with_results(root, evaluation), evaluation)
    to.write_text(write_report(stored.results, stored.samples), encoding="utf-8")
    print(to)
    return ExitCode.OK


SUBCOMMANDS: dict[str, click.Command] = {
    "compare": compare,
    "report": report,
    "preference": preference,
}


class EvaluateCommand(Command):
    """Command that is also a group: a first word that names a subcommand is no recipe."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Make the context of the subcommand, if the first word names one."""
        if args and (subcommand := SUBCOMMANDS.get(args[0])):
            name = f"{info_name} {args[0]}"
            return subcommand.make_context(name, args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=EvaluateCommand, examples=EXAMPLES)
@job_options
@click.option(
    "--watch",
    metavar="RUN",
    help="Evaluate the checkpoints of a run (runs/<name>) while it is trained, each once.",
)
def evaluate(words: tuple[str, ...], plan: bool, validate: bool, watch: str | None) -> int:
    """Evaluate a long-context model: probes, losses and standard suites, a report, and a verdict."""
    from longspan.config.load import load
    from longspan.evaluate.gate_coverage import gate_gaps
    from longspan.evaluate.plan import plan_text
    from longspan.evaluate.prepare import prepare
    from longspan.evaluate.schema import EvaluateRecipe

    recipe = load(EvaluateRecipe, *split_words(words, "evaluate/quick"))
    if watch:
        from longspan.evaluate.watched import prepare_watch
        from longspan.evaluate.watched import watch as watch_run

        if not (plan or validate):
            return watch_run(recipe, watch)
        prepared = prepare_watch(recipe, watch)
    else:
        prepared = prepare(recipe)
    if plan:
        print(plan_text(prepared))
        return ExitCode.OK
    if validate:
        print(f"{recipe.name}: the recipe is valid; model and {len(recipe.corpora)} sources found")
        for gap in gate_gaps(prepared):
            print(f"note: {gap}")
        return ExitCode.OK

    from longspan.evaluate.exit_status import EXIT_STATUS
    from longspan.evaluate.job import run
    from longspan.runtime.session import connected

    with connected(recipe.data.pool) as log:
        verdict = run(prepared, log)
    return EXIT_STATUS[verdict.status]


def _store_with_results(root: str, *evaluations: str) -> Store:
    """Store of evaluations.

    Raises:
        UserError: one of them has no results.
    """
    from longspan.config.locations import local_path
    from longspan.evaluate.report.load import results_path
    from longspan.storage import Store

    store = Store(local_path(root))
    for path in evaluations:
        if not store.exists(results_path(path)):
            raise UserError(
                f"{path}: there is no {store.uri(results_path(path))}; give the folder of an evaluation, relative to "
                f"--root (now {root}), or the --root that it is in"
            )
    return store
