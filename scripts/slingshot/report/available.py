"""A report of the arms that are there, which names those that are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from slingshot.artifacts.records import read_step_record
from slingshot.config.arms import Arm
from slingshot.config.study import Study
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.core.hashing import digest_of_file
from slingshot.study.steps import step_spec

PROGRAMS = Path(__file__).parents[2]


def what_is_missing(study: Study, folder: Path, results: Path, arm: Arm) -> str:
    """Why an arm cannot be reported; empty if it can.

    Results that an earlier config, code, split or adapter made count as missing.
    """
    place = results / arm.path
    for name in ("predictions.jsonl", "metrics.json"):
        if not (place / name).exists():
            return f"missing: {place / name} is not there"
    metrics = read_json(place / "metrics.json")
    made_from = metrics["provenance"]
    if made_from["predictions"] != digest_of_file(place / "predictions.jsonl"):
        return "missing: its metrics are of other predictions"
    if made_from["test"] != digest_of_file(results / "data" / "test.parquet"):
        return "missing: its metrics are of another test split"
    if arm.kind == "baseline":
        return ""
    steps = ("finetune", "predict") if arm.finetuned and not arm.best_of else ("predict",)
    for step in steps:
        record = place / f"{step}.json"
        if not record.exists():
            return f"missing: {record} is not there"
        if read_step_record(record).spec != step_spec(study, folder, step, arm.path).model_dump(mode="json"):
            return f"missing: {record} is of an earlier config or code"
    adapter = place / "adapter" / "adapter_model.safetensors"
    used = read_step_record(place / "predict.json").inputs.get("adapter")
    if arm.finetuned and (not adapter.exists() or used != digest_of_file(adapter)):
        return "missing: its predictions are of another adapter"
    return ""


def link_results(results: Path, available: Path, arms: list[str]) -> None:
    """Make `available` look like a results folder that holds these arms alone."""
    shutil.rmtree(available, ignore_errors=True)
    for name in ("data", "models", *arms):
        link = available / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(results / name, link.parent))


def write_report(study: Study, folder: Path, available: Path) -> None:
    """Run compare and report on `available`."""
    written = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    steps = {
        "compare": ["--comparison", available / "comparison.json", "--results-json", available / "results.json"],
        "report": ["--study", folder, "--report", available / "report.html", "--figures", available / "figures"],
    }
    for step, options in steps.items():
        spec = step_spec(study, folder, step, written_config=written).model_dump_json()
        command = [sys.executable, str(PROGRAMS / f"{step}.py"), "--spec", spec, "--results", str(available)]
        command += map(str, options)
        if subprocess.run([*command, "--allow-missing"] if step == "compare" else command, check=False).returncode:
            raise StudyError(f"the arms that are there could not be reported: see what {step} said above")
