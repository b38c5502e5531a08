"""What the steps have in common that answer a split by prompts: `predict` and `ask`."""

from __future__ import annotations

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
