"""Answers of a model to prompts: greedy, each sample on its own, as fast as the device and its memory allow.

Two ways lead to the same answers. The packed one (engine.py) takes every model whose attention transformers
lets us supply; the plain one is transformers' own `generate` over batches of similar length, for everything else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from slingshot.artifacts.model_card import ModelCard
from slingshot.artifacts.records import timed
from slingshot.config.base import Dtype, Quantization
from slingshot.generation.engine import put_together
from slingshot.generation.packable import packable_network, padding_changes_answers
from slingshot.generation.packed import generate_packed
from slingshot.generation.padded import generate_padded
from slingshot.generation.types import Answers, Decoding, GenerationStats, Memory
from slingshot.models.loading import load_adapter, load_model
from slingshot.nn.adapter_files import is_plain_lora, merge_adapter
from slingshot.nn.fp8 import quantize_linears, require_fp8
from slingshot.nn.lora import attach_adapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)


def load_for_generation(
    card: ModelCard,
    quantization: Quantization,
    dtype: Dtype,
    device: str,
    adapter: Path | None = None,
    unquantized_without_gpu: bool = False,
) -> PreTrainedModel:
    """A model ready to answer. An adapter is merged into unquantized weights, and applied on top of quantized ones."""
    if quantization == "fp8":
        require_fp8(card.name, device)
    model = _load_merged(card, quantization, dtype, device, adapter, unquantized_without_gpu)
    if quantization == "fp8" and device == "cuda":
        quantize_linears(model, torch.device(device))
    return model


def _load_merged(
    card: ModelCard,
    quantization: Quantization,
    dtype: Dtype,
    device: str,
    adapter: Path | None,
    unquantized_without_gpu: bool,
) -> PreTrainedModel:
    model = load_model(card, quantization, dtype, device, unquantized_without_gpu)
    if adapter is None:
        return model
    quantized = getattr(model, "is_quantized", False)
    if is_plain_lora(adapter):  # without peft, which takes seconds to import
        (attach_adapter if quantized else merge_adapter)(model, adapter)
        return model
    adapted = load_adapter(model, adapter)
    if quantized:
        return cast("PreTrainedModel", adapted.get_base_model())
    return cast("PreTrainedModel", adapted.merge_and_unload(safe_merge=True))


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    memory: Memory,
    stats: GenerationStats,
) -> Iterator[Answers]:
    """Answer every prompt; yields index to answer as groups of prompts finish.

    Args:
        model: a causal language model in eval mode, on its device.
        prompts: token ids of each prompt.
        stats: filled in on the way.
    """
    if not prompts:
        return
    with timed(stats.seconds, "check"):
        network = packable_network(model, prompts, decoding, stats)
        reason = padding_changes_answers(model, prompts) if network is None else None
    if network is None:
        if reason is not None:
            stats.note(f"{type(model).__name__} answers one prompt at a time: {reason}")
            memory = Memory(token_budget=1)  # one prompt per batch
        yield from generate_padded(model, prompts, decoding, memory, stats)
        return
    try:
        yield from generate_packed(network, prompts, decoding, memory, stats)
    finally:
        put_together(network)
