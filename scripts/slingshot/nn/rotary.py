"""Rotary positions in plain torch, as transformers computes them for networks of the Llama kind."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864) on the first features of each head, as transformers does."""
    size = cos.shape[-1]
    turned, kept = states[..., :size], states[..., size:]
    first, second = turned.chunk(2, dim=-1)
    turned = turned * cos[:, None] + torch.cat([-second, first], dim=-1) * sin[:, None]
    return turned if kept.shape[-1] == 0 else torch.cat([turned, kept], dim=-1)
