"""Command line of a comparison: python jobs/evaluate.py compare A B."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from longspan.evaluate.report.compare import compare_page, compare_stored, compare_text
from longspan.recipe.sources import local_path
from longspan.storage import Store

EXAMPLES = """
examples:
  %(prog)s evaluate/before evaluate/after                       two evaluations in the store
  %(prog)s a/results.json b/results.json --root .               copies, with the folders samples/ beside them
  %(prog)s evaluate/a evaluate/b --root s3://bucket/runs --html difference.html
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
    comparison = compare_stored(Store(local_path(options.root)), options.a, options.b)
    print(compare_text(comparison))
    if options.html:
        options.html.write_text(compare_page(comparison), encoding="utf-8")
        print(f"\n{options.html}")
    return 0
