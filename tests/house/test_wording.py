"""Former wording stays out of code, messages and docs: each pattern has the term that replaced it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXEMPT = {
    "CHANGELOG.md",
    "platform/longspan/evaluate/probes/associations.yaml",
    "tests/house/test_wording.py",
}
"""History, texts of probes, and this list."""

SUFFIXES = {".py", ".md", ".yaml", ".json", ".js", ".html", ".sh"}

REPLACED = {
    r"\bmend(s|ed|ing)?\b": "fix, repair",
    r"\bpassed over\b": "skipped, excluded",
    r"\bgoes on where\b": "resumes",
    r"\bdoors\b": "gateway",
    r"\bDoors\b": "Gateway",
    r"\bthe one before is used\b": "falling back to the previous one",
    r"\bmay not do all\b": "missing permissions",
    r"\blook_around\b": "probe_hardware",
    r"\blook_at_\w+": "inspect_model, inspect_tokenizer",
    r"\btake_over\b": "sync_params_from_master",
    r"\bSurroundings\b": "ClusterMonitor",
    r"\bthe person watching\b": "the driver log",
    r"\bWhat (it learns|people see|was for nothing)\b": "Loss, Latency, Goodput",
}


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = {}
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if name not in EXEMPT and path.suffix in SUFFIXES and path.is_file():
            found[name] = path.read_text(encoding="utf-8")
    return found


@pytest.mark.parametrize("pattern", REPLACED)
def test_former_wording_is_not_used(pattern: str, texts: dict[str, str]) -> None:
    lines = [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts.items()
        if re.search(pattern, text)
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not lines, f"instead: {REPLACED[pattern]}"
