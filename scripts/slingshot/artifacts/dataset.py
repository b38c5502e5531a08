"""dataset.json: what prepare_data says of the data. Read as it is, once its form is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from slingshot.artifacts.records import read_checked


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class _Rows(_Part):
    read: int
    dropped: int
    samples: int


class _Split(_Part):
    samples: int
    labels: int
    words: dict[str, float] = {}
    label_counts: dict[str, int] = {}


class _Dropped(_Part):
    rows: int
    examples: list[Any] = []


class _Dataset(_Part):
    source: dict[str, Any]
    digest: str
    rows: _Rows
    labels: dict[str, Any]
    splits: dict[str, _Split]
    leakage: dict[str, Any]
    dropped: dict[str, _Dropped] = {}
    changed: dict[str, _Dropped] = {}
    test_sets: dict[str, _Split] = {}


def read_dataset(path: Path | str) -> dict[str, Any]:
    """What dataset.json holds.

    Raises:
        MissingFileError: it is not there.
        StudyError: it is damaged, or of a version that wrote other keys; names the first that is wrong.
    """
    return read_checked(_Dataset, path)
