"""Devices, their driver, and the attention implementation that a run would use."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from longspan.cli.checks.finding import Finding
from longspan.errors import UserError

LONG_ROW = 32_768
"""Tokens of the row for which the attention implementation is chosen: a usual target of an extension."""
TIMEOUT_S = 30


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver lists it."""

    name: str
    memory_mib: int
    driver: str


def check_devices() -> Iterator[Finding]:
    """Check GPUs and that torch can use them; without a GPU, the CPU."""
    from longspan.plan.device import this_machines_device
    from longspan.plan.hardware import bf16_support

    gpus = installed_gpus()
    if not gpus:
        device = this_machines_device(0)
        memory = f"{device.memory / 2**30:.0f} GiB"
        yield Finding(
            "ok",
            "devices",
            f"no GPU; {device.name}, {memory} of memory, {bf16_support('cpu').reason}",
        )
        return
    kinds = Counter((gpu.name, gpu.memory_mib) for gpu in gpus)
    listed = ", ".join(
        f"{count} x {name} of {mib / 1024:.0f} GiB" for (name, mib), count in kinds.items()
    )
    yield Finding("ok", "devices", f"{listed}; driver {gpus[0].driver}")
    yield from _check_torch(len(gpus))


def installed_gpus() -> list[Gpu]:
    """Return the GPUs that NVIDIA's driver lists; none where it is not installed.

    Raises:
        UserError: the driver is installed and does not answer.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(
            f"nvidia-smi does not answer ({error}); reboot, or reinstall the driver"
        ) from None
    if done.returncode:
        said = (done.stdout or done.stderr).strip().partition("\n")[0]
        raise UserError(f"nvidia-smi fails ({said}); reboot, or reinstall the driver")
    rows = [line.split(", ") for line in done.stdout.strip().splitlines()]
    return [Gpu(name, int(memory), driver) for name, memory, driver in rows]


def _check_torch(num_gpus: int) -> Iterator[Finding]:
    import torch

    if torch.version.cuda is None:
        yield Finding(
            "error",
            "driver",
            f"torch {torch.__version__} is built without CUDA and cannot use the GPUs",
            "install a CUDA build: pip install 'longspan[gpu]'",
        )
    elif not torch.cuda.is_available():
        yield Finding(
            "error",
            "driver",
            f"torch {torch.__version__} for CUDA {torch.version.cuda} finds no GPU that it can use",
            "update the driver to one for this CUDA version, and check CUDA_VISIBLE_DEVICES",
        )
    elif torch.cuda.device_count() < num_gpus:
        yield Finding(
            "warning",
            "driver",
            f"torch sees {torch.cuda.device_count()} of {num_gpus} GPUs",
            "check CUDA_VISIBLE_DEVICES",
        )
    else:
        yield Finding("ok", "driver", f"torch {torch.__version__} for CUDA {torch.version.cuda}")


def check_attention() -> Iterator[Finding]:
    """Check which attention implementation a run would use for long rows."""
    import torch

    from longspan.model.attention import FLASH, Conditions, choose

    precision = "bf16" if torch.cuda.is_available() else "fp32"
    choice = choose("auto", Conditions.of_process(precision, LONG_ROW))
    text = f"{choice.implementation} for rows of {LONG_ROW:,} tokens ({choice.reason})"
    if torch.cuda.is_available() and choice.implementation not in FLASH:
        yield Finding("warning", "attention", text, "FlashAttention: tools/install.sh flash-attn")
    else:
        yield Finding("ok", "attention", text)
