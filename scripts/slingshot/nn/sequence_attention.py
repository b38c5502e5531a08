"""Attention of one sequence by itself: by torch's own functions, for processors and for what flash attention lacks;
and which models let a sequence see how long its neighbours are."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def one_sequence(
    query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None, softcap: float | None = None
) -> Tensor:
    """(1, heads, tokens, head size) each; the queries are the last tokens of the keys' sequence."""
    queries, length = query.shape[2], key.shape[2]
    shared = query.shape[1] != key.shape[1]
    if window is not None and window >= length:
        window = None
    if softcap is None and window is None and queries in (1, length):
        causal = queries > 1
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal, scale=scale, enable_gqa=shared)
    distance = torch.arange(length - queries, length, device=query.device)[:, None] - torch.arange(
        length, device=query.device
    )
    visible = distance >= 0
    if window is not None:
        visible &= distance < window
    if softcap is None:
        return F.scaled_dot_product_attention(query, key, value, visible, scale=scale, enable_gqa=shared)
    heads = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(heads, 1).transpose(2, 3) * scale
    scores = (softcap * torch.tanh(scores / softcap)).masked_fill(~visible, -torch.inf)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    return weights @ value.repeat_interleave(heads, 1)


def rotary_meets_batch(config: Any) -> bool:
    """Whether the rotary embedding is chosen by the longest sequence of a batch, once one exceeds `rotary_length`."""
    rope = getattr(config, "rope_parameters", None) or {}
    return rope.get("rope_type") in ("dynamic", "longrope")


def rotary_length(config: Any) -> int:
    """The length in tokens up to which rotary embeddings are those that the model was first trained with."""
    rope = getattr(config, "rope_parameters", None) or {}
    native = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    return int(native or config.max_position_embeddings)
