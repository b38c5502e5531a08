"""Which number type a model runs in: what the config says, or what this machine is fast at. Imports no torch."""

from __future__ import annotations

import os

from slingshot.config.base import Dtype, NumberType
from slingshot.core.environment import processor_flags
from slingshot.core.errors import StudyError
from slingshot.core.gpus import devices_allowed

# Instructions that multiply numbers of a type: x86 with AVX-512 or AMX, Arm.
_INSTRUCTIONS: dict[NumberType, set[str]] = {
    "bfloat16": {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"},
    "float16": {"avx512_fp16", "amx_fp16", "asimdhp"},
}

# NVIDIA's cards multiply bfloat16 from Ampere on; earlier ones emulate it.
_BFLOAT16_CAPABILITY = (8, 0)


def number_type(dtype: Dtype, device: str, trained: bool = False) -> NumberType:
    """The type to load a model in; for `auto` bfloat16 where the device multiplies it.

    Where it would be emulated, which is many times slower: float32 on a processor (a training step of the demo's
    network takes 3 times as long in bfloat16 with AVX-512 alone, and far longer with AVX2 alone), float16 on a GPU, or
    float32 where the model is trained, as small gradients are lost in float16.
    """
    if dtype != "auto":
        return dtype
    if multiplies("bfloat16", device):
        return "bfloat16"
    return "float32" if device == "cpu" or trained else "float16"


def multiplies(kind: NumberType, device: str) -> bool:
    """Whether this machine's processor, or each of the GPUs that this process may use, has instructions for products of
    the type. A GPU that is not there is held for a newer one: what needs it says that it is missing."""
    if kind == "float32":
        return True
    if device == "cpu":
        return bool(_INSTRUCTIONS[kind] & processor_flags())
    return kind == "float16" or all(capability >= _BFLOAT16_CAPABILITY for capability in _capabilities())


def _capabilities() -> list[tuple[int, int]]:
    try:
        return [device.capability for device in devices_allowed(os.environ.get("CUDA_VISIBLE_DEVICES"))]
    except StudyError:
        return []
