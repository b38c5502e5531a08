"""What the steps have in common that answer a split by prompts: `predict` and `ask`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from slingshot.config.recipe import Generation


def longest_answer(generation: Generation) -> int:
    """Tokens that an answer may have, the thought before it included."""
    return generation.max_new_tokens + (generation.thinking_tokens if generation.thinking else 0)


@dataclass(frozen=True, kw_only=True)
class AnsweringJob:
    """The arm that answers, the files it reads and those it writes.

    `choice` is choose_prompt's file, where the arm's prompt is chosen; `force` makes answers again that were kept.
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
        """Whether kept answers are ignored, as the command line or SLINGSHOT_FORCE=1 asks for."""
        return self.force or os.environ.get("SLINGSHOT_FORCE") == "1"
