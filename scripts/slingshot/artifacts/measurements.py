"""What computing an arm's answers took, kept beside the answers: a run that finds them in the cache cannot measure it.

A measurement is known by its free answers (`StepRecord.answers_key`): the model, the adapter, the number type, the
prompts and the code are all part of that key, so that one of other answers is never taken.
"""

from __future__ import annotations

import logging
from pathlib import Path

from slingshot.artifacts.layout import ArmFiles
from slingshot.artifacts.records import Measurement, ProcessRecord, StepRecord, read_record, read_step_record
from slingshot.core.errors import StudyError

log = logging.getLogger(__name__)


def keep_measurement(step: StepRecord, process: ProcessRecord, folder: Path) -> bool:
    """Keep the records of a run in `folder`; False where it computed nothing whole, or an earlier one did more."""
    if step.answers_key is None or step.earlier is not None or step.whole_samples == 0 or process.exit_code:
        return False
    Measurement(step=step, process=process).write(_file(folder, step.answers_key))
    return True


def keep_launched(process: ProcessRecord, files: ArmFiles, folder: Path) -> bool:
    """Likewise, of a step that has just ended and left its record among `files`."""
    try:
        step = read_step_record(files.record(process.step))
    except (OSError, StudyError):
        return False
    return keep_measurement(step, process, folder)


def find_earlier(step: StepRecord, folder: Path) -> Measurement | None:
    """The kept measurement of a step's answers, if more of them were computed whole then; None if it is damaged."""
    if step.answers_key is None:
        return None
    try:
        kept = read_record(Measurement, _file(folder, step.answers_key))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, StudyError) as error:
        log.warning("what answering took earlier cannot be read: %s", error)
        return None
    return kept if kept.step.whole_samples > step.whole_samples else None


def _file(folder: Path, key: str) -> Path:
    return folder / f"{key}.json"
