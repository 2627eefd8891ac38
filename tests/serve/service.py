"""The service as its owner handles it, by commands, and as its clients do, over HTTP."""

import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from longspan.serve.gateway import keys
from longspan.storage import Store
from tests.ports import free_ports
from tests.s3 import S3Server
from tests.tiny import make_tiny_model

ROOT = Path(__file__).parents[2]
WINDOW = 1024
PATIENCE = 200
"""Seconds: a request may have to wait for a replica to start."""
QUESTION: list[Any] = [{"role": "user", "content": "Which ship came first?"}]


class Service:
    """A config file, the commands that take it, and what it serves: a tiny model in S3; another lies in a folder."""

    def __init__(self, folder: Path, cluster: str, s3: S3Server, window: int = WINDOW) -> None:
        self.models = [folder / "model-1", folder / "model-2"]
        for seed, model in enumerate(self.models, 1):
            make_tiny_model(model, window=window, tied=False, seed=seed)
        (port,) = free_ports(1)
        self.folder, self.cluster, self.url = folder, cluster, f"http://127.0.0.1:{port}"
        self.store = Store(f"s3://{s3.bucket}/{uuid.uuid4().hex}", endpoint=s3.endpoint)
        self.store.upload(self.models[0], "models/1")
        self.key = keys.add(self.store, "tests", keys.KeyLimits())
        self.config = folder / "chat.yaml"
        config = yaml.safe_load((ROOT / "serving" / "chat.yaml").read_text())
        config["http_options"]["port"] = port
        (application,) = config["applications"]
        application["args"] = {
            "model": "models/1",
            "name": "tiny",
            "storage": {"root": self.store.root, "endpoint": s3.endpoint},
            "cache_gib": 0.25,
            "engine": {"dtype": "float32"},
        }
        self.cache = {"XDG_CACHE_HOME": str(folder / "cache")}
        application["runtime_env"] = {"env_vars": self.cache}
        self.config.write_text(yaml.safe_dump(config))

    def start(self, command: str, *overrides: str) -> "subprocess.Popen[str]":
        """Start `python -m longspan.serve command overrides`."""
        typed = [sys.executable, "-m", "longspan.serve", command, *overrides]
        return subprocess.Popen(
            [*typed, "--config", str(self.config)],
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": self.cluster} | self.cache,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def command(self, command: str, *overrides: str) -> tuple[int, str]:
        """The same to its end: status, and all that it printed."""
        process = self.start(command, *overrides)
        output, _ = process.communicate(timeout=280)
        return process.returncode, output

    @property
    def headers(self) -> dict[str, str]:
        """Those of a client with a key."""
        return {"Authorization": f"Bearer {self.key}"}

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """One request with the key."""
        return httpx.post(self.url + path, json=body, headers=self.headers, timeout=PATIENCE)

    def openai(self) -> openai.OpenAI:
        """A client that repeats nothing by itself."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0)

    def answer(self) -> str:
        """The model's answer to the question, the same each time."""
        body = {"model": "tiny", "messages": QUESTION, "max_tokens": 16, "temperature": 0}
        return self.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]


@pytest.fixture(scope="package")
def deployed(
    tmp_path_factory: pytest.TempPathFactory, ray_session: str, s3_server: S3Server
) -> Iterator[Service]:
    """The service, deployed with vLLM's CPU engine.

    It goes with the last of its tests: others need the CPUs that its replicas hold.
    """
    import ray
    from ray import serve

    address = ray.get_runtime_context().gcs_address
    service = Service(tmp_path_factory.mktemp("service"), address, s3_server)
    status, output = service.command("deploy")
    assert status == 0, output
    yield service
    serve.shutdown()


def samples() -> list[Sample]:
    """All that Ray's Prometheus endpoint shows."""
    import ray

    port = ray.nodes()[0]["MetricsExportPort"]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    families = text_string_to_metric_families(text)
    return [sample for family in families for sample in family.samples]


def metrics(name: str, by: str, **labels: str) -> Counter[str]:
    """A metric, summed by one label, of the series that have these others."""
    found: Counter[str] = Counter()
    for sample in samples():
        if sample.name == name and labels.items() <= sample.labels.items():
            found[sample.labels.get(by, "")] += sample.value  # pyrefly: ignore
    return found


def metric(name: str, **labels: str) -> float:
    """The same, summed over all."""
    return metrics(name, "", **labels).total()


def replicas(below: int | None = None) -> list[psutil.Process]:
    """The processes of the replicas, those that are starting among them: all, or those of a node."""
    return [each for each in psutil.Process(below).children(recursive=True) if _is_replica(each)]


def _is_replica(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[:1] != [] and "ServeReplica:chat:" in process.cmdline()[0]
    except psutil.Error:  # Gone meanwhile.
        return False


def until(true: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.2)
