"""Which models answer by the packed way: those that it is made for, and that agree with it in a prefill and in two
decoding steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from slingshot.generation.decode import logits_after
from slingshot.generation.engine import Network, lay_out, make_engine, put_together, shared_prefix, take_apart
from slingshot.generation.types import Decoding, GenerationStats
from slingshot.nn import agreement, fp8, merged_layers
from slingshot.nn.agreement import Agreement
from slingshot.nn.network_sizes import sizes_of
from slingshot.nn.supported_layers import AttentionArgumentsError, rotary_meets_batch, unsupported_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_STEPS = 2  # decoding steps that are compared, after the prefill


def packable_network(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], decoding: Decoding, stats: GenerationStats
) -> Network | None:
    """The model taken apart for the packed way, or None, with a note that says why it can't be."""
    reason = _unpackable(model, max(map(len, prompts)) + decoding.max_new_tokens)
    if reason is None:
        sequences = agreement.sequences_to_check(model, prompts, decoding.max_new_tokens)
        with fp8.unquantized_inputs():
            own = agreement.own_logits(model, sequences, _STEPS + 1)
            noise = agreement.noise_of_rounding(model, sequences, own, _STEPS + 1)
        network = None
        try:
            network = take_apart(model)
            with fp8.unquantized_inputs():
                found = _compared(network, sequences, own, noise)
            reason = None if found.holds else str(found)
            stats.agreement = found
        except torch.OutOfMemoryError:
            if network is not None:
                put_together(network)
            raise
        except AttentionArgumentsError as error:
            reason = str(error)
        except Exception as error:  # a model's own code may fail in any way on arguments that it does not know
            reason = f"its forward pass failed there: {type(error).__name__}: {str(error)[:300]}"
        if reason is None and network is not None:
            merged_layers.quantize_between(model)
            for note in network.notes:
                stats.note(note)
            return network
        if network is not None:
            put_together(network)
    stats.note(f"{type(model).__name__} takes the slower, padded way: {reason}")
    return None


def padding_changes_answers(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> str | None:
    """Why prompts must not be padded to one length; None where padding on the left leaves the model's logits alone."""
    if rotary_meets_batch(model.config.get_text_config()):
        return "its rotary positions depend on the longest prompt of a batch"
    sequences = agreement.sequences_to_check(model, prompts)
    if len(set(map(len, sequences))) < 2:
        return None
    with fp8.unquantized_inputs():
        own = agreement.own_logits(model, sequences, 1)
        noise = agreement.noise_of_rounding(model, sequences, own, 1)
        found = agreement.judge(agreement.logits_after_padding(model, sequences), own, noise, model.dtype)
    return None if found.holds else f"padding changes its logits by {found.away:.2%}"


def _unpackable(model: PreTrainedModel, longest: int) -> str | None:
    config = model.config.get_text_config()
    if getattr(config, "attn_logit_softcapping", None) and model.device.type == "cuda":
        return "flash attention caps no scores"
    return unsupported_layers(model, longest)


@torch.inference_mode()
def _compared(
    network: Network, sequences: Sequence[Sequence[int]], own: Sequence[torch.Tensor], noise: float
) -> Agreement:
    """Hold the packed logits against the model's own: after each prompt, and after each of two forced tokens.

    What the prompts share is computed once, as in a run.

    Raises:
        ValueError: a layer of the network never asked for attention.
    """
    prompts = [sequence[:-_STEPS] for sequence in sequences]
    rows, longest = sum(map(len, sequences)), max(map(len, sequences))
    engine = make_engine(network, rows, len(prompts), _STEPS, row_tokens=rows, longest=longest)
    layout = lay_out(prompts, shared_prefix(prompts), _STEPS)
    ours = logits_after(engine, layout, [sequence[-_STEPS:] for sequence in sequences])
    layers = sizes_of(network.model.config).layers
    if len(engine.pool.keys) != layers:
        raise ValueError(f"{len(engine.pool.keys)} of its {layers} layers attend")
    return agreement.judge(list(ours.float()), own, noise, network.model.dtype)
