"""The chat service against bare vLLM: throughput, time to the first token, time between tokens.

Both run at the same time, on the same model with the same engine arguments, and are loaded by turns
with vLLM's own `bench serve` client over the chat endpoint, streaming: the very same prompts to each,
new ones every round, so that the machine's drift treats both alike.
Ours is the whole service: Serve's proxy, API keys and limits, access log, metrics. The prompts are random
words, so that none is in a cache. A second table has the processor time of each part of either side,
which others' work on the machine moves less than it does the clock: what a layer costs.
`--baseline CHECKOUT` adds the service of another checkout (a worktree of an earlier commit) as a third side.
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
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import CHECKOUT
from benchmarks.common import ROOT, local_ray, machine, parse, parser, table
from longspan.config.load import parse as parse_settings
from longspan.config.locations import open_store
from longspan.serve.app import application
from longspan.serve.engine import plan_engine
from longspan.serve.gateway import keys
from longspan.serve.hardware import probe_hardware
from longspan.serve.model import inspect_served_model
from longspan.serve.schema import ServeSettings

NAME = "bench"
START_SECONDS = 300
REST_SECONDS = 30
STARTED = "service started: "
"""Prefix of the line by which a service process reports that it is up."""
METRICS = ("output_throughput", "mean_ttft_ms", "mean_itl_ms")
PARTS = {
    "engine": ("VLLM::",),
    "API server": ("ray::ServeReplica", "vllm.entrypoints"),
    "proxy": ("ray::ProxyActor", "ray::HAProxyManager", "haproxy"),
    "rest of Ray": ("",),
}
"""What the titles of their processes have in them."""


@dataclass(frozen=True)
class Side:
    """Something that answers, and the processes that others of it are below."""

    name: str
    url: str
    roots: Sequence[psutil.Process]
    key: str = ""

    def processor_seconds(self) -> Counter[str]:
        """What each part has used so far."""
        used: Counter[str] = Counter()
        for root in self.roots:
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    part, times = part_of(" ".join(process.cmdline())), process.cpu_times()
                    used[part] += times.user + times.system  # pyrefly: ignore
        return used


@dataclass(frozen=True)
class Served:
    """A running chat service and the engine arguments that it derived."""

    side: Side
    arguments: Mapping[str, Any]


def part_of(title: str) -> str:
    """The part that a process belongs to."""
    return next(part for part, marks in PARTS.items() if any(mark in title for mark in marks))


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
            side = Side("vllm serve", f"http://127.0.0.1:{port}", [psutil.Process(server.pid)])
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


@dataclass
class Found:
    """All rounds of a side under one load: sums of its metrics and of its processor time."""

    side: Side
    metrics: Counter[str] = field(default_factory=Counter)
    processor: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    tokens: int = 0

    def add(self, asked: Load, seed: int, model: Path, folder: Path) -> None:
        """One more round."""
        before, began = self.side.processor_seconds(), time.monotonic()
        result = load(self.side, asked, seed, model, folder)
        self.processor += self.side.processor_seconds() - before
        self.seconds += time.monotonic() - began
        self.metrics.update({metric: result[metric] for metric in METRICS})
        self.tokens += result["total_output_tokens"]


def compared(
    sides: Sequence[Side], asked: Load, rounds: int, model: Path, folder: Path
) -> list[Found]:
    """Each side under one load, by turns."""
    found = [Found(side) for side in sides]
    for number in range(rounds):
        for each in found if number % 2 == 0 else found[::-1]:
            each.add(asked, number + 1, model, folder)
    return found


def speeds(asked: Load, found: Sequence[Found], rounds: int) -> Iterator[Sequence[object]]:
    """A row of each side: its mean of each metric, and that over the first side's."""
    for each in found:
        ratios = [each.metrics[name] / found[0].metrics[name] for name in METRICS]
        means = [each.metrics[name] / rounds for name in METRICS]
        cells = [f"{mean:.1f} ({ratio:.2f})" for mean, ratio in zip(means, ratios, strict=True)]
        yield (each.side.name, asked.prompt, asked.answer, asked.clients, *cells)


def at_rest(sides: Sequence[Side]) -> dict[str, dict[str, float]]:
    """Of each side's parts, the share of a processor that they take when nobody asks."""
    before = {side.name: side.processor_seconds() for side in sides}
    time.sleep(REST_SECONDS)
    shares: dict[str, dict[str, float]] = {}
    for side in sides:
        used = side.processor_seconds() - before[side.name]
        shares[side.name] = {part: used[part] / REST_SECONDS for part in PARTS}
    return shares


