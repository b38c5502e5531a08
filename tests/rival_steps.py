"""Runs fit.py and predict_fitted.py on splits in a folder, as Snakemake does."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pandas import DataFrame

from slingshot.artifacts.labels import Label, write_labels
from tests.tiny_encoder import encoder_card

SCRIPTS = Path(__file__).parents[1] / "scripts"


def write_rival_study(
    folder: Path, words: list[str], draw: Callable[[int, int], DataFrame], tests: int, labels: list[str]
) -> Path:
    """Write a tiny encoder, its card, splits drawn by `draw(count, seed)` (120, 40, `tests`), and labels.json."""
    encoder_card(folder, words)
    data = folder / "results/data"
    data.mkdir()
    for number, (name, count) in enumerate({"train": 120, "validation": 40, "test": tests}.items()):
        draw(count, number).to_parquet(data / f"{name}.parquet")
    write_labels(data / "labels.json", [Label(label=label, train_samples=30) for label in labels])
    return folder


def fit_and_answer(*given: Any, **named: Any) -> None:
    """Run the commands that `commands_of` makes of the same arguments."""
    for program, words in commands_of(*given, **named):
        with pytest.MonkeyPatch.context() as patch:  # in this process: torch takes seconds to import
            patch.setattr(sys, "argv", [program, *words])
            runpy.run_path(str(SCRIPTS / program), run_name="__main__")


def commands_of(
    data: Path,
    out: Path,
    recipe: dict[str, Any],
    card: Path | None = None,
    candidates: int = 5,
    several: bool = False,
) -> list[tuple[str, list[str]]]:
    """The two programs that fit a rival on data/train.parquet and answer test and validation, with their words.

    Args:
        out: laid out as the arm's folder.
    """
    arm = f"{recipe['rival']}/tested"
    fit = {
        "arm": arm,
        "spec": json.dumps({"recipe": recipe, "seed": 1, "several": several}),
        "train": data / "train.parquet",
        "validation": data / "validation.parquet",
        "labels": data / "labels.json",
        "fitted": out / "fitted",
        "training": out / "training.json",
        "log": out / "training_log.jsonl",
        "checkpoints": out / "checkpoints",
        "record": out / "finetune.json",
        "model": card,
    }
    answer = {
        "arm": arm,
        "spec": json.dumps({"rival": recipe["rival"], "candidates": candidates, "several": several}),
        "splits": [data / "test.parquet", data / "validation.parquet"],
        "fitted": out / "fitted",
        "predictions": [out / "predictions.jsonl", out / "validation/predictions.jsonl"],
        "record": out / "predict.json",
    }
    return [
        (program, [word for name, value in options.items() if value for word in (f"--{name}", *_words(value))])
        for program, options in (("fit.py", fit), ("predict_fitted.py", answer))
    ]


def _words(value: Any) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value])]
