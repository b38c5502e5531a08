"""Texts as tokens for networks that read a bounded number of them: windows, lost middles, batches by length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slingshot.artifacts.model_card import ModelCard
from slingshot.core.errors import StudyError
from slingshot.models.loading import context_length, read_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 131_072}  # padding included

RESERVED_POSITIONS = 2  # RoBERTa and its kin count positions from 2

GAP = " ... "  # in the place of a text's middle

GAP_TOKENS = 4  # that GAP takes at most in our families


@dataclass(frozen=True)
class Windows:
    """Windows of texts: token ids with the tokenizer's special tokens, and the text that each belongs to."""

    ids: list[list[int]]
    text: list[int]


def padded_tokenizer(folder: str) -> PreTrainedTokenizerBase:
    """A folder's tokenizer, which pads on the right, with the end token where it has none for padding."""
    tokenizer = read_tokenizer(Path(folder), says_words_back=False)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def longest_input(card: ModelCard, wanted: int) -> int:
    """Tokens that an input may have: as many as wanted, and no more than the network has positions for."""
    positions = context_length(card)
    return wanted if positions is None else min(wanted, positions - RESERVED_POSITIONS)


def windows_of(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int) -> Windows:
    """Cut each text into windows of at most `length` tokens, special tokens included; an empty text has one.

    >>> windows_of(tokenizer, ["a b c d e"], 4).text  # with two special tokens: ab, cd, e
    [0, 0, 0]
    """
    first, last = _special_ends(tokenizer)
    plain: Any = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    room = length - len(first) - len(last)
    ids, text = [], []
    for index, own in enumerate(plain["input_ids"]):
        for start in range(0, max(len(own), 1), room):
            ids.append([*first, *own[start : start + room], *last])
            text.append(index)
    _refuse_unknown(tokenizer, ids)
    return Windows(ids, text)


def _special_ends(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text. Not by the tokenizer's own windows: transformers 5.17 gives one."""
    plain: Any = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole: Any = tokenizer("a")["input_ids"]
    start = next(at for at in range(len(whole)) if whole[at : at + len(plain)] == plain)
    return whole[:start], whole[start + len(plain) :]


def _refuse_unknown(tokenizer: PreTrainedTokenizerBase, ids: Sequence[Sequence[int]]) -> None:
    """Raise a StudyError where the tokenizer does not know most of the texts, as where its vocabulary is missing."""
    unknown = tokenizer.unk_token_id
    count = sum(map(len, ids))
    if unknown is not None and 2 * sum(window.count(unknown) for window in map(list, ids)) > count:
        raise StudyError(
            f"the tokenizer in {tokenizer.name_or_path} does not know most of the texts' words: a file of it is "
            "missing, or it is of another language; copy it from the model's source"
        )


def without_middle(tokenizer: PreTrainedTokenizerBase, text: str, length: int) -> tuple[str, bool]:
    """A text that fits into `length` tokens, special tokens included, and whether its middle had to go for that."""
    encoded: Any = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False)
    room = length - tokenizer.num_special_tokens_to_add()
    offsets = encoded["offset_mapping"]
    if len(offsets) <= room:
        return text, False
    room -= GAP_TOKENS
    head, tail = (room + 1) // 2, room // 2
    ending = text[offsets[-tail][0] :] if tail else ""
    return f"{text[: offsets[head - 1][1]]}{GAP}{ending}", True


def batches_by_length(rows: Sequence[Sequence[int]], tokens: int) -> Iterator[list[int]]:
    """Places of rows that go through a network together: of similar length, `tokens` per batch with padding."""
    order = np.argsort([-len(row) for row in rows], kind="stable").tolist()
    batch: list[int] = []
    for place in order:
        if batch and len(rows[batch[0]]) * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
