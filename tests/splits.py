"""A split and a label set as prepare_data leaves them, from a few texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet

from slingshot.core.files import write_json


def write_split(
    path: Path, texts: Sequence[str], labels: Mapping[str, str], sets: Sequence[Sequence[str]] | None = None
) -> None:
    """Write the texts with the labels in turn; `labels` is label to description. `sets` are each text's, if several."""
    dealt = [list(labels)[number % len(labels)] for number in range(len(texts))]
    rows = {
        "sample_id": [f"{number:016x}" for number in range(len(texts))],
        "text": list(texts),
        "label": dealt,
        "description": [labels[label] for label in dealt],
    }
    if sets is not None:
        rows |= {"label": [";".join(each) for each in sets], "labels": [list(each) for each in sets]}
    pyarrow.parquet.write_table(pyarrow.table(rows), path)


def write_labels(path: Path, labels: Mapping[str, str]) -> None:
    """Write labels.json of `labels`, label to description, each with one train sample."""
    nothing = {"category": None, "block": None, "chapter": None, "billable": None, "train_samples": 1}
    described = sorted(labels.items())
    write_json(path, [{"label": label, "description": description, **nothing} for label, description in described])
