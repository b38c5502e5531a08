"""Greedy answers by transformers' own `generate`: prompts of unequal length, padded on the left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def generate_greedily(
    model: Any,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    end_ids: Sequence[int],
    processor: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """New token ids, (prompts, at most `new_tokens`), whatever the model's own generation config says.

    What settings leave open, `generate` takes from the model's own, which may sample, or punish repetition.
    """
    from transformers import GenerationConfig, LogitsProcessorList  # slow to import, and not always needed

    ids, mask = left_padded(prompts, end_ids[0], model.device)
    before = model.generation_config
    model.generation_config = GenerationConfig(
        max_new_tokens=new_tokens, do_sample=False, eos_token_id=list(end_ids), pad_token_id=end_ids[0]
    )
    try:
        processors = LogitsProcessorList([processor] if processor else [])
        out: Tensor = model.generate(input_ids=ids, attention_mask=mask, logits_processor=processors)
    finally:
        model.generation_config = before
    return out[:, ids.shape[1] :]


def left_padded(prompts: Sequence[Sequence[int]], fill: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Prompts as one tensor, ending flush right: (ids, mask), each (prompts, longest)."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[fill] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    return ids, mask
