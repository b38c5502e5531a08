"""What the steps have in common that answer a split by prompts: `predict` and `ask`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class AnsweringJob:
    """Whose answers, from which files, into which. `choice`: choose_prompt's file, where the arm's prompt is chosen.

    `force`: answers that are kept from earlier are made again.
    """

    arm: str
    labels: Path
    train: Path
    split: Path
    predictions: Path
    record: Path
    cache: Path
    choice: Path | None = None
    force: bool = False

    @property
    def is_forced(self) -> bool:
        """Whether kept answers count for nothing, as the command line or the environment says."""
        return self.force or os.environ.get("SLINGSHOT_FORCE") == "1"
