"""A report of the arms that are there, which names those that are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.manifest import original_digest, read_manifest, verify_files
from slingshot.artifacts.metrics import read_metrics
from slingshot.artifacts.model_card import read_model_card
from slingshot.artifacts.predictions import read_predictions
from slingshot.artifacts.records import read_step_record
from slingshot.artifacts.training import digest_of_adapter
from slingshot.config.arms import Arm, arms_of
from slingshot.config.models import FolderModel
from slingshot.config.specs import ImportPredictionsSpec
from slingshot.config.study import Study, load_study, read_config
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.core.fingerprints import DIGEST_MEMORY, digests_of_files
from slingshot.core.hashing import digest_of_file
from slingshot.core.terminal import say
from slingshot.rivals.imported import imported_answers
from slingshot.study.steps import step_spec

PROGRAMS = Path(__file__).parents[2]


def report_available(study_folder: Path, results: Path, available: Path) -> None:
    """Compare and report the arms whose results are there; `available` holds the page beside links to their folders.

    Raises:
        StudyError: no arm has results of the study as it stands.
    """
    study = load_study(study_folder / "config.yaml")
    manifest = read_manifest(ResultFiles(results))
    if manifest is not None:
        verify_files(study_folder, manifest)
    elif fault := fault_of_data(study, study_folder, ResultFiles(results)):
        raise StudyError(f"no arm has results that belong to the study as it stands: {fault}")
    arms = [arm for arm in arms_of(study) if not arm.candidate]
    why = {arm.path: _why_not(study, study_folder, ResultFiles(results), arm) for arm in arms}
    for arm, reason in why.items():
        say(f"{arm}: {reason or 'reported'}")
    if all(why.values()):
        raise StudyError("no arm has results that belong to the study as it stands: there is nothing to report yet")
    link_results(ResultFiles(results), available, [arm for arm, reason in why.items() if not reason])
    write_report(study, study_folder, ResultFiles(available))
    if study.data.test_sets:
        say(f"without the further test sets {', '.join(study.data.test_sets)}: results/report.html has them")
    say(f"the report is {ResultFiles(available).report}")


def fault_of_data(study: Study, folder: Path, results: ResultFiles) -> str:
    """Why the splits are not the study's; empty if they are."""
    path = results.data.dataset
    if not path.exists():
        return f"{path} is not there"
    if read_json(path).get("spec") != step_spec(study, folder, "prepare_data").model_dump(mode="json"):
        return f"{path} is of an earlier config, code or source of the data: run `snakemake data`"
    return ""


def _why_not(study: Study, folder: Path, results: ResultFiles, arm: Arm) -> str:
    """As what_is_missing; a file that can't be read counts as missing, too."""
    try:
        return what_is_missing(study, folder, results, arm)
    except (StudyError, OSError, ValueError, LookupError, TypeError) as error:
        return f"missing: {' '.join(str(error).split())[:300]}"


def what_is_missing(study: Study, folder: Path, results: ResultFiles, arm: Arm) -> str:
    """Why an arm cannot be reported; empty if it can.

    Results that an earlier config, code, split or adapter made count as missing.
    """
    files = results.arm(arm.path)
    for path in (files.predictions, files.metrics):
        if not path.exists():
            return f"missing: {path} is not there"
    made_from = read_metrics(files.metrics).provenance
    read_predictions(files.predictions)
    if made_from["predictions"] != digest_of_file(files.predictions):
        return "missing: its metrics are of other predictions"
    if made_from["test"] != original_digest(results.data.test, results):
        return "missing: its metrics are of another test split"
    if read_manifest(results) is not None:
        return ""  # an archive has no weights, and its files were verified
    if made_from.get("spec") != step_spec(study, folder, "score", arm.path).digest:
        return f"missing: {files.metrics} is of an earlier config or code"
    if not arm.steps and not _is_imported(study, folder, results, arm):
        return f"missing: {files.predictions} is not what the file of its answers says"
    if arm.has_weights and (fault := _fault_of_network(study, folder, results, arm)):
        return f"missing: {fault}"
    for kind, step in arm.steps.items():
        if kind == "finetune" and arm.best_of:
            continue
        record = files.record(kind)
        if not record.exists():
            return f"missing: {record} is not there"
        if read_step_record(record).spec != step_spec(study, folder, step, arm.path).model_dump(mode="json"):
            return f"missing: {record} is of an earlier config or code"
    if not arm.generates or not arm.finetuned:
        return ""
    used = read_step_record(files.record("predict")).inputs.get("adapter")
    if not files.adapter_weights.exists() or used != digest_of_adapter(files.adapter):
        return "missing: its predictions are of another adapter"
    return ""


