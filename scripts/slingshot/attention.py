"""Attention over packed sequences: many of unequal length laid end to end, none sees another.

transformers' models call the function registered here once `use_packed_attention` has been applied to them. The
sequences' bounds travel as keyword arguments of the model's forward, under the names that transformers gives them:
`model(input_ids, position_ids=..., **bounds(lengths, device))`. No mask tensor exists anywhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

NAME = "slingshot_packed"

varlen_attn: Any = None
_VARLEN: set[str] = set()
with suppress(ImportError):  # before torch 2.10
    varlen_attn = import_module("torch.nn.attention.varlen").varlen_attn
    _VARLEN = set(inspect.signature(varlen_attn).parameters)


def bounds(lengths: Sequence[int], device: torch.device | str, longest: int | None = None) -> dict[str, Any]:
    """The keyword arguments that tell packed attention where sequences begin and end.

    Args:
        lengths: tokens of each sequence, in the order in which they are laid end to end.
        longest: an upper bound to name instead of the longest length, so that compiled code sees a constant.
    """
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32).to(device)
    longest = max(lengths) if longest is None else longest
    return {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}


def unsupported(model: PreTrainedModel, longest: int) -> str | None:
    """Why this model cannot take packed attention for sequences of up to `longest` tokens; None where it can."""
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        return f"{type(model).__name__} brings its own attention"
    if getattr(config, "attn_logit_softcapping", None):
        return f"{type(model).__name__} caps its attention scores"
    if getattr(config, "attention_chunk_size", None):
        return f"{type(model).__name__} attends in chunks"
    if window_of(config, longest) and varlen_attn is None:
        return "sliding windows need torch 2.10"
    return None


def window_of(config: Any, longest: int) -> int | None:
    """The model's sliding window where it is shorter than `longest` tokens, else None."""
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True) and window < longest:
        return int(window)
    return None


def use_packed_attention(model: PreTrainedModel) -> None:
    """Make the model's attention the packed one. `model.set_attn_implementation("sdpa")` undoes it."""
    AttentionInterface.register(NAME, _packed_attention)
    model.set_attn_implementation(NAME)


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, longest: int, scale: float, window: int | None = None
) -> Tensor:
    """Causal attention within each of the packed sequences.

    Args:
        query: (tokens, heads, head size); key and value may have fewer heads, each shared by a run of query heads.
        ends: (sequences + 1,) int32, where each sequence begins and the last one ends.
        longest: no sequence is longer.
        scale: what scores are multiplied with.
        window: a token sees itself and so many less one before it; None: all before it.

    Returns: (tokens, heads, head size).
    """
    if query.is_cuda and varlen_attn is not None and query.dtype in (torch.bfloat16, torch.float16):
        return _by_varlen(query, key, value, ends, longest, scale, window)
    parts = [
        _one_sequence(query[start:end], key[start:end], value[start:end], scale, window)
        for start, end in pairwise(ends.tolist())
        if end > start
    ]
    return torch.cat(parts)


def _by_varlen(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, longest: int, scale: float, window: int | None
) -> Tensor:
    """Flash attention; its older signatures know neither `window_size` nor `enable_gqa`."""
    options: dict[str, Any] = {}
    if "window_size" in _VARLEN:
        options["window_size"] = (-1 if window is None else window - 1, 0)
    else:
        options["is_causal"] = True
    if "enable_gqa" in _VARLEN:
        options["enable_gqa"] = query.shape[1] != key.shape[1]
    if "scale" in _VARLEN:
        options["scale"] = scale
    else:
        query = query * (scale * query.shape[-1] ** 0.5)
    return varlen_attn(query, key, value, ends, ends, longest, longest, **options)


def _one_sequence(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
    query, key, value = (part.transpose(0, 1)[None] for part in (query, key, value))
    mask = None
    if window is not None and window < query.shape[2]:
        steps = torch.arange(query.shape[2], device=query.device)
        distance = steps[:, None] - steps[None, :]
        mask = (distance >= 0) & (distance < window)
    attended = F.scaled_dot_product_attention(
        query, key, value, mask, is_causal=mask is None, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
    )
    return attended[0].transpose(0, 1)


def _packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' side of `packed_attention`: (1, heads, tokens, head size) in, (1, tokens, heads, size) out."""
    if cu_seq_lens_q is None or max_length_q is None:
        raise ValueError("packed attention needs the sequences' bounds: pass **attention.bounds(lengths, device)")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    return packed_attention(query, key, value, cu_seq_lens_q, max_length_q, scale, sliding_window)[None], None
