"""{split}.parquet: the samples of a split, written in row groups and read back."""

from __future__ import annotations

from collections.abc import Sequence, Set
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet

from slingshot.core.errors import StudyError

if TYPE_CHECKING:
    from pandas import DataFrame

SPLITS = ("train", "validation", "test")

COLUMNS = ("sample_id", "text", "label", "description")  # of a sample, as far as prompts and their answers need it

ROWS_PER_GROUP = 8192

SCHEMA = pyarrow.schema(
    [
        (name, pyarrow.string())
        for name in ("sample_id", "text", "label", "description", "category", "block", "chapter", "code", "group")
    ]
)


LABELS = pyarrow.field("labels", pyarrow.list_(pyarrow.string()))  # of samples with several, in the source's order


def columns_of_samples(with_sets: bool) -> tuple[str, ...]:
    """COLUMNS, with those that samples of several labels have besides."""
    return (*COLUMNS, LABELS.name) if with_sets else COLUMNS


class SplitWriter:
    """Collects rows of a split and writes them a row group at a time."""

    def __init__(self, path: Path, stack: ExitStack, with_sets: bool = False) -> None:
        """Args: with_sets: samples have several labels, written as lists into a column of their own."""
        self._schema = SCHEMA.append(LABELS) if with_sets else SCHEMA
        self._writer = stack.enter_context(pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd"))
        self._rows: list[tuple[str | None, ...]] = []
        self._sets: list[list[str]] = []

    def add(self, row: tuple[str | None, ...], labels: list[str]) -> None:
        """Add a sample: its values in the order of SCHEMA, and its labels, which count where it may have several."""
        self._rows.append(row)
        self._sets.append(labels)
        if len(self._rows) >= ROWS_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        columns = list(zip(*self._rows, strict=True)) if self._rows else [()] * len(SCHEMA)
        arrays = [pyarrow.array(column, pyarrow.string()) for column in columns]
        if len(self._schema) > len(SCHEMA):
            arrays.append(pyarrow.array(self._sets, LABELS.type))
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows, self._sets = [], []


def read_split(path: Path | str, columns: Sequence[str] | None = None, known: Set[str] | None = None) -> DataFrame:
    """Read a split, or some of its columns, in the order of its sample ids.

    Raises:
        StudyError: the file is no split of ours, or holds a label that is not `known`.
    """
    frame = _read_table(path, columns).to_pandas()
    if known is not None:
        held = {label for each in frame[LABELS.name] for label in each} if LABELS.name in frame else set(frame["label"])
        strange = sorted(held - known)
        if strange:
            raise StudyError(f"{path} holds the label {strange[0]}, which the label set lacks; run prepare_data again")
    return frame


def read_samples(path: Path | str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read some columns of a split as one dictionary per sample; imports no pandas, which takes a second.

    Raises:
        StudyError: the file is no split of ours.
    """
    return _read_table(path, columns).to_pylist()


def _read_table(path: Path | str, columns: Sequence[str] | None) -> pyarrow.Table:
    try:
        with pyarrow.parquet.ParquetFile(path) as split:  # read_table would import pandas
            absent = sorted(set(columns or SCHEMA.names) - set(split.schema_arrow.names))
            if absent:
                raise StudyError(f"{path} has no column {absent[0]!r}; run prepare_data again")
            return split.read(None if columns is None else list(columns))
    except (OSError, pyarrow.ArrowException) as error:
        raise StudyError(f"{path} can't be read ({str(error).splitlines()[0]}); run prepare_data again") from None
