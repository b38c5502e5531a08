"""Compare and report the arms whose results are there and belong to the study as it stands; say which are missing.

For a study of which one arm failed, or is still running. Nothing that the full report is made of is touched: the
page lies in a folder of its own, beside links to the arms that it shows.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from slingshot import cli
from slingshot.config import Arm, Study, arms_of, load_study
from slingshot.errors import StudyError
from slingshot.files import digest_of_file, read_json
from slingshot.records import read_step_record
from slingshot.steps import step_spec

log = logging.getLogger(__name__)
PROGRAMS = Path(__file__).parent


def main() -> None:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--study", type=Path, required=True, help="the study's folder, with its config.yaml")
    arguments.add_argument("--results", type=Path, required=True, help="the study's results folder")
    arguments.add_argument("--available", type=Path, required=True, help="folder for the report; its content is lost")
    given = arguments.parse_args()
    study = load_study(given.study / "config.yaml")
    arms = [arm for arm in arms_of(study) if not arm.candidate]
    why = {arm.path: what_is_missing(study, given.study, given.results, arm) for arm in arms}
    for arm, reason in why.items():
        log.info("%s: %s", arm, reason or "reported")
    if all(why.values()):
        raise StudyError("no arm has results that belong to the study as it stands: there is nothing to report yet")
    link_results(given.results, given.available, [arm for arm, reason in why.items() if not reason])
    write_report(study, given.study, given.available)
    log.info("the report is %s", given.available / "report.html")


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


if __name__ == "__main__":
    cli.run(main)