def _is_imported(study: Study, folder: Path, results: ResultFiles, arm: Arm) -> bool:
    """Whether predictions.jsonl holds what its file of answers says today."""
    spec = step_spec(study, folder, "import_predictions", arm.path)
    assert isinstance(spec, ImportPredictionsSpec)
    return imported_answers(spec, folder, results.data.test, results.data.labels) == read_predictions(
        results.arm(arm.path).predictions
    )


def _fault_of_network(study: Study, folder: Path, results: ResultFiles, arm: Arm) -> str:
    """Why the arm's answers are of another network than the study names; empty if they are not."""
    path, named = results.model_card(arm.model), study.networks[arm.model]
    card = read_model_card(path)
    if card.source != named.source.model_dump() or named.layers not in (None, card.layers):
        return f"{path} is of an earlier config"
    if isinstance(named.source, FolderModel) and named.layers is None:
        found = digests_of_files([folder / named.source.folder / name for name in card.files], folder / DIGEST_MEMORY)
        if list(found.values()) != list(card.files.values()):
            return f"{path} is of other files than {named.source.folder} holds"
    used = [read_step_record(results.arm(arm.path).record(kind)).inputs.get("model") for kind in arm.steps]
    return (
        "" if {card.revision} >= {each for each in used if each} else f"its answers are of another network than {path}"
    )


def link_results(results: ResultFiles, available: Path, arms: list[str]) -> None:
    """Make `available` look like a results folder that holds these arms alone.

    An arm's folder is made again, and what lies in it is linked: it may hold the folders of other arms.

    Raises:
        StudyError: `available` is something else than a folder that an earlier report left.
    """
    if available.is_symlink():
        raise StudyError(f"{available} is a link, and what it leads to is not touched: remove the link")
    if available.is_dir() and any(available.iterdir()) and not (available / "data").is_symlink():
        raise StudyError(f"{available} holds other files than such a report, which would be lost: name a new folder")
    if available.exists():
        shutil.rmtree(available)
    folders = [results.arm(arm).folder for arm in arms]
    sources = [results.data.folder, results.models]
    for folder in folders:
        sources += [each for each in sorted(folder.iterdir()) if not _holds_an_arm(each, ArmFiles(folder))]
    for source in sources:
        link = available / source.relative_to(results.folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(source, link.parent))


def _holds_an_arm(folder: Path, arm: ArmFiles) -> bool:
    """Whether a folder inside an arm's is another arm's: it has answers or a finetune of its own."""
    own = (arm.adapter, arm.fitted, arm.validation.folder, arm.test_set("x").folder.parent, arm.shards)
    inner = ArmFiles(folder)
    return folder.is_dir() and folder not in own and (inner.training.exists() or inner.predictions.exists())


def write_report(study: Study, folder: Path, available: ResultFiles) -> None:
    """Run compare and report on `available`."""
    written = read_config(folder / "config.yaml")
    steps = {
        "compare": ["--comparison", available.comparison, "--results-json", available.results],
        "report": ["--study", folder, "--report", available.report, "--figures", available.figures],
    }
    for step, options in steps.items():
        spec = step_spec(study, folder, step, written_config=written).model_dump_json()
        command = [sys.executable, str(PROGRAMS / f"{step}.py"), "--spec", spec, "--results", str(available.folder)]
        command += map(str, options)
        if subprocess.run([*command, "--allow-missing"] if step == "compare" else command, check=False).returncode:
            raise StudyError(f"the arms that are there could not be reported: see what {step} said above")
