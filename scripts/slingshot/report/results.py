"""The files of a study, read for the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from slingshot.artifacts.comparison import Comparison, read_comparison
from slingshot.artifacts.metrics import Metrics, read_metrics
from slingshot.artifacts.predictions import Prediction, read_predictions
from slingshot.artifacts.records import StepRecord, read_step_record
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json, read_jsonl

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
    test: pd.DataFrame


def read_results(folder: Path) -> Results:
    """Read a study's results.

    Raises:
        StudyError: comparison.json, the data or the metrics of a compared arm are missing.
    """
    comparison = _required(folder / "comparison.json", read_comparison)
    arms = [arm.arm for arm in comparison.arms]
    folders = {arm: folder / arm for arm in arms}
    cards = {}
    for arm in comparison.arms:
        card = folder / "models" / f"{arm.model}.json"
        if card.exists():
            cards[arm.model] = read_json(card)
    return Results(
        comparison=comparison,
        metrics={arm: _required(folders[arm] / "metrics.json", read_metrics) for arm in arms},
        training={arm: read_json(path) for arm in arms if (path := folders[arm] / "training.json").exists()},
        logs={arm: read_jsonl(path) for arm in arms if (path := folders[arm] / "training_log.jsonl").exists()},
        predictions={arm: _required(folders[arm] / "predictions.jsonl", read_predictions) for arm in arms},
        steps={arm: _steps(folder) for arm, folder in folders.items()},
        cards=cards,
        dataset=_required(folder / "data" / "dataset.json", read_json),
        test=_required(folder / "data" / "test.parquet", pd.read_parquet),
    )


def _steps(folder: Path) -> list[StepRecord]:
    paths = [folder / f"{step}.json" for step in ("finetune", "predict")]
    return [read_step_record(path) for path in paths if path.exists()]


def _required(path: Path, read: Callable[[Path], Read]) -> Read:
    try:
        return read(path)
    except FileNotFoundError:
        raise StudyError(f"{path} is missing: make it with `snakemake {path}`") from None
