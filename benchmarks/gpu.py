"""Attention, kernels and layers of an 8B-shaped model on one GPU: errors, times, and memory against the plan.

Ray is not needed, and DeepSpeed only for the cost of accumulating gradients in fp32. What is missing on the machine is
listed with the reason. On a CPU all parts run with a tiny model: that shows that they work, and no speed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# As workers of runs have it.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import torch

from benchmarks import ROOT
from benchmarks.gpu_kernels import (
    compare_attention,
    compare_kernels,
    fastest_attention,
    usable_kernels,
)
from benchmarks.gpu_layers import measure_accumulation, measure_layers
from benchmarks.gpu_shapes import TINY, Place, Section, Shape
from benchmarks.tables import machine, table

LENGTHS = {"cuda": [2**15, 2**16, 2**17, 2**18, 2**19], "cpu": [256]}
ATTENTION_LENGTH = {"cuda": 2**14, "cpu": 128}
KERNEL_TOKENS = {"cuda": 2**15, "cpu": 128}
ACCUMULATION_LENGTH = {"cuda": 2**14, "cpu": 64}
PACKAGES = ("torch", "triton", "transformers", "deepspeed", "liger-kernel", "flash-attn")
EXAMPLES = """
examples:
  python benchmarks/gpu.py
  python benchmarks/gpu.py --lengths 32768 131072 --layers 4 --output results.json
  python benchmarks/gpu.py --device cpu
"""


def sections(asked: argparse.Namespace, began: float) -> Iterator[Section]:
    """The parts, one after another."""
    kind = asked.device
    place = Place(
        torch.device(kind, 0) if kind == "cuda" else torch.device(kind),
        torch.bfloat16 if kind == "cuda" else torch.float32,
        asked.repeats,
    )
    shape = replace(Shape() if kind == "cuda" else TINY, layers=asked.layers)

    def has_time() -> bool:
        return time.monotonic() - began < asked.seconds

    yield (attention := compare_attention(shape, place, ATTENTION_LENGTH[kind]))
    yield (kernels := compare_kernels(shape, place, KERNEL_TOKENS[kind]))
    fastest = fastest_attention(attention)
    yield measure_accumulation(shape, place, ACCUMULATION_LENGTH[kind], fastest)
    lengths = sorted(asked.lengths or LENGTHS[kind])
    yield measure_layers(shape, place, lengths, fastest, usable_kernels(kernels), has_time)


def text_of(section: Section) -> str:
    """A section as it is printed."""
    rows = [[_cell(key, row.get(key)) for key in section.columns] for row in section.rows]
    parts = [f"## {section.title}", table(list(section.columns.values()), rows) if rows else ""]
    parts += ["\n".join(f"- not measured: {name}: {reason}" for name, reason in section.missing)]
    return "\n\n".join([part for part in (*parts, section.note) if part])


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    if key in ("output", "gradients", "error"):
        return f"{value:.1e}"
    if key == "mfu":
        return f"{value:.1%}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def facts_of_machine(device: str) -> dict[str, Any]:
    """The device, and the versions of what computes on it."""
    name = torch.cuda.get_device_name(0) if device == "cuda" else "CPU"
    return {"device": name, "versions": {package: _version(package) for package in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


class _Format(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Examples as they are, and default values."""


def chosen(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=_Format)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options.add_argument("--device", choices=["cuda", "cpu"], default=device, help="to compute on")
    options.add_argument(
        "--lengths", type=int, nargs="+", help="tokens of rows (default: 32,768 to 524,288)"
    )
    options.add_argument("--layers", type=int, default=2, help="decoder layers")
    options.add_argument("--repeats", type=int, default=3, help="timed calls, of which the median")
    options.add_argument(
        "--seconds", type=float, default=420, help="after which no further row length is begun"
    )
    options.add_argument(
        "--output", type=Path, default=ROOT / ".longspan" / "gpu.json", help="JSON of the results"
    )
    asked = options.parse_args(arguments)
    if asked.device == "cuda" and not torch.cuda.is_available():
        options.error("--device cuda: torch finds no GPU; --device cpu tries the parts")
    if min(asked.layers, asked.repeats, *(asked.lengths or [8])) < 1:
        options.error("--layers, --repeats and --lengths: at least 1")
    return asked


def main(arguments: Sequence[str]) -> None:
    """Measure, print, and write the results."""
    asked, began = chosen(arguments), time.monotonic()
    facts = facts_of_machine(asked.device)
    versions = ", ".join(f"{name} {version or '-'}" for name, version in facts["versions"].items())
    print(f"{facts['device']}; {versions}; {machine()}", flush=True)
    found = []
    for section in sections(asked, began):
        print(f"\n{text_of(section)}", flush=True)
        found.append(asdict(section))
    seconds = time.monotonic() - began
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(json.dumps({**facts, "seconds": seconds, "sections": found}, indent=1))
    print(f"\n{seconds:.0f} s; results: {asked.output}")


if __name__ == "__main__":
    main(sys.argv[1:])
