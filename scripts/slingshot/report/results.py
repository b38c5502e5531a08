"""The files of a study, read for the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from slingshot.analysis.outcomes import metrics_of_answers
from slingshot.artifacts.comparison import Comparison, read_comparison
from slingshot.artifacts.dataset import read_dataset
from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.metrics import Metrics
from slingshot.artifacts.model_card import ModelCard
from slingshot.artifacts.predictions import Prediction, read_predictions
from slingshot.artifacts.records import StepRecord, read_record, read_step_record
from slingshot.artifacts.splits import read_split
from slingshot.artifacts.test_sets import TestSets, read_test_sets
from slingshot.artifacts.training import read_training, read_training_log
from slingshot.core.errors import StudyError

Read = TypeVar("Read")


@dataclass(frozen=True)
class Results:
    """What results/ holds of a study, as far as it is there; keys are arms' paths."""

    comparison: Comparison
    metrics: dict[str, Metrics]
    training: dict[str, dict[str, Any]]
    logs: dict[str, list[dict[str, Any]]]
    predictions: dict[str, list[Prediction]]
    steps: dict[str, list[StepRecord]]
    cards: dict[str, dict[str, Any]]
    dataset: dict[str, Any]
    test_sets: TestSets | None
    test: pd.DataFrame


def read_results(folder: Path) -> Results:
    """Read a study's results.

    Raises:
        StudyError: comparison.json, the data or the metrics of a compared arm are missing.
    """
    results = ResultFiles(folder)
    comparison = _required(results.comparison, read_comparison)
    arms = {arm.arm: results.arm(arm.arm) for arm in comparison.arms}
    cards = {arm.model: results.model_card(arm.model) for arm in comparison.arms}
    return Results(
        comparison=comparison,
        metrics={arm: _checked_metrics(files, results) for arm, files in arms.items()},
        training={arm: read_training(files.training) for arm, files in arms.items() if files.training.exists()},
        logs={arm: read_training_log(files.training_log) for arm, files in arms.items() if files.training_log.exists()},
        predictions={arm: _required(files.predictions, read_predictions) for arm, files in arms.items()},
        steps={arm: _steps(files) for arm, files in arms.items()},
        cards={model: read_record(ModelCard, card).model_dump() for model, card in cards.items() if card.exists()},
        dataset=_required(results.data.dataset, read_dataset),
        test_sets=read_test_sets(results.test_sets) if results.test_sets.exists() else None,
        test=_required(results.data.test, read_split),
    )


def _checked_metrics(files: ArmFiles, results: ResultFiles) -> Metrics:
    return _required(files.metrics, lambda _: metrics_of_answers(files, results))


def _steps(files: ArmFiles) -> list[StepRecord]:
    paths = [files.record(step) for step in ("finetune", "predict")]
    return [read_step_record(path) for path in paths if path.exists()]


def _required(path: Path, read: Callable[[Path], Read]) -> Read:
    try:
        return read(path)
    except FileNotFoundError:
        raise StudyError(f"{path} is missing: make it with `snakemake {path}`") from None
