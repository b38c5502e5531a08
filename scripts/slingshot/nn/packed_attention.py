"""Attention over packed sequences: many of unequal length laid end to end, none sees another.

transformers' models call the function registered here once `use_packed_attention` has been applied to them. The
sequences' bounds travel as keyword arguments of the model's forward, under the names that transformers gives them:
`model(input_ids, position_ids=..., **bounds(lengths, device))`. No mask tensor exists anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from slingshot.models.device_memory import to_device
from slingshot.nn import flash_kernels
from slingshot.nn.sequence_attention import attend_one_sequence
from slingshot.nn.supported_layers import AttentionArgumentsError, unpack_states, unsupported_layers, window_of

NAME = "slingshot_packed"


def bounds(lengths: Sequence[int], device: torch.device | str, longest: int | None = None) -> dict[str, Any]:
    """The keyword arguments that tell packed attention where sequences begin and end.

    Args:
        lengths: tokens of each sequence, in the order in which they are laid end to end.
        longest: an upper bound to name instead of the longest length, so that compiled code sees a constant.
    """
    ends = to_device(torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32), device)
    longest = max(lengths) if longest is None else longest
    return {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}


def unsupported(model: PreTrainedModel, longest: int) -> str | None:
    """Why this model cannot take packed attention for sequences of up to `longest` tokens; None where it can."""
    config = model.config.get_text_config()
    if getattr(config, "attn_logit_softcapping", None):
        return "it caps its attention scores"
    if model.device.type == "cuda" and window_of(config, longest) and flash_kernels.varlen_attn is None:
        return "sliding windows need torch 2.11"
    return unsupported_layers(model, longest)


def use_packed_attention(model: PreTrainedModel) -> None:
    """Make the model's attention the packed one; `attending_by` puts another in its place within a block."""
    AttentionInterface.register(NAME, _packed_attention)
    model.set_attn_implementation(NAME)


def attention_of(model: PreTrainedModel) -> str:
    """The name of the attention implementation that the model uses now."""
    return str(model.config._attn_implementation or "eager")


@contextmanager
def attending_by(model: PreTrainedModel, implementation: str) -> Iterator[None]:
    """Within the block the model uses another attention implementation, for example its own."""
    before = attention_of(model)
    model.set_attn_implementation(implementation)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, longest: int, scale: float, window: int | None = None
) -> Tensor:
    """Causal attention within each of the packed sequences.

    Args:
        query: (tokens, heads, head size); key and value may have fewer heads, each shared by a run of query heads.
        ends: (sequences + 1,) int32, where each sequence begins and the last one ends.
        longest: no sequence is longer.
        scale: what scores are multiplied with.
        window: a token sees itself and `window` - 1 before it; None: all before it.

    Returns: (tokens, heads, head size).
    """
    if flash_kernels.takes(query):
        return flash_kernels.flash_attention(query, key, value, ends, longest, scale, window)
    query, key, value = (part.transpose(0, 1)[None] for part in (query, key, value))
    parts = [
        attend_one_sequence(query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], scale, window)
        for start, end in pairwise(ends.tolist())
        if end > start
    ]
    return torch.cat(parts, 2)[0].transpose(0, 1)


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
    **more: Any,
) -> tuple[Tensor, None]:
    """transformers' side of `packed_attention`: (1, heads, tokens, head size) in, (1, tokens, heads, size) out."""
    query, key, value, scale = unpack_states(query, key, value, scaling, attention_mask, more)
    if cu_seq_lens_q is None or max_length_q is None:
        raise AttentionArgumentsError("its layers do not pass on where each sequence ends (packed_attention.bounds)")
    return packed_attention(query, key, value, cu_seq_lens_q, max_length_q, scale, sliding_window)[None], None
