"""Compares Liger Kernel's Triton kernels with eager modules, on a CPU, in Triton's interpreter.

A process of its own, started with TRITON_INTERPRET=1: Triton reads the variable when kernels are defined.
"""

import liger_kernel.ops.rms_norm as liger_norm  # pyrefly: ignore
import numpy as np
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter

from longspan.model.kernel_checks import require_like_eager
from longspan.model.kernel_functions import liger_kernels
from tests.model.test_kernels import CPU, model_of


def _with_floats(convert):
    """What a compiled kernel does with arguments that are Python's floats, and the interpreter does not."""

    def converted(arg):
        if not isinstance(arg, float):
            return convert(arg)
        handle = interpreter.TensorHandle(np.array([arg], dtype=np.float32), tl.float32)
        return tl.tensor(handle, tl.float32)

    return converted


@triton.jit
def _rsqrt(x):
    return 1.0 / tl.sqrt(x)


if __name__ == "__main__":
    interpreter._implicit_cvt = _with_floats(interpreter._implicit_cvt)
    # The interpreter returns None for functions of CUDA's device library.
    liger_norm.rsqrt = _rsqrt
    for family in ("llama", "qwen3"):
        print(require_like_eager(liger_kernels(), model_of(family), CPU, torch.float32))
