"""Samples as token ids, and how they are laid end to end into micro-batches without padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor

from slingshot.errors import StudyError
from slingshot.files import digest_of_text


class Encoded(Protocol):
    @property
    def ids(self) -> list[int]: ...
    @property
    def truncated(self) -> bool: ...


class Row(TypedDict):
    """What this module needs of a row of a split."""

    sample_id: str
    text: str
    label: str
    description: str


class Encoder(Protocol):
    """What this module needs of prompts.Prompter."""

    @property
    def end_ids(self) -> list[int]: ...
    def prompts(self, texts: Sequence[str]) -> Sequence[Encoded]: ...
    def completion(self, label: str, description: str) -> list[int]: ...


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
    sample that each belongs to. `row_keys` seed dropout, a token each: see lora.keep_mask.
    """

    sample_ids: tuple[str, ...]
    lengths: tuple[int, ...]
    input_ids: Tensor  # (1, tokens) int64
    position_ids: Tensor  # (1, tokens) int64, restarting with each sequence
    scored: Tensor  # (scored,) int64
    targets: Tensor  # (scored,) int64
    owner: Tensor  # (scored,) int64
    row_keys: Tensor  # (tokens,) int32

    @property
    def real_tokens(self) -> int:
        return sum(self.lengths[: len(self.sample_ids)])


def sample_encoder(encoder: Encoder) -> Callable[[Sequence[Row]], list[Sample]]:
    """A function from rows to Samples; prompts are tokenized together, each answer once.

    It raises a StudyError where a completion is empty or does not end with a token that ends an answer.
    """
    end_ids = encoder.end_ids
    completion_of = cache(encoder.completion)

    def sample(row: Row, prompt: Encoded) -> Sample:
        completion = completion_of(row["label"], row["description"])
        if not completion or completion[-1] not in end_ids:
            raise StudyError(
                f"sample {row['sample_id']}: the answer {row['label']!r} does not end with the chat template's "
                "end-of-turn token, so the model would never learn to stop; the model's chat template is not one that "
                "this project knows"
            )
        return Sample(row["sample_id"], tuple(prompt.ids), tuple(completion), prompt.truncated)

    def encode(rows: Sequence[Row]) -> list[Sample]:
        return list(map(sample, rows, encoder.prompts([row["text"] for row in rows])))

    return encode


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
    """Lay samples end to end, with filler up to a multiple of so many tokens.

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
    )


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """The order of the samples in an epoch; it depends on nothing but the arguments."""
    return np.random.Generator(np.random.Philox(key=(seed % 2**64) ^ (epoch << 40))).permutation(count).tolist()


def mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014) on uint64."""
    with np.errstate(over="ignore"):
        values = (values + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _row_keys(samples: Sequence[Sample], seed: int, epoch: int, filler: int) -> Tensor:
    """A key for each token from the seed, the epoch, its sample and its position: not from its neighbours."""
    parts = []
    for sample in samples:
        base = int(digest_of_text(f"{seed} {epoch} {sample.sample_id}")[:16], 16)
        parts.append(mixed(np.uint64(base) ^ mixed(np.arange(len(sample), dtype=np.uint64))))
    parts.append(np.zeros(filler, dtype=np.uint64))
    return torch.from_numpy(np.concatenate(parts).astype(np.uint32).view(np.int32))
