"""The steps `fit` and `predict_fitted`: a rival fitted on train, its pipeline kept in files, a split answered by it."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.model_card import read_model_card
from slingshot.artifacts.predictions import Prediction, write_predictions
from slingshot.artifacts.records import StepRecord, timed
from slingshot.artifacts.splits import read_split
from slingshot.config.specs import FitSpec, PredictFittedSpec
from slingshot.core.environment import device_name, versions
from slingshot.core.files import write_json, write_jsonl
from slingshot.core.hashing import digest_of_file, digest_of_text
from slingshot.data.splitting import stratified_order
from slingshot.rivals.pipeline import (
    PIPELINE,
    FitJob,
    Fitted,
    Pipeline,
    Texts,
    load_fitted,
    predictions_of,
    rival_module,
)

log = logging.getLogger(__name__)

COLUMNS = ("sample_id", "text", "label")

MOST_TRAIN_SAMPLES = 200_000  # more hardly help a linear classifier, and all are in memory at once


@dataclass(frozen=True)
class FitFiles:
    """Where a fit reads and writes; `fitted` and `checkpoints` are folders."""

    train: Path
    validation: Path
    labels: Path
    model: Path | None
    fitted: Path
    training: Path
    log: Path
    record: Path
    checkpoints: Path


def fit(spec: FitSpec, arm: str, files: FitFiles, device: str) -> None:
    """Fit a rival on train, and write its pipeline, what was chosen, its log and its record.

    Checkpoints are kept until the pipeline is written, and used only by a fit of the same spec, data and network.

    Raises:
        StudyError: train cannot be learned from, e.g. as it holds one label.
    """
    known = {label.label for label in read_labels(files.labels)}
    train, validation = (read_split(path, COLUMNS, known) for path in (files.train, files.validation))
    train = _at_most(train, spec.seed)
    card = read_model_card(files.model) if files.model else None
    inputs = {"train": digest_of_file(files.train), "validation": digest_of_file(files.validation)}
    inputs |= {"model": card.revision} if card else {}
    job = FitJob(
        recipe=spec.recipe,
        seed=spec.seed,
        train=Texts(train["text"].tolist(), train["label"].tolist()),
        validation=Texts(validation["text"].tolist(), validation["label"].tolist()),
        device=device,
        folder=files.checkpoints / digest_of_text(f"{spec.model_dump_json()}{sorted(inputs.items())}"),
        card=card,
        card_path=files.model,
    )
    fitted = rival_module(spec.recipe.rival).fit_rival(job)
    with timed(job.seconds, "save"):
        save(fitted, spec, job, files.fitted)
    shutil.rmtree(files.checkpoints, ignore_errors=True)
    write_jsonl(files.log, job.log)
    write_json(files.training, {"train_samples": len(train), "labels": len(fitted.labels), **fitted.training})
    StepRecord(
        step="finetune",
        arm=arm,
        spec=spec.model_dump(mode="json"),
        inputs=inputs,
        versions=versions(),
        device=device_name(device),
        seed=spec.seed,
        seconds=job.seconds,
        samples=len(train),
        trained_tokens=fitted.training.get("trained_tokens", 0),
        peak_allocated=peak_allocated(device),
    ).write(files.record)


def save(fitted: Fitted, spec: FitSpec, job: FitJob, folder: Path) -> None:
    """Write a pipeline that `load_fitted` reads; what stood in the folder is lost."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    fitted.save(folder)
    Pipeline(
        rival=spec.recipe.rival,
        labels=list(fitted.labels),
        recipe=spec.recipe.model_dump(mode="json"),
        seed=spec.seed,
        model=job.card.revision if job.card else None,
        versions=versions(),
    ).write(folder / PIPELINE)


def predict_split(
    spec: PredictFittedSpec, arm: str, fitted: Path, split: Path, predictions: Path, record: Path, device: str
) -> None:
    """Answer a split with the pipeline in `fitted`; write predictions.jsonl and the step's record.

    Raises:
        StudyError: the folder holds no fitted pipeline.
    """
    answers, made = predict(spec, arm, fitted, read_split(split, COLUMNS), device)
    write_predictions(predictions, answers)
    made.write(record)


def predict(
    spec: PredictFittedSpec, arm: str, folder: Path, split: pd.DataFrame, device: str
) -> tuple[list[Prediction], StepRecord]:
    """Answer a split with the pipeline in `folder`.

    Raises:
        StudyError: the folder holds no fitted pipeline.
    """
    seconds: dict[str, float] = {}
    with timed(seconds, "load"):
        fitted = load_fitted(folder, device)
    with timed(seconds, "classify"):
        answered = fitted.answer(split["text"].tolist())
    ids, labels = split["sample_id"].tolist(), split["label"].tolist()
    predictions = predictions_of(answered, fitted.labels, ids, labels, spec.candidates)
    right = float(np.mean([each.code == each.label for each in predictions])) if predictions else 0.0
    log.info("%s: %d samples, %.1f%% right", arm, len(predictions), 100 * right)
    record = StepRecord(
        step="predict",
        arm=arm,
        spec=spec.model_dump(mode="json"),
        versions=versions(),
        device=device_name(device),
        seconds=seconds,
        samples=len(predictions),
        prompt_tokens=sum(answered.tokens),
        truncated_samples=sum(answered.truncated),
        peak_allocated=peak_allocated(device),
    )
    return predictions, record


def peak_allocated(device: str) -> int | None:
    """Bytes of device memory that tensors took at most, by torch's allocator; None on a CPU."""
    if device != "cuda":
        return None
    import torch

    return torch.cuda.max_memory_allocated()


def _at_most(train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Train, or where it is larger a stratified sample of MOST_TRAIN_SAMPLES of it."""
    if len(train) <= MOST_TRAIN_SAMPLES:
        return train
    log.info("train: a stratified sample of %d of %d", MOST_TRAIN_SAMPLES, len(train))
    keys = np.array([int(sample, 16) for sample in train["sample_id"]], np.uint64)
    order = stratified_order(keys, np.unique(train["label"], return_inverse=True)[1], seed)
    return train.iloc[np.sort(order[:MOST_TRAIN_SAMPLES])]
