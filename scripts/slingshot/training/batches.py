"""Samples as token ids, and how they are laid end to end into micro-batches without padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slingshot.core.hashing import digest_of_text, mix
from slingshot.models.device_memory import to_device


@dataclass(frozen=True)
class Sample:
    """One training sample: a prompt, then the completion that is learned (the answer and its end token)."""

    sample_id: str
    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    truncated: bool

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True)
class Packed:
    """A micro-batch: sequences laid end to end, the last of them possibly filler that nothing learns from.

    `scored` are the positions whose next token is learned, `targets` those next tokens, `owner` the index of the
    sample that each belongs to. `row_keys` seed dropout, one per token: see nn.lora.keep_mask.
    """

    sample_ids: tuple[str, ...]
    lengths: tuple[int, ...]
    input_ids: Tensor  # (1, tokens) int64
    position_ids: Tensor  # (1, tokens) int64, restarting with each sequence
    scored: Tensor  # (scored,) int64
    targets: Tensor  # (scored,) int64
    owner: Tensor  # (scored,) int64
    row_keys: Tensor  # (tokens,) int32
    ends: Tensor  # (sequences + 1,) int32: where each sequence begins and the last one ends

    @property
    def real_tokens(self) -> int:
        return sum(self.lengths[: len(self.sample_ids)])

    def to(self, device: torch.device) -> Packed:
        """The same with its tensors on the device."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Packed(**{**vars(self), **{name: to_device(value, device) for name, value in tensors.items()}})


def prompt_lengths(samples: Sequence[Sample]) -> dict[str, int]:
    """Median, 99% quantile and maximum of the prompts' tokens."""
    tokens = [len(sample.prompt) for sample in samples]
    median, most = np.quantile(tokens, (0.5, 0.99), method="higher")
    return {"median": int(median), "q99": int(most), "max": max(tokens)}


def bins(lengths: Sequence[int], budget: int, at_least: int = 1) -> list[list[int]]:
    """Deal indices to as few bins as possible, none over `budget` tokens and all about equally full.

    Longest first, each to the emptiest bin (Graham's LPT rule). A single length above the budget gets a bin of its
    own. The number of bins is a multiple of `at_least`, so that as many processes have equal work.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    count = max(1, -(-sum(lengths) // budget))
    while True:
        count = -(-count // at_least) * at_least
        dealt: list[list[int]] = [[] for _ in range(count)]
        filled = [0] * count
        for index in order:
            emptiest = filled.index(min(filled))
            dealt[emptiest].append(index)
            filled[emptiest] += lengths[index]
        if max(filled) <= max(budget, max(lengths)) or count >= len(lengths):
            return [sorted(one) for one in dealt]
        count += 1


def pack(samples: Sequence[Sample], seed: int, epoch: int, multiple_of: int = 1) -> Packed:
    """Lay samples end to end, with filler up to a multiple of `multiple_of` tokens.

    The filler is a sequence of its own, of token 0, that is not scored.
    """
    lengths = [len(sample) for sample in samples]
    filler = -sum(lengths) % multiple_of
    ids = [token for sample in samples for token in (*sample.prompt, *sample.completion)] + [0] * filler
    if filler:
        lengths.append(filler)
    starts = np.cumsum([0, *lengths])
    scored = [
        np.arange(start + len(sample.prompt) - 1, start + len(sample) - 1)
        for sample, start in zip(samples, starts, strict=False)
    ]
    return Packed(
        sample_ids=tuple(sample.sample_id for sample in samples),
        lengths=tuple(lengths),
        input_ids=torch.tensor([ids]),
        position_ids=torch.from_numpy(np.concatenate([np.arange(length) for length in lengths]))[None],
        scored=torch.from_numpy(np.concatenate(scored)),
        targets=torch.tensor([token for sample in samples for token in sample.completion]),
        owner=torch.tensor([index for index, sample in enumerate(samples) for _ in sample.completion]),
        row_keys=_row_keys(samples, seed, epoch, filler),
        ends=torch.from_numpy(starts.astype(np.int32)),
    )


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """The order of the samples in an epoch; it depends on nothing but the arguments."""
    return np.random.Generator(np.random.Philox(key=(seed % 2**64) ^ (epoch << 40))).permutation(count).tolist()


def _row_keys(samples: Sequence[Sample], seed: int, epoch: int, filler: int) -> Tensor:
    """A key for each token from the seed, the epoch, its sample and its position: not from its neighbours."""
    parts = []
    for sample in samples:
        base = int(digest_of_text(f"{seed} {epoch} {sample.sample_id}")[:16], 16)
        parts.append(mix(np.uint64(base) ^ mix(np.arange(len(sample), dtype=np.uint64))))
    parts.append(np.zeros(filler, dtype=np.uint64))
    return torch.from_numpy(np.concatenate(parts).astype(np.uint32).view(np.int32))


@dataclass(frozen=True)
class ForwardPath:
    """A way through the model."""

    logits: Callable[[Packed], Tensor]  # a micro-batch to logits (scored, vocabulary)
    refresh: Callable[[], None] = lambda: None  # to be called whenever the adapters have changed
    recompute: Callable[[float], None] = lambda share: None  # 0: keep all activations, 1: redo all in the backward pass
    multiple_of: int = 1  # tokens that a micro-batch is filled up to
    own_attention: str = "eager"  # the attention implementation that the model came with, for answers by `generate`
    multiply_in_fp8: Callable[[], str | None] | None = None  # from now on; returns why it would be wrong, if it would
