"""Choosing among the candidates of a sweep, on validation alone."""

from __future__ import annotations

import shutil
from typing import Any

from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.records import ProcessRecord, StepRecord, add_up_phases, read_process_record, read_step_record
from slingshot.artifacts.training import read_training
from slingshot.config.base import SelectBy
from slingshot.config.specs import ChooseSpec
from slingshot.core.errors import StudyError
from slingshot.core.files import replacing, write_json


def choose(spec: ChooseSpec, results: ResultFiles, arm: str) -> None:
    """Make the adapter of the best candidate the arm's own, with its log, its summary and what all candidates cost."""
    candidates = {path: results.arm(path) for path in spec.candidates}
    best = best_candidate(candidates, spec.select_by)
    chosen, target = candidates[best], results.arm(arm)
    for source, copy in (
        (chosen.adapter_weights, target.adapter_weights),
        (chosen.adapter_settings, target.adapter_settings),
        (chosen.adapter_base, target.adapter_base),
        (chosen.training_log, target.training_log),
    ):
        with replacing(copy) as temporary:
            shutil.copyfile(source, temporary)
    write_json(target.training, summarize_all(candidates, best, spec.select_by))
    record, process = add_up_cost(candidates, best, arm)
    record.write(target.record("finetune"))
    process.write(target.process("finetune"))


def best_candidate(candidates: dict[str, ArmFiles], select_by: SelectBy) -> str:
    """The candidate with the lowest validation loss, or the highest score of answers; the first at a tie.

    Raises:
        StudyError: a candidate's training.json lacks the score.
    """
    scores = {candidate: _score(files, select_by) for candidate, files in candidates.items()}
    return min(
        scores, key=lambda candidate: scores[candidate] if select_by == "validation_loss" else -scores[candidate]
    )


def summarize_all(candidates: dict[str, ArmFiles], best: str, select_by: SelectBy) -> dict[str, Any]:
    """The chosen candidate's training.json, with how every candidate did."""
    return {
        **read_training(candidates[best].training),
        "chosen": best,
        "candidates": {candidate: {select_by: _score(files, select_by)} for candidate, files in candidates.items()},
    }


def add_up_cost(candidates: dict[str, ArmFiles], best: str, arm: str) -> tuple[StepRecord, ProcessRecord]:
    """The chosen candidate's records, with the seconds, tokens and energy of all candidates added up."""
    records = [read_step_record(files.record("finetune")) for files in candidates.values()]
    processes = [read_process_record(files.process("finetune")) for files in candidates.values()]
    record = read_step_record(candidates[best].record("finetune"))
    record.arm = arm
    record.trained_tokens = sum(each.trained_tokens for each in records)
    record.seconds = add_up_phases(records)
    record.earlier_seconds = sum(each.earlier_seconds for each in records)
    record.notes = [
        *record.notes,
        f"chosen among {len(records)} candidates on validation; seconds and tokens are of all",
    ]
    process = read_process_record(candidates[best].process("finetune"))
    process.arm = arm
    process.seconds = sum(each.seconds for each in processes)
    process.device_seconds = sum(each.device_seconds for each in processes)
    energies = [each.energy_wh for each in processes]
    process.energy_wh = None if None in energies else sum(energy for energy in energies if energy is not None)
    process.peak_resident = max(each.peak_resident for each in processes)
    process.device_peak = max((each.device_peak for each in processes if each.device_peak is not None), default=None)
    return record, process


def _score(files: ArmFiles, select_by: SelectBy) -> float:
    score = read_training(files.training).get(f"best_{select_by}")
    if score is None:
        raise StudyError(f"{files.training} has no best_{select_by}: run the candidate's finetune again")
    return float(score)
