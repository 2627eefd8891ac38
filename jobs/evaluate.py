"""Evaluate a long-context model: probes, losses and standard suites, a report, and a verdict.

ray job submit -- python jobs/evaluate.py [recipe.yaml] [key.path=value ...] [--validate | --plan | --watch RUN]
python jobs/evaluate.py compare A B
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from longspan.config.load import load
from longspan.evaluate.schema import EvaluateRecipe
from longspan.recipe.options import options_parser, read_options
from longspan.run import console

QUICK = Path(__file__).parent / "recipes" / "evaluate" / "quick.yaml"
PROGRAM = "python jobs/evaluate.py"

EXAMPLES = """
what it does:
  generates prompts of known length and depth from held-out documents, asks the model, measures losses by length of
  the context, compares with the base model on the same samples, and writes a report with a verdict:
  evaluate/<name>/report.html and results.json in the store. Killed at any moment, the same command resumes.

examples:
  {program}                                              the quickstart's model, some minutes on two cores
  {program} my.yaml --plan                               what it measures, at what cost, how wide the intervals are
  {program} my.yaml model=runs/my-run/model probes.samples=200
  {program} my.yaml --watch runs/my-run                  every checkpoint of a run that is being trained
  {program} compare evaluate/a evaluate/b                paired differences of two: probes, suites, losses

exit status:
  0 the verdict is pass, 3 fail, 4 inconclusive; 1 the job failed, 2 something is not as the recipe needs it.

A value is YAML (2e-5, true, [a, b], {{length: 4096}}). docs/evaluate.md says what each number means.
"""


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["compare"]:
        from longspan.evaluate.report.command import compare

        return compare(arguments[1:])
    parser = options_parser(PROGRAM, "Evaluation of a long-context model.", QUICK, EXAMPLES)
    parser.add_argument(
        "--watch",
        metavar="RUN",
        help="evaluate the checkpoints of a run (runs/<name>) while it is trained, each once",
    )
    found = parser.parse_intermixed_args(arguments)
    options = read_options(parser, found, QUICK)
    recipe = load(EvaluateRecipe, options.recipe, options.overrides)

    from longspan.evaluate.gate_coverage import gate_gaps
    from longspan.evaluate.plan import plan_text
    from longspan.evaluate.prepare import prepare

    if found.watch:
        from longspan.evaluate.watched import prepare_watch, watch

        if not (options.plan or options.validate):
            return watch(recipe, found.watch)
        prepared = prepare_watch(recipe, found.watch)
    else:
        prepared = prepare(recipe)
    if options.plan:
        print(plan_text(prepared))
        return 0
    if options.validate:
        print(f"{recipe.name}: the recipe is valid; model and {len(recipe.corpora)} sources found")
        for gap in gate_gaps(prepared):
            print(f"note: {gap}")
        return 0

    from longspan.evaluate.exit_status import EXIT_STATUS
    from longspan.evaluate.job import run
    from longspan.run.cluster import connected

    with connected(recipe.data.pool) as log:
        verdict = run(prepared, log)
    return EXIT_STATUS[verdict.status]


if __name__ == "__main__":
    sys.exit(console.run(main, sys.argv[1:]))
