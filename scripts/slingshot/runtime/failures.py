"""Errors that another try would only repeat, remembered from one try of a workflow's step to the next.

Snakemake's `retries` (profiles/slurm) starts any job that failed again, also one that ended in an error of the study.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from slingshot.core.files import write_text

FOLDER = Path(".snakemake/slingshot/failures")  # in the study's folder, where every node sees it


def remember_failure(made: Path, message: str) -> None:
    """Note that the step which makes the file `made` ended in an error that comes again."""
    write_text(_note(made), message)


def remembered_failure(made: Path) -> str | None:
    """What the step that makes `made` ended in, if its last try ended in an error that comes again."""
    with suppress(OSError, UnicodeDecodeError):
        return _note(made).read_text(encoding="utf-8")
    return None


def forget_failure(made: Path) -> None:
    _note(made).unlink(missing_ok=True)


def _note(made: Path) -> Path:
    return FOLDER / hashlib.sha256(str(made).encode()).hexdigest()[:32]
