"""A split to answer, and ask.py as a program against a stub."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import ask
from slingshot.artifacts.predictions import Prediction, read_predictions
from slingshot.artifacts.records import StepRecord, read_step_record
from slingshot.config.specs import AskSpec
from slingshot.endpoints import pacing
from tests.splits import write_labels, write_split
from tests.unit.endpoints.stub import Script, Stub

TEXTS = ["my throat is sore", "a rash on both hands", "stomach pain at night", "fever and a cough", "my back hurts"]
LABELS = {"J020": "Streptococcal pharyngitis", "L237": "Contact dermatitis", "K259": "Gastric ulcer", "M545": "Back"}


@pytest.fixture
def folder(tmp_path):
    write_labels(tmp_path / "labels.json", LABELS)
    write_split(tmp_path / "test.parquet", TEXTS, LABELS)
    write_split(tmp_path / "train.parquet", [f"train {text}" for text in TEXTS], LABELS)
    return tmp_path


@pytest.fixture
def stubs():
    made: list[Stub] = []
    yield lambda script: made.append(Stub(script)) or made[-1]
    for stub in made:
        stub.close()


@dataclass
class Run:
    predictions: list[Prediction]
    record: StepRecord
    content: bytes


def spec_of(url: str, source: dict | None = None, generation: dict | None = None, k: int = 0) -> AskSpec:
    return AskSpec.model_validate(
        {
            "source": {"api": url, "model": "big-1", **(source or {})},
            "prompt": {"system": "Code it.", "user": "<<{{ text }}>>", "answer": "code", "max_tokens": 2048},
            "generation": {"max_new_tokens": 8, "constrained": False, **(generation or {})},
            "few_shot": {"k": k},
            "labels": "icd10cm",
            "level": "code",
        }
    )


def arguments_of(folder: Path, spec: AskSpec, *more: str) -> list[str]:
    return [
        "ask.py", "--spec", spec.model_dump_json(), "--arm", "llm/big",
        "--labels", str(folder / "labels.json"), "--train", str(folder / "train.parquet"),
        "--split", str(folder / "test.parquet"), "--predictions", str(folder / "p.jsonl"),
        "--record", str(folder / "r.json"), "--cache", str(folder / "cache.sqlite"), *more,
    ]  # fmt: skip


@pytest.fixture
def run(folder, stubs, monkeypatch):
    """Run ask.py on a script's stub (or on a stub that is there)."""
    monkeypatch.setattr(pacing, "FIRST_WAIT", 0.01)

    def running(script: Script | Stub, *more: str, source=None, generation=None, k=0) -> Run:
        stub = script if isinstance(script, Stub) else stubs(script)
        spec = spec_of(stub.url, source, generation, k)
        monkeypatch.setattr(sys, "argv", arguments_of(folder, spec, *more))
        ask.main()
        return Run(
            read_predictions(folder / "p.jsonl"),
            read_step_record(folder / "r.json"),
            (folder / "p.jsonl").read_bytes(),
        )

    return running
