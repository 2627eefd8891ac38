"""A hub of models on loopback: as much of the Hugging Face Hub's API as its client uses to fetch a model."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants


class Hub(ThreadingHTTPServer):
    """Serves the commits of models; also as a proxy, for any host."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits: dict[str, dict[str, Path]] = {}
        """Folders by model and commit."""
        self.branches: dict[str, str] = {}
        """Commit of each model's branch `main`."""
        self.gated: set[str] = set()
        self.requests: list[str] = []
        self.sizes: dict[str, int] = {}
        """Sizes of files, by name, where another one is told than they have."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def push(self, model: str, folder: Path) -> str:
        """A new commit of a model, on its branch `main`."""
        number = len(self.commits.setdefault(model, {})) + 1
        commit = hashlib.sha1(f"{model} {number}".encode()).hexdigest()
        self.commits[model][commit] = folder
        self.branches[model] = commit
        return commit


@contextmanager
def hub_on_loopback() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


def use(monkeypatch: pytest.MonkeyPatch, cache: Path, endpoint: str) -> None:
    """From now on this process's client asks there, and keeps what it gets in `cache`."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    path = template[template.index("/{repo_id}") :]
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + path)


class _Handler(BaseHTTPRequestHandler):
    server: Hub  # pyrefly: ignore
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and content in one packet
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            model, rest = "/".join(parts[2:4]), parts[4:]
        else:
            model, rest = "/".join(parts[:2]), parts[2:]
        if model not in self.server.commits:
            return self._refuse(404, "RepoNotFound")
        name = rest[1] if len(rest) > 1 else "main"
        commit = self.server.branches[model] if name == "main" else name
        if commit not in self.server.commits[model]:
            return self._refuse(404, "RevisionNotFound")
        folder = self.server.commits[model][commit]
        if rest[:1] in ([], ["revision"]):
            return self._send(json.dumps({"id": model, "modelId": model, "sha": commit}).encode())
        if model in self.server.gated:
            return self._refuse(403, "GatedRepo")
        if rest[0] == "tree":
            return self._send(json.dumps([self._entry(file) for file in _files(folder)]).encode())
        file = folder / "/".join(rest[2:])
        if not file.is_file():
            return self._refuse(404, "EntryNotFound", commit)
        self._send(file.read_bytes(), {"X-Repo-Commit": commit, "ETag": f'"{_id(file)}"'}, file)

    def _entry(self, file: Path) -> dict[str, object]:
        size = self.server.sizes.get(file.name, file.stat().st_size)
        return {"type": "file", "path": file.name, "size": size, "oid": _id(file)}

    def _refuse(self, status: int, code: str, commit: str = "") -> None:
        self._send(b"", {"X-Error-Code": code, "X-Repo-Commit": commit}, status=status)

    def _send(
        self,
        data: bytes,
        headers: dict[str, str] | None = None,
        file: Path | None = None,
        status: int = 200,
    ) -> None:
        size = self.server.sizes.get(file.name) if file else None
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if size is None else size))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _id(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
