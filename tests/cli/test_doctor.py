"""`longspan doctor`: what its checks find, and that no secret is in a line."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from longspan.cli.checks.devices import Gpu, installed_gpus
from longspan.cli.checks.disk import GIB, check_disk
from longspan.cli.checks.finding import Finding, findings
from longspan.cli.checks.packages import unmet_requirements
from longspan.cli.checks.ray_head import check_token
from longspan.cli.checks.store import StoreAddress, check_store, clock_finding
from longspan.cli.entry import command_named, invoke
from longspan.errors import UserError

SECRET = "a-token-that-nobody-may-see"


@contextmanager
def dashboard() -> Iterator[str]:
    """A server that takes requests with the secret as their bearer token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["Authorization"] == f"Bearer {SECRET}"
            self.send_response(200 if known else 401)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def token_findings(path: Path, token: str, mode: int) -> list[Finding]:
    path.write_text(token)
    path.chmod(mode)
    return list(check_token())


def test_the_token_is_tried_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "token"
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    (missing,) = check_token()
    assert (missing.status, missing.remedy) == ("error", "copy the head's token file to it")
    with dashboard() as url:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", url)
        (accepted,) = token_findings(path, f"{SECRET}\n", 0o600)
        assert accepted.status == "ok" and "accepts it" in accepted.text
        readable, _ = token_findings(path, SECRET, 0o644)
        assert (readable.status, readable.remedy) == ("warning", f"chmod 600 {path}")
        (refused,) = token_findings(path, f"not-{SECRET}", 0o600)
        assert refused.status == "error" and "refuses it (status 401)" in refused.text
    (silent,) = token_findings(path, SECRET, 0o600)
    assert silent.status == "warning" and "no dashboard answers" in silent.text
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (disabled,) = check_token()
    assert disabled.status == "warning" and "run code" in disabled.text
    for finding in (accepted, readable, refused, silent, disabled):
        assert SECRET not in finding.line()


def fake_nvidia_smi(folder: Path, script: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


def test_gpus_are_those_that_the_driver_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    fake_nvidia_smi(
        tmp_path, "echo 'NVIDIA H200, 143771, 570.1'; echo 'NVIDIA H200, 143771, 570.1'"
    )
    assert installed_gpus() == [Gpu("NVIDIA H200", 143771, "570.1")] * 2
    fake_nvidia_smi(
        tmp_path, "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18"
    )
    with pytest.raises(UserError, match=r"version mismatch.*; reboot, or reinstall the driver"):
        installed_gpus()


def test_a_check_that_cannot_run_is_a_finding() -> None:
    def refused() -> list[Finding]:
        raise UserError("no bucket at https://key:secret@host/x")

    def unable() -> list[Finding]:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    (error,) = findings("store", refused)
    assert error.line() == "error    store: no bucket at https://***@host/x"
    (warning,) = findings("attention", unable)
    assert warning.line().startswith("warning  attention: not checked: package torch is not")


def test_requirements_are_told_by_extra() -> None:
    stated = [
        "pytest>=1",
        "no-such-package",
        "pytest>=1000; extra == 'train'",
        "other-package; extra == 'serve'",
    ]
    assert unmet_requirements(stated, "") == ["no-such-package"]
    (unmet,) = unmet_requirements(stated, "train")
    assert unmet.startswith("pytest>=1000 (installed: ")
    assert unmet_requirements(stated, "serve") == ["other-package"]


def test_a_folder_is_a_store_with_the_clock_of_its_file_system(tmp_path: Path) -> None:
    found = list(check_store(StoreAddress(str(tmp_path))))
    assert [(each.status, each.subject) for each in found] == [("ok", "store"), ("ok", "clock")]
    assert list(tmp_path.iterdir()) == []
    (future,) = check_store(StoreAddress(str(tmp_path / "a" / "b")))
    assert future.status == "ok" and "can be made" in future.text


def test_clocks_that_differ_are_an_error() -> None:
    assert clock_finding(-5).line() == "ok       clock: the store is 5 s behind this machine"
    ahead = clock_finding(700)
    assert ahead.status == "error" and "700 s ahead of" in ahead.text and "set-ntp" in ahead.remedy


def test_space_is_told_by_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    found = [each for each in check_disk(str(tmp_path / "store")) if each.subject == "disk"]
    assert any(f"store ({tmp_path}/store)" in each.text for each in found)
    assert any(f"Hugging Face cache ({tmp_path}/hub)" in each.text for each in found)
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize / GIB
    assert any(abs(float(each.text.split()[0]) - free) < 1 for each in found)


@pytest.mark.real
@pytest.mark.deep
def test_the_whole_report_has_a_line_for_each_subject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert invoke(command_named("doctor"), "longspan doctor", []) in (0, 2)
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    subjects = {line.split(maxsplit=1)[1].partition(":")[0] for line in lines}
    assert {"packages", "devices", "attention", "ray", "store", "disk"} <= subjects
    assert all(line.split()[0] in ("ok", "warning", "error") for line in lines)
    assert SECRET not in printed
