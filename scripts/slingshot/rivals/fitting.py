"""The steps `fit` and `predict_fitted`: a rival fitted on train, its pipeline kept in files, splits answered by it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.layout import PIPELINE
from slingshot.artifacts.model_card import ModelCard, read_model_card
from slingshot.artifacts.predictions import Prediction, is_right, write_predictions
from slingshot.artifacts.records import StepRecord, timed
from slingshot.artifacts.splits import LABELS, read_split
from slingshot.config.specs import FitSpec, PredictFittedSpec
from slingshot.core.environment import device_name, versions
from slingshot.core.errors import StudyError
from slingshot.core.files import write_json, write_jsonl
from slingshot.core.hashing import digest_of_file, digest_of_text
from slingshot.data.splitting import stratified_order
from slingshot.rivals.pipeline import (
    Answered,
    FitJob,
    Fitted,
    Pipeline,
    Texts,
    load_fitted,
    predictions_of,
    read_pipeline,
    rival_module,
    set_predictions_of,
)
from slingshot.rivals.set_answers import SetRule, choose_rule

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
    columns = [*COLUMNS, LABELS.name] if spec.several else COLUMNS
    train, validation = (read_split(path, columns, known) for path in (files.train, files.validation))
    train = _at_most(train, spec.seed)
    card = read_model_card(files.model) if files.model else None
    inputs = {"train": digest_of_file(files.train), "validation": digest_of_file(files.validation)}
    inputs |= {"model": card.revision} if card else {}
    job = FitJob(
        recipe=spec.recipe,
        seed=spec.seed,
        train=_texts(train),
        validation=_texts(validation),
        device=device,
        folder=files.checkpoints / checkpoint_key(spec, inputs, card),
        card=card,
        card_path=files.model,
    )
    fitted = rival_module(spec.recipe.rival).fit_rival(job)
    rule = None
    if spec.several:
        with timed(job.seconds, "choose"):
            rule = _rule_of(fitted, job.validation)
    with timed(job.seconds, "save"):
        save(fitted, spec, job, files.fitted, rule)
    shutil.rmtree(files.checkpoints, ignore_errors=True)
    write_jsonl(files.log, job.log)
    counts = {"train_samples": len(train), "labels": len(fitted.labels)}
    chosen = {"sets": rule.model_dump(mode="json")} if rule else {}
    write_json(files.training, {**counts, **fitted.training, **chosen})
    StepRecord(
        step="finetune",
        arm=arm,
        spec=spec.model_dump(mode="json"),
        inputs=inputs,
        versions=versions(),
        device=device_name(device),
        dtype=fitted.training.get("dtype"),
        seed=spec.seed,
        seconds=job.seconds,
        samples=len(train),
        trained_tokens=fitted.training.get("trained_tokens", 0),
        peak_allocated=peak_allocated(device),
    ).write(files.record)


def checkpoint_key(spec: FitSpec, inputs: dict[str, str], card: ModelCard | None) -> str:
    """A digest of all that a fit's result depends on."""
    return digest_of_text(f"{spec.model_dump_json()}{sorted(inputs.items())}{card.network if card else ''}")


def _texts(split: pd.DataFrame) -> Texts:
    sets = [list(map(str, each)) for each in split[LABELS.name]] if LABELS.name in split else None
    return Texts(split["text"].tolist(), split["label"].tolist(), sets)


def _rule_of(fitted: Fitted, validation: Texts) -> SetRule:
    """How the fitted probabilities become sets, chosen on validation."""
    probabilities = fitted.answer(validation.texts).probabilities if validation.texts else np.zeros((0, 1))
    rule = choose_rule(probabilities, validation.sets or [], fitted.labels)
    for way, f1 in rule.validation_micro_f1.items():
        setting = f"threshold {rule.threshold:.3f}" if way == "threshold" else f"the {rule.k} likeliest"
        log.info("%s: micro F1 %.1f%% on validation%s", setting, 100 * f1, ", chosen" if way == rule.way else "")
    return rule


