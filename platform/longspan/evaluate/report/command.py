"""Command line of a comparison: python jobs/evaluate.py compare A B."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from longspan.config.locations import local_path
from longspan.errors import UserError
from longspan.evaluate.report.compare import compare_page, compare_stored, compare_text
from longspan.evaluate.report.load import results_path
from longspan.storage import Store

EXAMPLES = """
examples:
  %(prog)s evaluate/before evaluate/after                       two evaluations in the store
  %(prog)s a/results.json b/results.json --root .               copies of the two folders
  %(prog)s evaluate/a evaluate/b --root s3://bucket/runs --html difference.html

Compared are probes on the same samples, suites of the same settings on the same questions, and losses of the same
tokens with the same contexts.
"""


def compare(arguments: Sequence[str]) -> int:
    """Print paired differences of two evaluations; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python jobs/evaluate.py compare",
        description="Paired differences of two evaluations on the same samples: A minus B.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", help="folder or results.json of an evaluation")
    parser.add_argument("b", help="of the one that it is compared with")
    parser.add_argument(
        "--root",
        default=".longspan/store",
        help="folder or s3://bucket/prefix that both are in (default: %(default)s)",
    )
    parser.add_argument("--html", type=Path, help="also write the differences as a page")
    options = parser.parse_args(arguments)
    store = Store(local_path(options.root))
    for path in (options.a, options.b):
        _require_results(store, path, options.root)
    comparison = compare_stored(store, options.a, options.b)
    print(compare_text(comparison))
    if options.html:
        options.html.write_text(compare_page(comparison), encoding="utf-8")
        print(f"\n{options.html}")
    return 0


def _require_results(store: Store, path: str, root: str) -> None:
    if not store.exists(results_path(path)):
        raise UserError(
            f"{path}: there is no {store.uri(results_path(path))}; give the folder of an evaluation, relative to "
            f"--root (now {root}), or the --root that it is in"
        )
