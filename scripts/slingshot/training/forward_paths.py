"""Which way a micro-batch takes through a model: the fastest that the model allows and that gives the model's logits.

1. merged layers, compiled (fused_layers): families of the Llama kind, on a GPU;
2. transformers' own forward with packed attention: models whose attention can be replaced, and every CPU;
3. transformers' own forward, a sequence at a time: everything else.

All three give the same logits but for rounding, adapters and their dropout included. Before the first two are taken,
their logits are held against the third's (nn/agreement.py), with adapters that are not zero.

The network stays in evaluation mode: the only dropout is the adapters' own, which depends on the seed, the sample and
the token alone. A dropout of the network itself (attention_dropout and the like) would need a random state that no
checkpoint holds and packed attention could not follow; it does not act, and the record says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from slingshot.core.errors import StudyError
from slingshot.nn import agreement, flash_kernels, lora
from slingshot.nn import packed_attention as attention
from slingshot.nn.agreement import Agreement
from slingshot.nn.supported_layers import AttentionArgumentsError
from slingshot.training import fused_layers
from slingshot.training.batches import ForwardPath, Packed, Sample, pack

log = logging.getLogger(__name__)

_DROPOUTS = ("dropout", "_pdrop", "layerdrop")  # parts of the names that configs have for dropout

_CHECKED = 6  # last tokens of a sequence whose logits are compared


def choose(
    model: PreTrainedModel, samples: Sequence[Sample], longest: int, on_gpu: bool, in_fp8: bool = False
) -> tuple[ForwardPath, list[str]]:
    """The way, and notes for the record: why it is not the fastest, what it leaves out, whose attention it runs on.

    Args:
        model: with adapters in place.
        samples: those to train on; a few of their tokens serve to compare the ways.
        longest: no sequence will be longer.
        in_fp8: multiply frozen weights in e4m3.

    Raises:
        StudyError: frozen weights are to be multiplied in e4m3 and cannot be.
    """
    model.eval()
    notes = _own_dropout(model) + lora.unreached(model)
    reference = _Reference(model, samples)
    kernels: list[str] | None = None
    path: ForwardPath | None = None
    for way in [_merged, _packed] if on_gpu else [_packed]:
        reason = way.unsupported(model, longest)
        if reason is None:
            reference.take(model)
            attention.use_packed_attention(model)
            path = way.build(model, longest, reference.attention)
            if kernels is None:  # only now: the reference is computed by torch's own
                kernels = flash_kernels.activate_fastest_kernels(model.device)
            reason = reference.objection(model, path)
            if reason is not None and flash_kernels.restore_own_kernels():
                kernels = [f"attention without {flash_kernels.PACKAGE}, which is installed: {reason}"]
                reason = reference.objection(model, path)
        if path is not None and reason is None:
            return path, notes + (kernels or []) + (_turn_to_fp8(model, path, reference) if in_fp8 else [])
        model.set_attn_implementation(reference.attention)
        notes.append(f"finetuned without {way.name}: {type(model).__name__}: {reason}")
        log.warning("%s; slower, with the same result", notes[-1])
    path = ForwardPath(
        lambda packed: one_by_one_logits(model, packed),
        recompute=lambda share: recompute(model, share),
        own_attention=reference.attention,
    )
    return path, notes + (kernels or []) + (_turn_to_fp8(model, path, reference) if in_fp8 else [])


def _turn_to_fp8(model: PreTrainedModel, path: ForwardPath, reference: _Reference) -> list[str]:
    """Let a path multiply frozen weights in fp8; notes for the record.

    Raises:
        StudyError: it cannot; the spec asks for it, and a finetune in another type would be another result.
    """
    if path.multiply_in_fp8 is None:
        raise StudyError(
            "finetune.fp8: only merged layers of unquantized weights can, and this model has none; set false"
        )
    try:
        reason = path.multiply_in_fp8()
    except torch.OutOfMemoryError:
        reason = "memory ends, as weights in fp8 stand beside the unquantized ones"
    if reason is not None:
        raise StudyError(f"finetune.fp8: {reason}; set false")
    return [f"frozen weights multiplied in fp8 (e4m3), which moves logits by {reference.distance(model, path):.1%}"]


@dataclass(frozen=True)
class _Way:
    name: str
    unsupported: Callable[[PreTrainedModel, int], str | None]
    build: Callable[[PreTrainedModel, int, str], ForwardPath]


def _unmergeable(model: PreTrainedModel, longest: int) -> str | None:
    return attention.unsupported(model, longest) or fused_layers.unsupported(model) or fused_layers.uncompilable(model)


def _merge(model: PreTrainedModel, longest: int, own_attention: str) -> ForwardPath:
    longest = max(longest, fused_layers.MULTIPLE)  # what fills a micro-batch up is a sequence, too
    return fused_layers.fuse(model, longest, compiled=True, own_attention=own_attention)


def _pack(model: PreTrainedModel, longest: int, own_attention: str) -> ForwardPath:
    return ForwardPath(
        lambda packed: packed_logits(model, packed),
        recompute=lambda share: recompute(model, share),
        own_attention=own_attention,
    )


_merged = _Way("merged, compiled layers", _unmergeable, _merge)
_packed = _Way("packing", attention.unsupported, _pack)


class _Reference:
    """The network's own logits of a few sequences, taken once, before anything of it is replaced."""

    def __init__(self, model: PreTrainedModel, samples: Sequence[Sample]) -> None:
        self.attention = attention.attention_of(model)
        given = [(*sample.prompt, *sample.completion) for sample in samples]
        sequences = agreement.sequences_to_check(model, given)
        self.samples = [
            Sample(f"{index}", tuple(ids[:-_CHECKED]), tuple(ids[-_CHECKED:]), False)
            for index, ids in enumerate(sequences)
        ]
        self._inputs = [ids[:-1] for ids in sequences]  # the last token is a target only
        self._own: list[Tensor] | None = None
        self._noise = 0.0

    @torch.no_grad()
    def take(self, model: PreTrainedModel) -> None:
        """Compute the logits and their noise, once."""
        if self._own is None:
            with _filled_adapters(model), _shared_dropout(model).rows(None):
                self._own = agreement.own_logits(model, self._inputs, _CHECKED)
                self._noise = agreement.noise_of_rounding(model, self._inputs, self._own, _CHECKED)

    def objection(self, model: PreTrainedModel, path: ForwardPath) -> str | None:
        """Why the path is not to be trusted; None where it computes what the network's own forward does."""
        try:
            found = self._compared(model, path)
        except torch.OutOfMemoryError:
            raise
        except AttentionArgumentsError as error:
            return str(error)
        except Exception as error:  # a model's own code may fail in any way on arguments that it does not know
            return f"its forward pass fails there: {type(error).__name__}: {str(error)[:300]}"
        log.info("training: %s", found)
        return None if found.holds else str(found)

    def distance(self, model: PreTrainedModel, path: ForwardPath) -> float:
        """How far the path's logits are from the network's own, as a share of their norm."""
        return self._compared(model, path).away

    @torch.no_grad()
    def _compared(self, model: PreTrainedModel, path: ForwardPath) -> Agreement:
        with _filled_adapters(model), _shared_dropout(model).rows(None):
            path.refresh()
            packed = pack(self.samples, seed=0, epoch=0, multiple_of=path.multiple_of).to(model.device)
            ours = path.logits(packed).float().split(_CHECKED)
        path.refresh()
        return agreement.judge(ours, self._own or [], self._noise, model.dtype)