def save(fitted: Fitted, spec: FitSpec, job: FitJob, folder: Path, rule: SetRule | None = None) -> None:
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
        sets=rule,
    ).write(folder / PIPELINE)


def predict_splits(
    spec: PredictFittedSpec,
    arm: str,
    fitted: Path,
    splits: Sequence[Path],
    predictions: Sequence[Path],
    record: Path,
    device: str,
) -> None:
    """Answer splits with the pipeline in `fitted`, which is loaded once; write their answers and the step's record.

    Args:
        predictions: as many files as `splits`, each of the split in its place.

    Raises:
        StudyError: the folder holds no fitted pipeline.
    """
    columns = [*COLUMNS, LABELS.name] if spec.several else COLUMNS
    answers, made = predict(spec, arm, fitted, [read_split(split, columns) for split in splits], device)
    for path, answered in zip(predictions, answers, strict=True):
        write_predictions(path, answered)
    made.write(record)


def predict(
    spec: PredictFittedSpec, arm: str, folder: Path, splits: Sequence[pd.DataFrame], device: str
) -> tuple[list[list[Prediction]], StepRecord]:
    """Answer splits with the pipeline in `folder`: the predictions of each, and the record of all of them.

    Raises:
        StudyError: the folder holds no fitted pipeline, or one that answers with sets where one label is asked for, or
            the other way round.
    """
    rule = read_pipeline(folder).sets
    if spec.several != (rule is not None):
        raise StudyError(f"{folder} was fitted with data.several {'unset' if spec.several else 'set'}: fit it again")
    seconds: dict[str, float] = {}
    with timed(seconds, "load"):
        fitted = load_fitted(folder, device)
    answers = []
    for split in splits:
        with timed(seconds, "classify"):
            answered = fitted.answer(split["text"].tolist())
        answers.append(_predictions_of(answered, fitted, split, spec.candidates, rule))
        log.info("%s: %d samples%s", arm, len(answers[-1]), _share_right(answers[-1]))
    whole = [each for answered in answers for each in answered]
    record = StepRecord(
        step="predict",
        arm=arm,
        spec=spec.model_dump(mode="json"),
        versions=versions(),
        device=device_name(device),
        seconds=seconds,
        samples=len(whole),
        prompt_tokens=sum(each.prompt_tokens for each in whole),
        truncated_samples=sum(each.truncated for each in answers[0]),  # of test, as in the metrics
        peak_allocated=peak_allocated(device),
    )
    return answers, record


def _share_right(predictions: Sequence[Prediction]) -> str:
    """The share of right answers as the end of a sentence, empty where no sample has a label, as with new texts."""
    known = has_label(predictions)
    if not any(known):
        return ""
    right = float(np.mean([is_right(each) for each, is_known in zip(predictions, known, strict=True) if is_known]))
    return f", {100 * right:.1f}% right" + ("" if all(known) else f" of {sum(known)} with a label")


def has_label(predictions: Sequence[Prediction]) -> list[bool]:
    """Which answers can be held against a label; an empty set is one where another sample has labels."""
    any_labels = any(each.label for each in predictions)
    return [any_labels and (bool(each.label) or each.labels is not None) for each in predictions]


def _predictions_of(
    answered: Answered, fitted: Fitted, split: pd.DataFrame, candidates: int, rule: SetRule | None
) -> list[Prediction]:
    """A split's answers as predictions: one label each, or by `rule` a set."""
    ids, asked = split["sample_id"].tolist(), _texts(split)
    if rule is None:
        return predictions_of(answered, fitted.labels, ids, asked.labels, candidates)
    truths = asked.sets or [[] for _ in ids]  # new texts have none
    return set_predictions_of(answered, fitted.labels, ids, truths, candidates, rule)


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
    order = stratified_order(keys, np.unique(train["label"], return_inverse=True)[1], seed)  # of sets: by whole sets
    return train.iloc[np.sort(order[:MOST_TRAIN_SAMPLES])]
