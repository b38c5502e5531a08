"""The samples that a finetune learns from and is judged by: chosen, cut to their window, put in tokens."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from slingshot import packing
from slingshot.config import FinetuneSpec
from slingshot.errors import StudyError
from slingshot.files import digest_of_text
from slingshot.packing import Sample
from slingshot.progress import progress
from slingshot.prompts import Prompter
from slingshot.splits import stratified_subset

log = logging.getLogger(__name__)

ROWS_TOKENIZED_TOGETHER = 512


def read_samples(
    spec: FinetuneSpec,
    tokenizer: PreTrainedTokenizerBase,
    train_path: Path,
    validation_path: Path,
    context: int | None = None,
) -> tuple[list[Sample], list[Sample], dict[str, str]]:
    """Train and validation samples as tokens, and the validation samples' labels by id.

    Args:
        context: tokens that the model was made for; a prompt leaves room for the longest answer.

    Raises:
        StudyError: a split is empty, or finetune.max_tokens leaves no room for a dialogue.
    """
    train, validation = pd.read_parquet(train_path), pd.read_parquet(validation_path)
    if train.empty or validation.empty:
        raise StudyError(f"{train_path if train.empty else validation_path} has no samples to finetune on")
    train = train.iloc[stratified_subset(train["sample_id"].tolist(), train["label"].tolist(), spec.train_size)]
    validation = chosen_by_hash(validation, spec.finetune.validation_samples)
    prompter = Prompter(tokenizer, spec.prompt)
    room = longest_completion([train, validation], prompter)
    most = min(spec.finetune.max_tokens, context or spec.finetune.max_tokens)
    if most - room < 16:
        raise StudyError(
            f"the longest answer takes {room} of {most} tokens: raise finetune.max_tokens "
            f"({spec.finetune.max_tokens}), or take a model with a longer context ({context or 'unknown'})"
        )
    if most < spec.finetune.max_tokens:
        log.warning("samples hold at most %d tokens: the model was made for no more", most)
    prompter = prompter.within(most - room)
    answers = dict(zip(validation["sample_id"], validation["label"], strict=True))
    return encode_rows(train, prompter), encode_rows(validation, prompter), answers


def chosen_by_hash(rows: pd.DataFrame, count: int | None) -> pd.DataFrame:
    """At most `count` rows, in their order: those whose ids hash lowest, so that a larger choice holds a smaller."""
    if count is None or count >= len(rows):
        return rows
    ranked = rows["sample_id"].map(digest_of_text).to_numpy().argsort(kind="stable")
    return rows.iloc[np.sort(ranked[:count])]


def longest_completion(tables: Sequence[pd.DataFrame], prompter: Prompter) -> int:
    pairs = {pair for rows in tables for pair in zip(rows["label"], rows["description"].fillna(""), strict=True)}
    return max(len(prompter.completion(label, description)) for label, description in pairs)


def encode_rows(rows: pd.DataFrame, prompter: Prompter) -> list[Sample]:
    encode = packing.sample_encoder(prompter)
    records = cast("list[packing.Row]", rows.fillna({"description": ""}).to_dict("records"))
    with progress("tokenize", len(records), "samples") as meter:
        samples: list[Sample] = []
        for start in range(0, len(records), ROWS_TOKENIZED_TOGETHER):
            samples += encode(records[start : start + ROWS_TOKENIZED_TOGETHER])
            meter.advance(len(samples) - start)
    return samples


def longest_of(*splits: Sequence[Sample]) -> int:
    return max(len(sample) for samples in splits for sample in samples)
