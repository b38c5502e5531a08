"""Choosing among the candidates of a sweep, on validation alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from slingshot.artifacts.records import ProcessRecord, StepRecord, read_process_record, read_step_record
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json

SelectBy = Literal["validation_loss", "validation_exact_match"]


def best_candidate(folders: dict[str, Path], select_by: SelectBy) -> str:
    """The candidate with the lowest validation loss, or the highest validation exact match; the first at a tie.

    Raises:
        StudyError: a candidate's training.json lacks the score.
    """
    scores = {candidate: _score(folder, select_by) for candidate, folder in folders.items()}
    return min(
        scores, key=lambda candidate: scores[candidate] if select_by == "validation_loss" else -scores[candidate]
    )


def summary_of_all(folders: dict[str, Path], best: str, select_by: SelectBy) -> dict[str, Any]:
    """The chosen candidate's training.json, with how every candidate did."""
    return {
        **read_json(folders[best] / "training.json"),
        "chosen": best,
        "candidates": {candidate: {select_by: _score(folder, select_by)} for candidate, folder in folders.items()},
    }


def cost_of_all(folders: dict[str, Path], best: str, arm: str) -> tuple[StepRecord, ProcessRecord]:
    """The chosen candidate's records, with the seconds, tokens and energy of all candidates added up."""
    records = [read_step_record(folder / "finetune.json") for folder in folders.values()]
    processes = [read_process_record(folder / "finetune.process.json") for folder in folders.values()]
    record = read_step_record(folders[best] / "finetune.json")
    record.arm = arm
    record.trained_tokens = sum(each.trained_tokens for each in records)
    phases = {phase for each in records for phase in each.seconds}
    record.seconds = {phase: sum(each.seconds.get(phase, 0) for each in records) for phase in sorted(phases)}
    record.earlier_seconds = sum(each.earlier_seconds for each in records)
    record.notes = [
        *record.notes,
        f"chosen among {len(records)} candidates on validation; seconds and tokens are of all",
    ]
    process = read_process_record(folders[best] / "finetune.process.json")
    process.arm = arm
    process.seconds = sum(each.seconds for each in processes)
    energies = [each.energy_wh for each in processes]
    process.energy_wh = None if None in energies else sum(energy for energy in energies if energy is not None)
    process.peak_resident = max(each.peak_resident for each in processes)
    process.device_peak = max((each.device_peak for each in processes if each.device_peak is not None), default=None)
    return record, process


def _score(folder: Path, select_by: SelectBy) -> float:
    score = read_json(folder / "training.json").get(f"best_{select_by}")
    if score is None:
        raise StudyError(f"{folder}/training.json has no best_{select_by}: run the candidate's finetune again")
    return float(score)
