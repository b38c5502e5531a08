"""The command that makes a file of a study, for messages."""

from __future__ import annotations

import shlex
from pathlib import Path

from slingshot.artifacts.layout import ResultFiles


def command_for(results: ResultFiles, path: Path) -> str:
    """What makes a file of a study, as typed from the project's root."""
    study = results.folder.parent
    return f"snakemake --directory {shlex.quote(str(study))} {shlex.quote(path.relative_to(study).as_posix())}"
