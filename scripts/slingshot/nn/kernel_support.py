"""Which GPUs have the kernels that stand in for a network's own functions: torch's flash attention and Triton's."""

from __future__ import annotations

from functools import cache

import torch

_LEAST_CAPABILITY = (
    8,
    0,
)  # Ampere: https://github.com/Dao-AILab/flash-attention, https://github.com/triton-lang/triton


def has_kernels(device: torch.device) -> bool:
    """Whether a device is a GPU of compute capability 8.0 or higher; others compute by torch's own functions.

    While torch compiles it is: nothing is compiled for another (training/fused_layers.py).
    """
    return device.type == "cuda" and (torch.compiler.is_compiling() or _is_recent(device))


@cache
def _is_recent(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= _LEAST_CAPABILITY
