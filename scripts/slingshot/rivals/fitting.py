"""The steps `fit` and `predict_fitted`: a rival fitted on train, its pipeline kept in files, a split answered by it."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from slingshot.artifacts.model_card import ModelCard
from slingshot.artifacts.predictions import Prediction
from slingshot.artifacts.records import StepRecord, timed
from slingshot.config.specs import FitSpec, PredictFittedSpec
from slingshot.core.environment import processor_name, versions
from slingshot.core.files import write_json
from slingshot.data.splitting import stratified_order
from slingshot.rivals.pipeline import PIPELINE, FitJob, Pipeline, Texts, load_fitted, predictions_of, rival_module

log = logging.getLogger(__name__)

MOST_TRAIN_SAMPLES = 200_000  # more hardly help a linear classifier, and all are in memory at once


def fit(
    spec: FitSpec,
    arm: str,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    card: ModelCard | None,
    device: str,
    folder: Path,
    training: Path,
) -> StepRecord:
    """Fit a rival, and write its pipeline to `folder` and what was chosen to `training`.

    Raises:
        StudyError: train cannot be learned from, e.g. as it holds one label.
    """
    train = _at_most(train, spec.seed)
    with tempfile.TemporaryDirectory() as scratch:
        job = FitJob(
            recipe=spec.recipe,
            seed=spec.seed,
            train=Texts(train["text"].tolist(), train["label"].tolist()),
            validation=Texts(validation["text"].tolist(), validation["label"].tolist()),
            card=card,
            device=device,
            folder=Path(scratch),
        )
        fitted = rival_module(spec.recipe.rival).fit_rival(job)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with timed(job.seconds, "save"):
        fitted.save(folder)
    Pipeline(
        rival=spec.recipe.rival,
        labels=list(fitted.labels),
        recipe=spec.recipe.model_dump(mode="json"),
        seed=spec.seed,
        model=card.revision if card else None,
        versions=versions(),
    ).write(folder / PIPELINE)
    tokens = fitted.training.get("trained_tokens", 0)
    write_json(training, {"train_samples": len(train), "labels": len(fitted.labels), **fitted.training})
    return StepRecord(
        step="finetune",
        arm=arm,
        spec=spec.model_dump(mode="json"),
        inputs={"model": card.revision} if card else {},
        versions=versions(),
        device=device_name(device),
        seed=spec.seed,
        seconds=job.seconds,
        samples=len(train),
        trained_tokens=tokens,
    )


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
    )
    return predictions, record


def device_name(device: str) -> str:
    """The name of the device that a rival runs on."""
    if device != "cuda":
        return processor_name()
    import torch

    return torch.cuda.get_device_name()


def _at_most(train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Train, or where it is larger a stratified sample of MOST_TRAIN_SAMPLES of it."""
    if len(train) <= MOST_TRAIN_SAMPLES:
        return train
    log.info("train: a stratified sample of %d of %d", MOST_TRAIN_SAMPLES, len(train))
    keys = np.array([int(sample, 16) for sample in train["sample_id"]], np.uint64)
    order = stratified_order(keys, np.unique(train["label"], return_inverse=True)[1], seed)
    return train.iloc[np.sort(order[:MOST_TRAIN_SAMPLES])]
