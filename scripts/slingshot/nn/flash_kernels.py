"""Flash attention over sequences of unequal length: torch.nn.attention.varlen, by the fastest kernels it has."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from slingshot.nn.kernel_support import has_kernels

PACKAGE = "flash-attn-4"

_KERNELS = "flash_attn.cute.interface"

_COMPUTE_CAPABILITIES = (9, 10)  # cards that flash-attn-4 has kernels for

_HALF = (torch.bfloat16, torch.float16)

varlen_attn: Any = None

_varlen: Any = None

with suppress(ImportError):
    _varlen = import_module("torch.nn.attention.varlen")
    if "scale" in signature(_varlen.varlen_attn).parameters:  # from torch 2.11 on
        varlen_attn = _varlen.varlen_attn

# Torch 2.11, the oldest that this runs on, shares key-value heads by itself and takes no number of keys in use.
_ACCEPTED = set(signature(varlen_attn).parameters) if varlen_attn is not None else set()


def takes(query: Tensor, softcap: float | None = None) -> bool:
    """Whether flash attention computes this: half precision on a GPU that has it, heads of up to 256, scores as they
    are."""
    half = query.dtype in _HALF and varlen_attn is not None
    return has_kernels(query.device) and half and softcap is None and query.shape[-1] <= 256


def flash_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ends: Tensor,
    longest: int,
    scale: float,
    window: int | None = None,
) -> Tensor:
    """Causal attention within packed sequences; has a gradient and compiles. Arguments and result are those of
    `packed_attention.packed_attention`."""
    shared = {"enable_gqa": query.shape[1] != key.shape[1]} if "enable_gqa" in _ACCEPTED else {}
    window_size = (-1 if window is None else window - 1, 0)
    out: Tensor = varlen_attn(
        query, key, value, ends, ends, longest, longest, scale=scale, window_size=window_size, **shared
    )
    return out


def flash_over_cache(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    query_ends: Tensor,
    key_starts: Tensor,
    key_lengths: Tensor,
    longest_query: int,
    longest_key: int,
    scale: float,
    causal: bool,
    window: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention of new tokens over rows of a cache; queries count as the last of their sequence's keys.

    Args:
        query: (tokens, heads, head size), sequence i's at `query_ends[i] : query_ends[i + 1]`.
        keys, values: (rows, key-value heads, head size), sequence i's from `key_starts[i]` on, `key_lengths[i]` rows.
        causal: a query sees no later key; without it all of its sequence's.

    Returns: output (tokens, heads, head size) and the logarithm of the normalizer (heads, tokens).
    """
    left, right = (-1, 0 if causal else -1) if window is None else (window - 1, 0)
    if "seqused_k" not in _ACCEPTED:
        out, lse, *_ = torch.ops.aten._flash_attention_forward(
            *(query, keys, values, query_ends, key_starts, longest_query, longest_key, 0.0, causal, False),
            scale=scale,
            window_size_left=None if window is None else left,
            window_size_right=None if window is None else right,
            seqused_k=key_lengths,
        )
        return out, lse
    out, lse = varlen_attn(
        *(query, keys, values, query_ends, key_starts, longest_query, longest_key),
        return_aux=_varlen.AuxRequest(lse=True),
        scale=scale,
        window_size=(left, right),
        enable_gqa=query.shape[1] != keys.shape[1],
        seqused_k=key_lengths,
    )
    return out, lse


def activate_fastest_kernels(device: torch.device) -> list[str]:
    """Let torch run flash attention by the package flash-attn-4 where both have it; returns notes for the record.

    Torch's registry takes releases of the package that it cannot call, and torch 2.11 refuses its gradient only when
    it is asked for (docs/finetuning.md), so a few tokens go forward and backward first.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] not in _COMPUTE_CAPABILITIES:
        return []
    if not _is_installed():
        return []
    activate = getattr(torch.nn.attention, "activate_flash_attention_impl", None)
    if activate is None:
        return [f"attention without {PACKAGE}, which is installed: torch {torch.__version__} cannot use it"]
    try:
        activate("FA4")
        _attend_once(device)
    except Exception as error:  # a young package may fail in any way
        restore_own_kernels()
        return [f"attention without {PACKAGE}, which is installed: {type(error).__name__}: {str(error)[:200]}"]
    return [f"attention by {PACKAGE}"]


@torch.enable_grad()
def _attend_once(device: torch.device) -> None:
    """Forward and backward pass of a few tokens; raises what the kernels raise."""
    query, key, value = (
        torch.zeros(16, heads, 128, dtype=torch.bfloat16, device=device, requires_grad=True) for heads in (2, 1, 1)
    )
    ends = torch.tensor([0, 16], dtype=torch.int32, device=device)
    flash_attention(query, key, value, ends, longest=16, scale=0.1).sum().backward()


def restore_own_kernels() -> bool:
    """Undo `activate_fastest_kernels`; whether there was something to undo."""
    current = getattr(torch.nn.attention, "current_flash_attention_impl", None)
    if current is None or current() is None:
        return False
    torch.nn.attention.restore_flash_attention_impl()
    return True


def _is_installed() -> bool:
    try:
        return find_spec(_KERNELS) is not None
    except ImportError:
        return False
