"""What a device can do at best, by its name, and whether it computes in bfloat16.

Peaks are dense (no structured sparsity), in TFLOP/s, for one device as the driver lists it. Source:
the vendors' data sheets as of November 2026 (NVIDIA prints figures with sparsity, which are twice
these); bf16 with fp32 accumulation, fp32 without tensor cores (PyTorch's default), for AMD the
fp32 matrix rate. A card that isn't listed has no known peak: utilisation is then left out, never
guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Peak:
    """Dense peaks of one device, in TFLOP/s."""

    bf16: float | None
    """None: no native bfloat16."""
    fp32: float


@dataclass(frozen=True)
class Bf16Support:
    """Whether a device computes in bfloat16, and how that is known."""

    supported: bool
    reason: str


# Words of the device's name -> (bf16, fp32). The first entry whose words all occur in the name is
# taken, so a variant stands before the card that it is a variant of.
_PEAKS: tuple[tuple[str, float | None, float], ...] = (
    ("gb200", 2500.0, 80.0),
    ("b200", 2250.0, 75.0),
    ("gh200", 989.5, 67.0),
    ("h200 nvl", 835.5, 60.0),
    ("h200", 989.5, 67.0),
    ("h100 nvl", 835.5, 60.0),
    ("h100 pcie", 756.5, 51.0),
    ("h100", 989.5, 67.0),
    ("h800", 989.5, 67.0),
    ("h20", 148.0, 44.0),
    ("a100", 312.0, 19.5),
    ("a800", 312.0, 19.5),
    ("a40", 149.7, 37.4),
    ("a30", 165.0, 10.3),
    ("a10g", 70.0, 35.0),
    ("a10", 125.0, 31.2),
    ("l40s", 362.0, 91.6),
    ("l40", 181.0, 90.5),
    ("l4", 121.0, 30.3),
    ("rtx a6000", 154.8, 38.7),
    ("rtx 4090", 165.2, 82.6),
    ("rtx 3090", 71.0, 35.6),
    ("v100", None, 15.7),
    ("t4", None, 8.1),
    ("mi355x", 2500.0, 157.3),
    ("mi325x", 1307.4, 163.4),
    ("mi300x", 1307.4, 163.4),
    # Two dies on one card, each a device of its own: half of the card's data sheet.
    ("mi250x", 191.5, 47.9),
)

# A slice of a card (MIG), and two names of slower cards that contain a faster one's.
_NOT_THE_WHOLE_CARD = frozenset({"mig", "laptop", "d"})

# /proc/cpuinfo flags of units that multiply bfloat16 (x86: AVX512-BF16, AMX; Arm: BF16, SVE BF16).
# Without them PyTorch falls back to code that was measured 25 times slower than fp32.
_CPU_BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16", "svebf16")


def peak(device: str) -> Peak | None:
    """Peaks of a GPU by its name (``torch.cuda.get_device_name()``), or None where unknown.

    CPUs, laptop cards and slices of a card (MIG) have none here.
    """
    words = _words(device)
    if words & _NOT_THE_WHOLE_CARD:
        return None
    for name, bf16, fp32 in _PEAKS:
        if words.issuperset(name.split()):
            return Peak(bf16, fp32)
    return None


def peak_tflops(device: str, precision: str) -> float | None:
    """Dense peak in TFLOP/s at ``precision`` ("bf16" or "fp32"), or None where unknown."""
    assert precision in ("bf16", "fp32"), f"no peaks for {precision=}"
    found = peak(device)
    if found is None:
        return None
    return found.bf16 if precision == "bf16" else found.fp32


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction-set flags of this machine's CPU; empty where the system doesn't tell."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return frozenset()
    # "flags" on x86, "Features" on Arm; the same line for every core, so the first will do.
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found.group(1).split()) if found else frozenset()


def bf16_support(device: str, flags: frozenset[str] | None = None) -> Bf16Support:
    """Whether ``device`` ("cpu", or a GPU's name) computes in bfloat16 natively, and why.

    ``flags`` are the CPU's, for a CPU other than this machine's. A GPU that isn't listed is taken
    to have it, as every data-centre card since 2020 has.
    """
    if device.lower() == "cpu":
        return _cpu_bf16_support(cpu_flags() if flags is None else flags)
    known = peak(device)
    if known is None:
        return Bf16Support(True, f"{device} is not listed; cards since 2020 compute in bf16")
    if known.bf16 is None:
        return Bf16Support(False, f"{device} has no bf16 units")
    return Bf16Support(True, f"{device} computes in bf16 at up to {known.bf16:g} TFLOP/s")


def supports_bf16(device: str, flags: frozenset[str] | None = None) -> bool:
    """The verdict of :func:`bf16_support` alone."""
    return bf16_support(device, flags).supported


def _cpu_bf16_support(flags: frozenset[str]) -> Bf16Support:
    found = [flag for flag in _CPU_BF16_FLAGS if flag in flags]
    if found:
        return Bf16Support(True, f"this CPU has {found[0]}")
    return Bf16Support(False, "this CPU has neither avx512_bf16 nor amx_bf16: fp32 is far faster")


def _words(device: str) -> frozenset[str]:
    # Whole words, so that "A10" is not found in "A100" nor "L4" in "L40S".
    return frozenset(re.split(r"[^a-z0-9]+", device.lower()))
