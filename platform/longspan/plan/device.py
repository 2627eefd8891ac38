"""Device of a worker: this machine's, the cluster's, or the one assumed for a plan."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from longspan.plan.hardware import supports_bf16


@dataclass(frozen=True)
class Device:
    """What one worker computes on."""

    kind: Literal["cuda", "cpu"]
    name: str
    memory: int
    """Bytes."""
    bf16: bool
    assumed: bool = False
    """Not seen, only planned for."""
    per_node: int = 1
    """Devices of a node."""
    node_memory: int | None = None
    """Host memory of a node, in bytes; None: unknown."""


def this_machines_device(gpus_per_worker: float | None = None) -> Device:
    """This machine's GPU or CPU; where a recipe asks for GPUs and there is none, an H100 is assumed."""
    gpu = None if gpus_per_worker == 0 else _gpu()
    if gpu is not None:
        return gpu
    if gpus_per_worker:
        name = "NVIDIA H100 80GB HBM3"
        return Device("cuda", name, 80 * 2**30, bf16=True, assumed=True, per_node=8)
    memory = _host_memory()
    return Device("cpu", _cpu_name(), memory, supports_bf16("cpu"), node_memory=memory)


def _gpu() -> Device | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    found = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    devices = found.stdout.strip().splitlines()
    if found.returncode or not devices:
        return None
    name, _, mebibytes = devices[0].rpartition(", ")
    memory, node = int(mebibytes) * 2**20, _host_memory()
    return Device(
        "cuda", name, memory, supports_bf16(name), per_node=len(devices), node_memory=node
    )


def _host_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    text = cpuinfo.read_text(errors="replace") if cpuinfo.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return f"CPU ({found.group(1).strip()})" if found else "CPU"
