"""Attention of one sequence by itself: by torch's own functions, for processors and for what flash attention lacks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend_one_sequence(
    query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None, softcap: float | None = None
) -> Tensor:
    """(1, heads, tokens, head size) each; the queries are the last tokens of the keys' sequence."""
    if query.device.type == "cpu" and query.dtype != torch.float32 and query.requires_grad:
        # torch's backward pass is slow in half precision: 7 ms for 183 tokens and 9 heads of 64 instead of 3.5.
        exact = attend_one_sequence(query.float(), key.float(), value.float(), scale, window, softcap)
        return exact.to(query.dtype)
    queries, length = query.shape[2], key.shape[2]
    shared = query.shape[1] != key.shape[1]
    if window is not None and window >= length:
        window = None
    if softcap is None and window is None and queries == 1:
        # The query heads that share keys as queries of one head: with enable_gqa a processor takes 2.7 times as long.
        sharing = query.reshape(1, key.shape[1], -1, query.shape[3])
        return F.scaled_dot_product_attention(sharing, key, value, scale=scale).reshape(1, query.shape[1], 1, -1)
    if softcap is None and window is None and queries == length:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=shared)
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
