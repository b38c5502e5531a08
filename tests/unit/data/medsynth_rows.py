"""Rows like MedSynth's, and what prepare makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slingshot.artifacts.layout import DataFiles
from slingshot.artifacts.splits import read_split
from slingshot.config.data import Columns, Data, FileData
from slingshot.config.specs import PrepareDataSpec
from slingshot.data import labels
from slingshot.data.prepare import SPLITS, prepare

CODES = ["A047", "B20", "E1165", "I10", "J189", "K219", "N390", "M545"]
CODES = [code for code in CODES if labels.target_of(code, "icd10cm", "code")[0]]
MEDSYNTH = Columns(text="Dialogue", label="ICD10", description="ICD10_desc")


def prepare_rows(
    folder: Path, rows: list[dict[str, Any]], columns: Columns = MEDSYNTH, **data: Any
) -> tuple[pd.DataFrame, dict]:
    """Prepare rows; returns all samples with their split, and dataset.json."""
    folder.mkdir(exist_ok=True)
    with (folder / "rows.jsonl").open("w") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    return prepare_file(folder, "rows.jsonl", columns, **data)


def prepare_file(folder: Path, name: str, columns: Columns = MEDSYNTH, **data: Any) -> tuple[pd.DataFrame, dict]:
    data = {"max_dropped_share": 1.0, **data}
    spec = PrepareDataSpec(data=Data(source=FileData(path=name), columns=columns, **data), source_digest=None)
    files = DataFiles(folder / "out")
    prepare(spec, folder, files)
    frames = [read_split(files.split(split)).assign(split=split) for split in SPLITS]
    return pd.concat(frames, ignore_index=True), json.loads(files.dataset.read_text())


def make_dialogue(number: int, words: int = 30) -> str:
    rng = np.random.default_rng(number)
    return "[doctor] Hello. [patient] " + " ".join(f"w{value}" for value in rng.integers(0, 10_000, words))


def make_rows(count: int = 40) -> list[dict[str, Any]]:
    return [
        {"Dialogue": make_dialogue(n), "ICD10": CODES[n % len(CODES)], "ICD10_desc": f"DISEASE {n % len(CODES)}"}
        for n in range(count)
    ]