def costs(
    asked: Load, found: Sequence[Found], rest: Mapping[str, Mapping[str, float]]
) -> Iterator[Sequence[object]]:
    """A row of each side: milliseconds of a processor that each part takes for a token, rest left out."""
    for each in found:
        used = [each.processor[part] - rest[each.side.name][part] * each.seconds for part in PARTS]
        cells = [f"{max(0.0, seconds) / each.tokens * 1000:.2f}" for seconds in used]
        yield (each.side.name, asked.prompt, asked.answer, asked.clients, *cells)


@contextmanager
def service(name: str, given: dict[str, Any], port: int, checkout: Path) -> Iterator[Served]:
    """The chat service of a checkout, in a process of its own with a Ray of its own."""
    command = [sys.executable, __file__, "--service", json.dumps(given), str(port)]
    environment = os.environ | {
        CHECKOUT: str(checkout),
        # Ray lowers its workers' priority by default; vLLM alone does not.
        "RAY_worker_niceness": "0",
    }
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        try:
            started = next((line for line in process.stdout if line.startswith(STARTED)), None)
            if started is None:
                raise SystemExit(f"{name}: the service did not start; see its output above")
            found = json.loads(started.removeprefix(STARTED))
            assert Path(found["package"]).is_relative_to(checkout), found["package"]
            roots = [psutil.Process(process.pid)]
            side = Side(name, f"http://127.0.0.1:{port}", roots, found["key"])
            yield Served(side, found["arguments"])
        finally:
            process.stdin.close()  # The process shuts down at the end of its input.
            process.wait(timeout=120)


def run_service(given: dict[str, Any], port: int) -> None:
    """Run the service until the end of the input; prints its key and engine arguments once it is up."""
    import longspan

    with local_ray(2):
        from ray import serve

        settings = parse_settings(ServeSettings, given)
        key = keys.add(open_store(settings), NAME, keys.KeyLimits())
        model = inspect_served_model(settings)
        plan = plan_engine(settings, model, probe_hardware(settings.pool))
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(application(settings, model, plan), name="chat", route_prefix="/")
        found = {"key": key, "arguments": plan.arguments, "package": longspan.__file__}
        print(f"{STARTED}{json.dumps(found)}", flush=True)
        sys.stdin.read()
        serve.shutdown()


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16], help="at a time")
    options.add_argument("--rounds", type=int, default=2, help="how often each side has its turn")
    options.add_argument("--short", type=int, nargs=2, default=[64, 64], help="prompt and answer")
    options.add_argument("--long", type=int, nargs=2, default=[2048, 32], help="prompt and answer")
    options.add_argument(
        "--port", type=int, default=18400, help="this one and the next two are used"
    )
    options.add_argument("--requests", type=int, default=4, help="of each client")
    options.add_argument(
        "--baseline", type=Path, help="another checkout, whose service is measured as a third side"
    )
    given = parse(options)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="longspan-benchmark-"))
        model = given.model.resolve()

        def served(name: str, port: int, checkout: Path) -> Served:
            root = Path(folder, name)
            settings = {"model": str(model), "name": NAME, "storage": {"root": str(root)}}
            return stack.enter_context(service(name, settings, port, checkout))

        ours = served("the service", given.port, ROOT)
        theirs = stack.enter_context(bare(model, ours.arguments, given.port + 1))
        sides = [theirs, ours.side]
        if given.baseline:
            sides.append(served("its baseline", given.port + 2, given.baseline.resolve()).side)
        rest = at_rest(sides)
        speed, cost = [], []
        for prompt, answer in (given.short, given.long):
            for clients in given.clients:
                asked = Load(prompt, answer, clients, max(4, clients * given.requests))
                found = compared(sides, asked, given.rounds, model, Path(folder))
                speed += speeds(asked, found, given.rounds)
                cost += costs(asked, found, rest)
    header = ("", "prompt", "answer", "clients")
    print(table((*header, "tokens/s", "first token, ms", "between, ms"), speed))
    print("\nProcessor time, ms a token:\n")
    print(table((*header, *PARTS), cost))
    for name, parts in rest.items():
        print(
            f"\nAt rest {name} takes {sum(parts.values()):.2f} of a processor, which is left out."
        )
    print(f"\n{machine()}; in brackets: over vllm serve")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        client()
    elif sys.argv[1:2] == ["--service"]:
        run_service(json.loads(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
