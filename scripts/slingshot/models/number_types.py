"""Which number type a model runs in: what the config says, or what this machine is fast at. Imports no torch."""

from __future__ import annotations

from slingshot.config.base import Dtype, NumberType
from slingshot.core.environment import processor_flags

# Instructions that multiply numbers of a type: x86 with AVX-512 or AMX, Arm.
_INSTRUCTIONS: dict[NumberType, set[str]] = {
    "bfloat16": {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"},
    "float16": {"avx512_fp16", "amx_fp16", "asimdhp"},
}


def number_type(dtype: Dtype, device: str) -> NumberType:
    """The type to load a model in; for `auto` bfloat16, or float32 on a processor that would emulate bfloat16.

    Emulation is many times slower: a training step of the demo's network takes 3 times as long with AVX-512 alone, and
    far longer with AVX2 alone.
    """
    if dtype != "auto":
        return dtype
    return "bfloat16" if device != "cpu" or processor_multiplies("bfloat16") else "float32"


def processor_multiplies(kind: NumberType) -> bool:
    """Whether this machine's processor has instructions for products of the type."""
    return kind == "float32" or bool(_INSTRUCTIONS[kind] & processor_flags())
