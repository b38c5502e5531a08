"""labels.json: the study's labels with their descriptions, as prepare_data writes them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from slingshot.artifacts.records import describe_fault
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json, write_json


class Label(BaseModel):
    """One label of the study. The tree's parts are null for plain labels, and below the label's own level."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    description: str | None = None
    category: str | None = None
    block: str | None = None
    chapter: str | None = None
    billable: bool | None = Field(None, description="null for plain labels and above the level of codes")
    train_samples: int


def read_labels(path: Path | str) -> list[Label]:
    """Read labels.json.

    Raises:
        StudyError: the file is missing, damaged or no label set.
    """
    try:
        return TypeAdapter(list[Label]).validate_python(read_json(path))
    except ValidationError as error:
        raise StudyError(describe_fault(error, path)) from None


def write_labels(path: Path | str, labels: list[Label]) -> None:
    write_json(path, [label.model_dump() for label in labels])
