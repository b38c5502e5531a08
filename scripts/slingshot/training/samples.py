"""The samples that a finetune learns from and is judged by: chosen, cut to their window, tokenized."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NotRequired, Protocol, TypedDict, cast

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.splits import columns_of_samples, read_split
from slingshot.config.specs import FinetuneSpec
from slingshot.core.errors import StudyError
from slingshot.core.hashing import digest_of_text
from slingshot.core.progress import progress
from slingshot.data.splitting import stratified_subset
from slingshot.prompting.label_lists import LabelLists
from slingshot.prompting.prompter import Prompter
from slingshot.prompting.right_answers import AnswerWriter, labels_of
from slingshot.training.batches import Sample

log = logging.getLogger(__name__)

ROWS_TOKENIZED_TOGETHER = 512


def read_samples(
    spec: FinetuneSpec,
    tokenizer: PreTrainedTokenizerBase,
    train_path: Path,
    validation_path: Path,
    context: int | None = None,
    labels_path: Path | None = None,
) -> tuple[list[Sample], list[Sample], dict[str, list[str]]]:
    """Train and validation samples as tokens, and the validation samples' labels by id, one each or a set.

    Args:
        context: tokens that the model was made for; a prompt leaves room for the longest answer.
        labels_path: labels.json, for prompts that show labels and for sets of labels.

    Raises:
        StudyError: a split is empty, or the model's context leaves no room for a dialogue.
    """
    train, validation = (
        read_split(path, columns_of_samples(spec.prompt.several is not None)) for path in (train_path, validation_path)
    )
    if train.empty or validation.empty:
        raise StudyError(f"{train_path if train.empty else validation_path} has no samples to finetune on")
    all_of_train = train
    train = train.iloc[stratified_subset(train["sample_id"].tolist(), train["label"].tolist(), spec.train_size)]
    validation = chosen_by_hash(validation, spec.finetune.validation_samples)
    classes = classes_of(spec, train_path)
    if classes is not None:  # a validation sample of another label has no number that could be right
        validation = validation[validation["label"].isin(classes)]
        if validation.empty:
            raise StudyError(f"{validation_path} has no sample of a label that train has: nothing can be selected by")
    labels = read_labels(labels_path) if labels_path else []
    lists = LabelLists(spec.prompt, labels, lambda: rows_of(all_of_train)) if labels_path else None
    writer = AnswerWriter(spec.prompt.answer, spec.prompt.several, labels)
    prompter = Prompter(tokenizer, spec.prompt, lists)
    room = longest_completion([train, validation], prompter, writer) if classes is None else 1
    if context is not None and context - room < 16:
        raise StudyError(
            f"the longest answer takes {room} of the {context} tokens that the model was made for: take a model with a "
            "longer context"
        )
    if context is not None and context - room < prompter.window:
        log.warning("prompts hold at most %d tokens: the model was made for %d", context - room, context)
        prompter = prompter.within(context - room)
    answers = {str(row["sample_id"]): labels_of(row) for row in rows_of(validation)}
    if classes is not None:
        train_samples, held_out = (encode_classes(rows, prompter, classes) for rows in (train, validation))
        return train_samples, held_out, answers
    return encode_rows(train, prompter, writer), encode_rows(validation, prompter, writer), answers


def classes_of(spec: FinetuneSpec, train_path: Path) -> list[str] | None:
    """The labels that a head over labels chooses among, in the order of its logits; None where the model writes."""
    if spec.finetune.head == "write":
        return None
    train = read_split(train_path, ("sample_id", "label"))
    chosen = stratified_subset(train["sample_id"].tolist(), train["label"].tolist(), spec.train_size)
    return sorted(set(train["label"].iloc[chosen]))


def encode_classes(rows: pd.DataFrame, prompter: Prompter, classes: Sequence[str]) -> list[Sample]:
    """Samples whose completion is one token: the number of the label among `classes`."""
    number = {label: (place,) for place, label in enumerate(classes)}
    prompts = prompter.prompts(rows["text"].tolist())
    return [
        Sample(sample_id, tuple(prompt.ids), number[label], prompt.truncated)
        for sample_id, label, prompt in zip(rows["sample_id"], rows["label"], prompts, strict=True)
    ]


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", table.to_dict("records"))


def chosen_by_hash(rows: pd.DataFrame, count: int | None) -> pd.DataFrame:
    """At most `count` rows, in their order: those whose ids hash lowest, so that a larger choice holds a smaller."""
    if count is None or count >= len(rows):
        return rows
    ranked = rows["sample_id"].map(digest_of_text).to_numpy().argsort(kind="stable")
    return rows.iloc[np.sort(ranked[:count])]


def longest_completion(tables: Sequence[pd.DataFrame], prompter: Prompter, writer: AnswerWriter) -> int:
    answers = {writer.lines(row) for rows in tables for row in rows_of(rows.fillna({"description": ""}))}
    return max(len(prompter.completion_of(lines)) for lines in answers)


def encode_rows(rows: pd.DataFrame, prompter: Prompter, writer: AnswerWriter) -> list[Sample]:
    encode = sample_encoder(prompter, writer)
    records = cast("list[SplitRow]", rows.fillna({"description": ""}).to_dict("records"))
    with progress("tokenize", len(records), "samples") as meter:
        samples: list[Sample] = []
        for start in range(0, len(records), ROWS_TOKENIZED_TOGETHER):
            samples += encode(records[start : start + ROWS_TOKENIZED_TOGETHER])
            meter.advance(len(samples) - start)
    return samples


def longest_of(*splits: Sequence[Sample]) -> int:
    return max(len(sample) for samples in splits for sample in samples)


class Encoded(Protocol):
    @property
    def ids(self) -> list[int]: ...
    @property
    def truncated(self) -> bool: ...


class SplitRow(TypedDict):
    """What this module needs of a row of a split."""

    sample_id: str
    text: str
    label: str
    description: str
    labels: NotRequired[Sequence[str]]


class SampleEncoder(Protocol):
    """What this module needs of prompting.prompter.Prompter."""

    @property
    def end_ids(self) -> list[int]: ...
    def prompts(self, texts: Sequence[str]) -> Sequence[Encoded]: ...
    def completion_of(self, lines: Sequence[str]) -> list[int]: ...


def sample_encoder(encoder: SampleEncoder, writer: AnswerWriter) -> Callable[[Sequence[SplitRow]], list[Sample]]:
    """A function from rows to Samples; prompts are tokenized together, each answer once.

    It raises a StudyError where a completion is empty or does not end with a token that ends an answer.
    """
    end_ids = encoder.end_ids
    completion_of = cache(encoder.completion_of)

    def sample(row: SplitRow, prompt: Encoded) -> Sample:
        completion = completion_of(writer.lines(row))
        if not completion or completion[-1] not in end_ids:
            raise StudyError(
                f"sample {row['sample_id']}: the answer {row['label']!r} does not end with the chat template's "
                "end-of-turn token, so the model would never learn to stop; the model's chat template is not one that "
                "this project knows"
            )
        return Sample(row["sample_id"], tuple(prompt.ids), tuple(completion), prompt.truncated)

    def encode(rows: Sequence[SplitRow]) -> list[Sample]:
        return list(map(sample, rows, encoder.prompts([row["text"] for row in rows])))

    return encode
