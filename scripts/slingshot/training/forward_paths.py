"""Which way a micro-batch takes through a model: the fastest that the model allows.

1. merged layers, compiled (fused_layers): families of the Llama kind, on a GPU;
2. transformers' own forward with packed attention: whatever lets its attention be replaced, and every CPU;
3. transformers' own forward, a sequence at a time: everything else.

All three give the same logits but for rounding, dropout included.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from slingshot.nn import lora
from slingshot.nn import packed_attention as attention
from slingshot.training import fused_layers
from slingshot.training.batches import ForwardPath, Packed

log = logging.getLogger(__name__)


def choose(model: PreTrainedModel, longest: int, on_gpu: bool) -> tuple[ForwardPath, list[str]]:
    """The way, and notes for the record: where it is not the fastest, and whose attention it runs on.

    Args:
        model: with adapters in place.
        longest: no sequence will be longer.
    """
    model.train()
    notes = []
    if on_gpu:
        reason = (
            attention.unsupported(model, longest) or fused_layers.unsupported(model) or fused_layers.uncompilable(model)
        )
        if reason is None:
            kernels = attention.use_packed_attention(model, longest)
            longest = max(longest, fused_layers.MULTIPLE)  # what fills a micro-batch up is a sequence, too
            return fused_layers.fuse(model, longest, compiled=True), kernels
        notes.append(f"finetuned without merged, compiled layers: {reason}")
    reason, kernels = attention.unsupported(model, longest), []
    if reason is None:
        kernels = attention.use_packed_attention(model, longest)
        path = ForwardPath(lambda packed: packed_logits(model, packed), recompute=lambda share: recompute(model, share))
    else:
        notes.append(f"finetuned one sequence at a time, not packed: {reason}")
        path = ForwardPath(
            lambda packed: one_by_one_logits(model, packed), recompute=lambda share: recompute(model, share)
        )
    for note in notes:
        log.warning("%s; slower, with the same result", note)
    return path, notes + kernels


def packed_logits(model: PreTrainedModel, packed: Packed) -> Tensor:
    """Logits (scored, vocabulary) of all sequences at once."""
    return model(
        input_ids=packed.input_ids,
        position_ids=packed.position_ids,
        logits_to_keep=packed.scored,
        use_cache=False,
        **attention.bounds(packed.lengths, packed.input_ids.device),
    ).logits[0]


def one_by_one_logits(model: PreTrainedModel, packed: Packed) -> Tensor:
    """The same, a sequence at a time."""
    logits, start = [], 0
    dropout = next(layer.dropout for _, layer in lora.adapters(model))
    row_keys = dropout.row_keys
    for length in packed.lengths[: len(packed.sample_ids)]:
        scored = packed.scored[(packed.scored >= start) & (packed.scored < start + length)] - start
        dropout.set_rows(None if row_keys is None else row_keys[start : start + length])
        ids = packed.input_ids[:, start : start + length]
        logits.append(model(input_ids=ids, logits_to_keep=scored, use_cache=False).logits[0])
        start += length
    return torch.cat(logits)


def recompute(model: PreTrainedModel, share: float) -> None:
    """Let a share of the layers redo their forward pass in the backward pass instead of keeping activations."""
    layers = _decoder_layers(model)
    for index, layer in enumerate(layers):
        plain = getattr(layer, "plain_forward", layer.forward)
        layer.plain_forward = plain
        layer.forward = _recomputed(plain) if index < share * len(layers) else plain


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return run


def _decoder_layers(model: PreTrainedModel) -> Any:
    """The longest list of modules in the model: its layers."""
    return max((module for module in model.modules() if isinstance(module, nn.ModuleList)), key=len)
