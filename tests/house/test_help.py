"""Every command of the repository has --help, which starts nothing."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {
    "platform/longspan/__main__.py": "longspan",
    "platform/longspan/serve/__main__.py": "longspan.serve",
    "platform/longspan/cluster/__main__.py": "longspan.cluster",
    "platform/longspan/storage/__main__.py": "longspan.storage",
    "platform/longspan/samples/__main__.py": "longspan.samples",
    "platform/longspan/evaluate/preference/__main__.py": "longspan.evaluate.preference",
    "platform/longspan/train/standalone.py": "longspan.train.standalone",
    "platform/longspan/train/checkpoint/export.py": "longspan.train.checkpoint.export",
    "platform/longspan/model/support.py": "longspan.model.support",
    "tools/head.py": "tools.head",
    "tools/s3.py": "tools.s3",
    "tools/lock.py": "tools.lock",
    "tools/evaluation_data.py": "tools.evaluation_data",
    "cluster/dashboards.py": "cluster.dashboards",
    "cluster/spot_watcher.py": "cluster.spot_watcher",
}
SCRIPTS = [
    *(f"jobs/{name}.py" for name in ("pretrain", "sft", "ingest", "self_instruct", "pipeline")),
    "jobs/evaluate.py",
    "jobs/check_history.py",
    "docs/draw_layers.py",
    "docs/draw_order.py",
    "docs/take_page.py",
    "docs/write_commands.py",
    "docs/write_reference.py",
    "docs/write_results_schema.py",
]
NOT_FOR_PEOPLE = {
    "platform/longspan/serve/page/pdf_text.py",
    "platform/longspan/evaluate/suites/sandbox_child.py",
}
"""Started by the service itself, with a document as its input, or by the sandbox of programs that a model wrote."""


def test_all_commands_are_known() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in ("platform", "jobs", "tools", "cluster", "docs")
        for path in (ROOT / folder).rglob("*.py")
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    assert found - NOT_FOR_PEOPLE == {*MODULES, *SCRIPTS}


# runpy warns of modules that other tests have imported; the entry point is run anew all the same.
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("command", [*MODULES, *SCRIPTS])
def test_help_is_printed_and_nothing_done(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        if command in MODULES:
            runpy.run_module(MODULES[command], run_name="__main__", alter_sys=False)
        else:
            runpy.run_path(str(ROOT / command), run_name="__main__")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "usage:" in printed.lower() or "python -m" in printed
