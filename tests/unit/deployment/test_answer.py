"""What answer.py refuses before it answers anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from slingshot.core.errors import StudyError
from slingshot.deployment.answer import STANDARD_INPUT, AnswerJob, refuse_overwriting


def job_of(folder: Path, source: str, **files: str) -> AnswerJob:
    outputs = {name: folder / file for name, file in files.items()}
    return AnswerJob(study=folder, arm="baseline/tfidf", source=source, **outputs)


def test_an_output_never_takes_the_place_of_the_input_or_of_another_output(tmp_path: Path) -> None:
    source = str(tmp_path / "new.csv")
    refuse_overwriting(job_of(tmp_path, source, output="coded.csv", predictions="p.jsonl", drift="d.json"))
    refuse_overwriting(job_of(tmp_path, STANDARD_INPUT, output="new.csv"))
    with pytest.raises(StudyError, match=r"--output .*new\.csv: this is the input, which would be lost"):
        refuse_overwriting(job_of(tmp_path, source, output="sub/../new.csv"))
    with pytest.raises(StudyError, match=r"--predictions .*a\.jsonl: this is --output's file"):
        refuse_overwriting(job_of(tmp_path, source, output="a.jsonl", predictions="a.jsonl"))
