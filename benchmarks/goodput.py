"""Goodput: what a run keeps of its work when nodes are taken away and workers are killed.

Every arm trains the same model for the same number of updates on a cluster of its own: a head
without CPUs and two nodes of one CPU, all on this machine. Faults come at fixed times after the
first update. Ours beside plain Ray Train with DeepSpeed's checkpoints (benchmarks/plain.py).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, machine, table
from benchmarks.counted import FILE, counted
from benchmarks.faults import Running, Schedule
from benchmarks.restarts import (
    PHASES,
    Records,
    Restart,
    checkpoint_after,
    controllers_log,
    phases,
    restarts,
    updates_in,
)
from tests.jobs.project import Project
from tests.nodes import Cluster
from tests.tiny import VOCABULARY, make_tiny_model

WORKERS = 2
ARMS = tuple(
    f"{side}-{what}" for side in ("ours", "plain") for what in ("nothing", "notices", "kills")
)
NAMES = {"ours": "ours", "plain": "plain Ray Train"}
FAULTS = {"nothing": "no faults", "notices": "notices", "kills": "kills"}


@dataclass(frozen=True)
class Arm:
    """What was measured of one arm."""

    name: str
    records: Records
    happened: list[float]
    """When faults were."""
    log: list[tuple[float, str]]

    @property
    def faults(self) -> list[float]:
        """Those before the last update."""
        last = updates_in(self.records)[-1]["time"]
        return [fault for fault in self.happened if fault < last]

    @cached_property
    def restarts(self) -> list[Restart]:
        """Every start after the first."""
        return restarts(self.records, self.faults)

    @property
    def label(self) -> str:
        """For a table."""
        side, what = self.name.split("-")
        return f"{NAMES[side]}, {FAULTS[what]}"

    @property
    def seconds(self) -> float:
        """From the first start, with the model loaded, to the last update."""
        return updates_in(self.records)[-1]["time"] - self.records[0]["time"]


def make_model(folder: Path, hidden: int, layers: int) -> Path:
    """The tests' tiny model, made larger: an update is to take a good part of a second."""
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tiny_model(folder, tied=False)
    config = LlamaConfig.from_pretrained(folder)
    config.update({"hidden_size": hidden, "intermediate_size": 3 * hidden})
    config.update({"num_hidden_layers": layers, "num_attention_heads": hidden // 32})
    config.update({"num_key_value_heads": hidden // 32, "initializer_range": 0.02})
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def command(arm: str, project: Project, asked: argparse.Namespace) -> tuple[list[str], Path]:
    """The driver of an arm, and where its updates are counted."""
    side = arm.split("-")[0]
    counter = project.folder / "store" / "runs" / arm / FILE
    if side == "ours":
        overrides = [
            f"name={arm}",
            f"lengths={asked.length}",
            f"training.tokens={asked.length * asked.rows * asked.updates}",
            f"training.tokens_per_update={asked.length * asked.rows}",
            f"training.micro_batch={asked.rows // WORKERS}",
            f"training.checkpoint_every={asked.checkpoint_every}",
            "training.zero_stage=1",
            f"heldout.every={asked.updates}",
            f"workers={{min: 1, max: {WORKERS}}}",
            f"workers.grow_after_s={asked.grow_after_s}",
        ]
        return ["benchmarks/counted.py", str(project.recipe), *overrides], counter
    settings = {
        "name": arm,
        "model": str(project.model),
        "storage": str(project.folder / "plain"),
        "counter": str(counter),
        "workers": WORKERS,
        "vocabulary": VOCABULARY,
        **{key: getattr(asked, key) for key in ("updates", "length", "rows", "checkpoint_every")},
    }
    file = project.folder / f"{arm}.json"
    file.write_text(json.dumps(settings))
    return ["benchmarks/plain.py", str(file)], counter


def measure(arm: str, project: Project, asked: argparse.Namespace) -> Arm:
    """One run on a cluster of its own."""
    report(f"{arm}: begins")
    what = arm.split("-")[1]
    every = asked.notice_every if what == "notices" else asked.kill_every
    schedule = Schedule(every, asked.deadline, asked.away, lambda line: report(f"{arm}: {line}"))
    cluster = Cluster()
    run = None
    try:
        for name in ("a", "b"):
            cluster.add(name)
        (script, *arguments), counter = command(arm, project, asked)
        started = [sys.executable, "-u", str(ROOT / script), *arguments]
        run = Running(started, cluster, counter, project.folder / f"{arm}.log")
        getattr(schedule, what)(cluster, run)
        run.ended()
        log = controllers_log(Path(cluster.folder) / "session_latest")
    finally:
        if run:
            run.close()
        cluster.close()
    records = counted(counter)
    report(f"{arm}: {len(updates_in(records))} updates done for {asked.updates}")
    if asked.keep:
        asked.keep.mkdir(parents=True, exist_ok=True)
        kept = {"records": records, "happened": schedule.faults, "log": log}
        (asked.keep / f"{arm}.json").write_text(json.dumps(kept))
    return Arm(arm, records, schedule.faults, log)


def measured(arm: str, project: Project, asked: argparse.Namespace) -> Arm:
    """The same, or what is kept of it."""
    kept = asked.keep and asked.keep / f"{arm}.json"
    if kept and kept.exists():
        return Arm(arm, **json.loads(kept.read_text()))
    return measure(arm, project, asked)


def spread(values: Sequence[float]) -> str:
    """Median and maximum."""
    return f"{median(values):.1f}, {max(values):.1f}" if values else ""


def goodput_row(arm: Arm, updates: int, undisturbed: float | None) -> list[str]:
    """A line of the first table; `undisturbed`: the updates a second of the arm without faults."""
    done = len(updates_in(arm.records))
    wasted = [restart.wasted for restart in arm.restarts]
    caused = [restart for restart in arm.restarts if restart.fault]
    saved = [checkpoint_after(arm.records, fault) for fault in arm.faults]
    rate = updates / arm.seconds
    return [
        arm.label,
        str(len(arm.faults)),
        str(len(arm.restarts)),
        str(done - updates),
        str(max(wasted, default=0)),
        f"{updates / done:.3f}",
        f"{sum(restart.worker_seconds for restart in arm.restarts):.1f}",
        spread([restart.standstill for restart in caused]),
        spread([seconds for seconds in saved if seconds]),
        f"{arm.seconds:.0f}",
        f"{rate:.3f}",
        f"{rate / undisturbed:.2f}" if undisturbed else "",
    ]


GOODPUT = (
    "arm",
    "faults",
    "restarts",
    "updates wasted",
    "at most at once",
    "share kept",
    "worker-seconds wasted",
    "fault to next update, s",
    "fault to next checkpoint, s",
    "seconds",
    "updates/s",
    "goodput",
)


def phase_rows(arm: Arm) -> list[list[str]]:
    """Lines of the second table: restarts after faults, and those for more workers."""
    kinds = {
        FAULTS[arm.name.split("-")[1]]: [r for r in arm.restarts if r.fault],
        "room for more": [r for r in arm.restarts if not r.fault],
    }
    rows = []
    for kind, found in kinds.items():
        told = [seconds for restart in found if (seconds := phases(restart, arm.log))]
        if told:
            medians = [f"{median(column):.1f}" for column in zip(*told, strict=True)]
            whole = median([sum(seconds) for seconds in told])
            label = f"{NAMES[arm.name.split('-')[0]]}, {kind}"
            rows.append([label, str(len(told)), *medians, f"{whole:.1f}"])
    return rows


def show(arms: Sequence[Arm], asked: argparse.Namespace) -> None:
    """Both tables."""
    undisturbed = {
        arm.name.split("-")[0]: asked.updates / arm.seconds
        for arm in arms
        if arm.name.endswith("-nothing")
    }
    rows = [
        goodput_row(arm, asked.updates, undisturbed.get(arm.name.split("-")[0])) for arm in arms
    ]
    print(table(GOODPUT, rows))
    print(
        "\n"
        + table(("restart", "number", *PHASES, "whole"), [r for a in arms for r in phase_rows(a)])
    )
    steps = [r["step_seconds"] for arm in arms for r in updates_in(arm.records)]
    print(
        f"\n{asked.updates} updates of {asked.rows} rows of {asked.length} tokens, {WORKERS} workers of one "
        f"thread, median step {median(steps):.2f} s, a checkpoint every {asked.checkpoint_every}; a kill every "
        f"{asked.kill_every:g} s; a notice every {asked.notice_every:g} s, the node gone after "
        f"{asked.deadline} s and replaced {asked.away:g} s later; two numbers: median, maximum; {machine()}"
    )


def report(line: str) -> None:
    """Progress, apart from the tables."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    options.add_argument("--updates", type=int, default=260)
    options.add_argument("--checkpoint-every", type=int, default=20)
    options.add_argument("--length", type=int, default=256, help="tokens of a row")
    options.add_argument("--rows", type=int, default=12, help="of an update")
    options.add_argument("--hidden", type=int, default=256, help="size of the model")
    options.add_argument("--layers", type=int, default=4, help="of the model")
    options.add_argument("--kill-every", type=float, default=60.0, help="seconds")
    options.add_argument("--notice-every", type=float, default=90.0, help="seconds")
    options.add_argument("--deadline", type=int, default=30, help="seconds after a notice")
    options.add_argument("--away", type=float, default=10.0, help="seconds until a new node")
    options.add_argument("--grow-after-s", type=float, default=20.0, help="workers.grow_after_s")
    options.add_argument(
        "--keep",
        type=Path,
        help="folder of what was measured; not run again if there",
    )
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="longspan-benchmark-") as folder:
        model = make_model(Path(folder) / "base", asked.hidden, asked.layers)
        project = Project(Path(folder), model, "")
        show([measured(arm, project, asked) for arm in asked.arms], asked)


if __name__ == "__main__":
    main()