@contextmanager
def _filled_adapters(model: PreTrainedModel) -> Iterator[None]:
    """Within the block every B holds small numbers instead of zeros, so that the adapters show in the logits."""
    kept = {name: adapter.lora_B.data.clone() for name, adapter in lora.all_adapters(model)}
    draw = torch.Generator().manual_seed(0)
    for _, adapter in lora.all_adapters(model):
        adapter.lora_B.data.copy_(torch.randn(adapter.lora_B.shape, generator=draw) * 0.02)
    try:
        yield
    finally:
        for name, adapter in lora.all_adapters(model):
            adapter.lora_B.data.copy_(kept[name])


def _shared_dropout(model: PreTrainedModel) -> lora.Dropout:
    return next(layer.dropout for _, layer in lora.adapters(model))


def _own_dropout(model: PreTrainedModel) -> list[str]:
    """A note where the network has dropout of its own, which does not act here."""
    config = model.config.get_text_config()
    named = {
        name: value
        for name, value in config.to_dict().items()
        if isinstance(value, float) and 0 < value <= 1 and _names_dropout(name)
    }
    if not named:
        return []
    shares = ", ".join(f"{name} {value:g}" for name, value in sorted(named.items()))
    return [f"finetuned without the model's own dropout ({shares}): only the adapters have dropout"]


def _names_dropout(name: str) -> bool:
    """A classifier's dropout is that of transformers' own heads, which no arm has."""
    return any(part in name for part in _DROPOUTS) and not name.startswith("classifier")


def packed_logits(model: PreTrainedModel, packed: Packed) -> Tensor:
    """Logits (scored, vocabulary) of all sequences at once."""
    logits: Tensor = model(
        input_ids=packed.input_ids,
        position_ids=packed.position_ids,
        logits_to_keep=packed.scored,
        use_cache=False,
        **attention.bounds(packed.lengths, packed.input_ids.device),
    ).logits[0]
    return logits


def one_by_one_logits(model: PreTrainedModel, packed: Packed) -> Tensor:
    """The same, a sequence at a time."""
    logits, start = [], 0
    dropout = _shared_dropout(model)
    row_keys = dropout.row_keys
    keeps = "logits_to_keep" in signature(model.forward).parameters
    for length in packed.lengths[: len(packed.sample_ids)]:
        scored = packed.scored[(packed.scored >= start) & (packed.scored < start + length)] - start
        ids = packed.input_ids[:, start : start + length]
        with dropout.rows(None if row_keys is None else row_keys[start : start + length]):
            if keeps:
                logits.append(model(input_ids=ids, logits_to_keep=scored, use_cache=False).logits[0])
            else:
                logits.append(model(input_ids=ids, use_cache=False).logits[0, scored])
        start += length
    return torch.cat(logits)


def recompute(model: PreTrainedModel, share: float) -> None:
    """Let a share of the layers redo their forward pass in the backward pass instead of keeping activations."""
    layers = _decoder_layers(model)
    dropout = _shared_dropout(model)
    for index, layer in enumerate(layers):
        plain = getattr(layer, "plain_forward", layer.forward)
        layer.plain_forward = plain
        layer.forward = _recomputed(plain, dropout) if index < share * len(layers) else plain


def _recomputed(forward: Callable[..., Any], dropout: lora.Dropout) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        row_keys = dropout.row_keys  # by the time of the backward pass they may be another sequence's

        def again(*args: Any, **kwargs: Any) -> Any:
            with dropout.rows(row_keys):
                return forward(*args, **kwargs)

        return checkpoint(again, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return run


def _decoder_layers(model: PreTrainedModel) -> Any:
    """The longest list of modules in the model: its layers."""
    return max((module for module in model.modules() if isinstance(module, nn.ModuleList)), key=len)
