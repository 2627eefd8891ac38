"""The chat service against bare vLLM: throughput, time to the first token, time between tokens.

Both run at the same time, on the same model with the same engine arguments, and are loaded by turns
with vLLM's own `bench serve` client over the chat endpoint, streaming: the very same prompts to each,
new ones every round, so that the machine's drift treats both alike.
Ours is the whole service: Serve's proxy, API keys and limits, access log, metrics. The prompts are random
words, so that none is in a cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, local_ray, machine, parse, parser, table
from longspan.doors import keys
from longspan.recipe.load import parse as parse_settings
from longspan.recipe.sources import open_store
from longspan.serve.app import application
from longspan.serve.engine import EnginePlan, plan_engine
from longspan.serve.hardware import look_around
from longspan.serve.model import look_at
from longspan.serve.schema import ServeSettings

NAME = "bench"
START_SECONDS = 300
METRICS = ("output_throughput", "mean_ttft_ms", "mean_itl_ms")


@dataclass(frozen=True)
class Side:
    """Something that answers."""

    name: str
    url: str
    key: str = ""


@dataclass(frozen=True)
class Load:
    """Requests of one kind: tokens of a prompt and of its answer, clients at a time."""

    prompt: int
    answer: int
    clients: int
    requests: int


def load(side: Side, asked: Load, seed: int, model: Path, folder: Path) -> Mapping[str, Any]:
    """What vLLM's client measured."""
    result = folder / "result.json"
    command = [sys.executable, __file__, "--client", "--backend", "openai-chat"]
    command += ["--base-url", side.url, "--endpoint", "/v1/chat/completions", "--model", NAME]
    command += ["--tokenizer", str(model), "--dataset-name", "random", "--seed", str(seed)]
    command += ["--random-input-len", str(asked.prompt), "--random-output-len", str(asked.answer)]
    command += ["--num-prompts", str(asked.requests), "--max-concurrency", str(asked.clients)]
    command += ["--num-warmups", "2", "--ignore-eos", "--disable-tqdm", "--temperature", "0"]
    command += ["--save-result", "--result-dir", str(folder), "--result-filename", result.name]
    done = subprocess.run(
        command,
        env=os.environ | {"OPENAI_API_KEY": side.key or "none"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-3000:])
    found = json.loads(result.read_text())
    assert found["completed"] == asked.requests, (
        side.name,
        found["completed"],
        found["errors"][:2],
    )
    return found


def client() -> None:
    """`vllm bench serve`; the program of that name wants a package that the CPU build is not."""
    from vllm.benchmarks.serve import add_cli_args, main
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    options = FlexibleArgumentParser()
    add_cli_args(options)
    given: Any = options.parse_args(sys.argv[2:])
    main(given)


@contextmanager
def bare(model: Path, arguments: Mapping[str, Any], port: int) -> Iterator[Side]:
    """VLLM's own server."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--model", str(model), "--served-model-name", NAME]
    command += ["--disable-uvicorn-access-log", *flags(arguments)]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            side = Side("vllm serve", f"http://127.0.0.1:{port}")
            wait_for(f"{side.url}/health", server, log)
            yield side
        finally:
            server.terminate()
            server.wait(timeout=60)


def flags(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Engine arguments as the command line takes them."""
    for key, value in arguments.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{name}" if value else f"--no-{name}"
        else:
            yield f"--{name}"
            yield json.dumps(value) if isinstance(value, dict) else str(value)


def wait_for(url: str, server: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    """Until the server answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if server.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                raise SystemExit(log.read().decode()[-3000:]) from None
            time.sleep(1)


def compared(
    sides: Sequence[Side], asked: Load, rounds: int, model: Path, folder: Path
) -> list[Sequence[object]]:
    """A row of each side: its mean of each metric over all rounds, and that over bare vLLM's."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(METRICS, 0.0))
    for number in range(rounds):
        for side in sides if number % 2 == 0 else sides[::-1]:
            result = load(side, asked, number + 1, model, folder)
            for metric in METRICS:
                found[side.name][metric] += result[metric] / rounds
    rows: list[Sequence[object]] = []
    for side in sides:
        ours, theirs = found[side.name], found[sides[0].name]
        cells = [f"{ours[m]:.1f} ({ours[m] / theirs[m]:.2f})" for m in METRICS]
        rows.append((side.name, asked.prompt, asked.answer, asked.clients, *cells))
    return rows


@contextmanager
def service(given: dict[str, Any], port: int) -> Iterator[tuple[Side, EnginePlan]]:
    """Ours, on a Ray of its own."""
    os.environ |= {
        # Ray's processes find the package there.
        "PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)]),
        # Ray would leave the machine to others first; the other side does not.
        "RAY_worker_niceness": "0",
    }
    with local_ray(2):
        from ray import serve

        settings = parse_settings(ServeSettings, given)
        key = keys.add(open_store(settings), NAME)
        model = look_at(settings)
        plan = plan_engine(settings, model, look_around())
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(application(settings, model, plan), name="chat", route_prefix="/")
        try:
            yield Side("the service", f"http://127.0.0.1:{port}", key), plan
        finally:
            serve.shutdown()


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16], help="at a time")
    options.add_argument("--rounds", type=int, default=2, help="how often each side has its turn")
    options.add_argument("--short", type=int, nargs=2, default=[64, 64], help="prompt and answer")
    options.add_argument("--long", type=int, nargs=2, default=[2048, 32], help="prompt and answer")
    options.add_argument("--port", type=int, default=18400, help="this one and the next are taken")
    options.add_argument("--requests", type=int, default=4, help="of each client")
    given = parse(options)
    with tempfile.TemporaryDirectory(prefix="longspan-benchmark-") as folder:
        model = given.model.resolve()
        settings = {"model": str(model), "name": NAME, "storage": {"root": folder}}
        with (
            service(settings, given.port) as (ours, plan),
            bare(model, plan.arguments, given.port + 1) as theirs,
        ):
            rows = [
                row
                for prompt, answer in (given.short, given.long)
                for clients in given.clients
                for row in compared(
                    (theirs, ours),
                    Load(prompt, answer, clients, max(4, clients * given.requests)),
                    given.rounds,
                    model,
                    Path(folder),
                )
            ]
    header = ("", "prompt", "answer", "clients", "tokens/s", "first token, ms", "between, ms")
    print(table(header, rows))
    print(f"\n{machine()}; in brackets: over vllm serve")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        client()
    else:
        main()
