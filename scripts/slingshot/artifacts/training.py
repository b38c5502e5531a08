"""training.json and training_log.jsonl: how a finetune or a fit went, read as they are, once their form is known; and
which adapter it left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from slingshot.artifacts.layout import ADAPTER_SETTINGS, ADAPTER_WEIGHTS
from slingshot.artifacts.records import describe_fault, read_checked
from slingshot.core.errors import StudyError
from slingshot.core.files import read_jsonl
from slingshot.core.hashing import digest_of_file, digest_of_text


def digest_of_adapter(folder: Path) -> str:
    """SHA-256 over an adapter's weights and settings, as hex: rank and scale decide its answers, too."""
    return digest_of_text("".join(digest_of_file(folder / name) for name in (ADAPTER_WEIGHTS, ADAPTER_SETTINGS)))


class _Lengths(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    median: int
    q99: int
    max: int


class _Summary(BaseModel):
    """What is read of training.json; each kind of arm writes part of it."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    train_samples: int | None = None
    steps: int | None = None
    planned_steps: int | None = None
    epochs: float | None = None
    best_step: int | None = None
    best_validation_loss: float | None = None
    best_validation_exact_match: float | None = None
    stopped_early: bool | None = None
    trained_tokens: int | None = None
    adapter_parameters: int | None = None
    prompt_tokens: dict[str, _Lengths] = {}


class _Line(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    step: int
    loss: float | None = None
    validation_loss: float | None = None


def read_training(path: Path | str) -> dict[str, Any]:
    """What training.json holds; raises as artifacts.dataset.read_dataset."""
    return read_checked(_Summary, path)


def read_training_log(path: Path | str) -> list[dict[str, Any]]:
    """The lines of training_log.jsonl; raises likewise."""
    rows = read_jsonl(path)
    for number, row in enumerate(rows, start=1):
        try:
            _Line.model_validate(row)
        except ValidationError as error:
            raise StudyError(describe_fault(error, path, f"{path}, line {number}")) from None
    return rows
