"""The verdict on runs' histories, for a person."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from longspan.history.check import Finding, check, compare
from longspan.history.cuts import cuts_of
from longspan.history.starts import read_history
from longspan.storage import Store


def report(addresses: Sequence[str], endpoint: str | None) -> tuple[str, bool]:
    """What the histories of runs come to, and whether no fault was found.

    Args:
        addresses: the runs' folders, local or s3://; of several, each is compared with the next.
        endpoint: URL of an S3 server other than AWS.

    Raises:
        UserError: a run has no history, or a damaged one.
    """
    findings = [check(read_history(Store(each, endpoint=endpoint))) for each in addresses]
    lines: list[str] = []
    for address, finding in zip(addresses, findings, strict=True):
        lines += _one(address, finding)
    differences: list[str] = []
    for (here, one), (there, other) in pairwise(zip(addresses, findings, strict=True)):
        found = compare(one, other)
        differences += found
        shared = min(one.updates, other.updates)
        verdict = "NOT the same" if found else f"the same, row for row, in {shared:,} updates"
        lines += [f"{here} and {there}: {verdict}", *(f"  - {fault}" for fault in found)]
    return "\n".join(lines), not differences and not any(f.faults for f in findings)


def _one(address: str, finding: Finding) -> list[str]:
    starts = len(finding.starts)
    workers = ", then ".join(map(str, finding.starts))
    tokens = int(finding.rows.lengths.sum())
    facts = (
        f"{finding.updates:,} updates, {len(finding.rows):,} rows, {tokens:,} tokens; "
        f"{starts} start{'s' if starts > 1 else ''} with {workers} workers; "
        f"{finding.done_again:,} rows done again after restarts"
    )
    cuts = cuts_of(finding.rows)
    packing = (
        f"  packing: {cuts.cut:,} of {cuts.fitting:,} documents that fit in a row were cut "
        f"({cuts.long:,} were longer than a row); {cuts.padding / max(tokens, 1):.3%} of the "
        "tokens were padding"
    )
    if finding.faults:
        verdict = f"{address}: NOT one undisturbed run"
        return [verdict, f"  {facts}", *(f"  - {fault}" for fault in finding.faults)]
    return [f"{address}: one undisturbed run", f"  {facts}, the same each time", packing]
