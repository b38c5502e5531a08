"""Whether our way through a network computes what the network's own forward does, compared before it is used.

Two orders of the same sums differ. By how much, the network itself says: its own logits of a sequence are held against
its own logits of the same sequence in a padded batch, and of embeddings that differ in their last bit (a processor may
add up alike in every shape, and then its shapes say nothing). Our way may be a few times as far from the network's own
as that, and no further. Training and answering both judge by `judge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature

import torch
from torch import Tensor
from transformers import PreTrainedModel

from slingshot.core.errors import StudyError
from slingshot.models.greedy import left_padded
from slingshot.nn.supported_layers import window_of

TIMES_NOISE = 2

# Bounds of the allowed distance: not less, as rounding may happen to move little, and not more, however noisy the
# network is.
_LEAST = {torch.float64: 1e-5, torch.float32: 1e-3, torch.float16: 5e-3, torch.bfloat16: 3e-2}
_MOST = 0.15

_END = 24  # tokens of either end of a sample that a sequence to look at is made of


@dataclass(frozen=True)
class Agreement:
    """How far our logits are from the network's own: the worst sequence's distance, as a share of the norm."""

    away: float
    noise: float  # the same by rounding alone, within the network's own forward
    allowed: float

    @property
    def holds(self) -> bool:
        return self.away <= self.allowed  # a NaN holds nothing

    def __str__(self) -> str:
        return (
            f"its logits there differ by {self.away:.2%} from its own, which rounding alone moves by {self.noise:.2%}"
        )


def sequences_to_check(
    model: PreTrainedModel, samples: Sequence[Sequence[int]], new_tokens: int = 0
) -> list[list[int]]:
    """Sequences of unequal length from the beginnings and ends of samples, one of them longer than a sliding window
    that a sample with its new tokens exceeds.

    Three short ones: beginnings alike, as instructions are, and ends unlike.
    """
    chosen = [list(sample) for sample in samples[:3]]
    while len(chosen) < 3:  # a batch of one shape has no noise between shapes: one prompt has to make three
        chosen.append(chosen[0][: len(chosen[0]) * 2 // (len(chosen) + 2)])
    found = [one if len(one) <= 2 * _END else one[:_END] + one[-_END:] for one in chosen]
    if len(found) > 1:
        found[-1] = found[-1][: -(len(found[-1]) // 3) or None]
    longest: Sequence[int] = max(samples, key=len)
    window = window_of(model.config.get_text_config(), len(longest) + new_tokens)
    if window is not None:
        found.insert(1, _at_least(list(longest), window + _END)[: window + _END])
    return [_at_least(one, 8) for one in found]


def _at_least(ids: list[int], length: int) -> list[int]:
    return (ids * -(-length // max(len(ids), 1)))[: max(length, len(ids))] if ids else ids


@torch.no_grad()
def own_logits(model: PreTrainedModel, sequences: Sequence[Sequence[int]], kept: int) -> list[Tensor]:
    """The network's own logits at the last `kept` tokens of each sequence, one sequence at a time: (kept, vocabulary)
    float32 each.

    Raises:
        StudyError: one is not a number, so that no answer of this network would mean anything.
    """
    found = []
    for ids in sequences:
        whole = model(torch.tensor([list(ids)], device=model.device), **_arguments(model, kept)).logits
        found.append(whole[0, -kept:].float())
    if any(bool(one.isnan().any()) for one in found):
        kind = str(model.dtype).removeprefix("torch.")
        raise StudyError(
            f"{type(model).__name__}'s logits are not numbers in {kind}: set dtype to a type of larger range "
            "(bfloat16, float32), or see whether the model's files are whole"
        )
    return found


def noise_of_rounding(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], alone: Sequence[Tensor], kept: int
) -> float:
    """How far the network's own logits move by rounding alone: in a batch, or with other last bits in embeddings.

    Args:
        alone: `own_logits` of the same sequences.
    """
    between_shapes = noise_between_shapes(model, sequences, alone, kept)
    try:
        return max(between_shapes, distance(_logits_of_other_last_bits(model, sequences, kept), alone))
    except NotImplementedError:  # a network that does not say which module embeds its tokens
        return between_shapes


@torch.no_grad()
def noise_between_shapes(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], alone: Sequence[Tensor], kept: int
) -> float:
    """How far the network's own logits in one batch, filled up on the right, are from those of each sequence alone."""
    longest = max(map(len, sequences)) + 1
    rows = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in sequences], device=model.device)
    logits = model(rows, **_arguments(model, longest)).logits
    batched = [logits[at, len(ids) - kept : len(ids)].float() for at, ids in enumerate(sequences)]
    return distance(batched, alone)


def _logits_of_other_last_bits(model: PreTrainedModel, sequences: Sequence[Sequence[int]], kept: int) -> list[Tensor]:
    """`own_logits` where each number of the embeddings is moved by up to half of its last bit, then rounded."""
    draw = torch.Generator().manual_seed(0)

    def move(module: torch.nn.Module, given: object, embedded: Tensor) -> Tensor:
        share = (torch.rand(embedded.shape, generator=draw) - 0.5) * torch.finfo(embedded.dtype).eps
        return (embedded * (1 + share.double().to(embedded.device))).to(embedded.dtype)

    hook = model.get_input_embeddings().register_forward_hook(move)
    try:
        return own_logits(model, sequences, kept)
    finally:
        hook.remove()


@torch.no_grad()
def logits_after_padding(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
    """The network's own logits at the last token of each sequence, (1, vocabulary) float32 each, in one batch that is
    filled up on the left as `generate` wants it."""
    ids, mask = left_padded(sequences, 0, model.device)
    given = {"attention_mask": mask, **_arguments(model, 1)}
    if "position_ids" in signature(model.forward).parameters:
        given["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(ids, **given).logits
    return [row[-1:].float() for row in logits]


def _arguments(model: PreTrainedModel, kept: int) -> dict[str, object]:
    accepted = signature(model.forward).parameters
    return {"use_cache": False, **({"logits_to_keep": kept} if "logits_to_keep" in accepted else {})}


def distance(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """The worst pair's distance, as a share of the norm of the second of the pair."""
    pairs = zip(some, others, strict=True)
    return max(float((one.float() - other).norm() / other.norm().clamp(min=1e-30)) for one, other in pairs)


def judge(ours: Sequence[Tensor], own: Sequence[Tensor], noise: float, dtype: torch.dtype) -> Agreement:
    """Hold our logits of some sequences, (kept, vocabulary) each, against the network's own."""
    allowed = min(max(TIMES_NOISE * noise, _LEAST.get(dtype, 1e-2)), _MOST)
    away = max(
        distance([one], [other]) if bool(one.isfinite().all()) else torch.inf
        for one, other in zip(ours, own, strict=True)
    )
    return Agreement(away, noise, allowed)
