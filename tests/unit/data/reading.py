"""Reading a local source in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slingshot.config.data import Columns, FileData
from slingshot.core.errors import StudyError
from slingshot.data.readers import read_rows, wanted_columns

COLUMNS = Columns(text="text", label="label")


def read(path: Path, columns: Columns = COLUMNS, **how: Any) -> list[dict[str, Any]]:
    rows = read_rows(FileData(path=path.name, **how), columns, path.parent)
    names = wanted_columns(columns)
    return [
        dict(zip(names, values, strict=True))
        for batch in rows.batches
        for values in zip(*(batch.columns[name] for name in names), strict=True)
    ]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def assert_refused(folder: Path, name: str, content: str | bytes, message: str) -> None:
    """Reading such a file fails in one sentence that matches `message`."""
    with pytest.raises(StudyError, match=message) as refusal:
        read(written(folder / name, content))
    assert "\n" not in str(refusal.value)
