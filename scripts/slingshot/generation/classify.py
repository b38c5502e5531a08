"""Answers of a language model that was finetuned with a head over labels: one pass over the prompt, no decoding."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from slingshot.core.progress import progress
from slingshot.models.device_memory import peak_memory
from slingshot.nn.class_head import load_head

log = logging.getLogger(__name__)

TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 32_768}  # padding included


def classify(
    model: PreTrainedModel, adapter: Path, prompts: Sequence[Sequence[int]], token_budget: int | None = None
) -> tuple[NDArray[np.float64], list[str], int | None]:
    """Probabilities of shape (prompts, labels), the labels, and the bytes that tensors took at most.

    Args:
        model: with the adapter merged or on top; its head is replaced by the adapter's.
        token_budget: tokens per batch, padding included.
    """
    labels = load_head(model, adapter)
    budget = token_budget or TOKENS_PER_BATCH[model.device.type]
    probabilities = np.zeros((len(prompts), len(labels)))
    order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
    with progress("classify", len(prompts), "samples") as meter, torch.inference_mode():
        while order:
            count = max(1, budget // len(prompts[order[0]]))
            places, order = order[:count], order[count:]
            probabilities[places] = _probabilities(model, [prompts[place] for place in places])
            meter.advance(len(places))
    return probabilities, labels, peak_memory(model.device)


def _probabilities(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Of a batch, padded on the right: causal attention never sees what comes after."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[*prompt, *[prompt[-1]] * (longest - len(prompt))] for prompt in prompts], device=model.device)
    ends = torch.tensor([len(prompt) - 1 for prompt in prompts], device=model.device)
    mask = (torch.arange(longest, device=model.device) <= ends[:, None]).long()
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    chosen: NDArray[np.float64] = (
        logits[torch.arange(len(prompts), device=model.device), ends].double().softmax(dim=1).cpu().numpy()
    )
    return chosen
