"""One result of a check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from longspan.addresses import redacted
from longspan.errors import UserError

Status = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        status: an error stops jobs, a warning does not.
        subject: what was checked.
        text: what was found.
        remedy: what to do; empty if nothing.
    """

    status: Status
    subject: str
    text: str
    remedy: str = ""

    def line(self) -> str:
        """Return the line to print, without secrets."""
        remedy = f"; {self.remedy}" if self.remedy else ""
        text = redacted(f"{self.text}{remedy}").replace("\n", " ")
        return f"{self.status:<8} {self.subject}: {text}"


def findings(subject: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Run a check; a mistake that it raises, or a package that it lacks, is a finding as well.

    Args:
        subject: what it checks.
        check: to run.
    """
    try:
        return list(check())
    except UserError as error:
        return [Finding("error", subject, str(error))]
    except ModuleNotFoundError as error:
        return [
            Finding(
                "warning",
                subject,
                f"not checked: package {error.name} is not installed",
                "see packages",
            )
        ]
