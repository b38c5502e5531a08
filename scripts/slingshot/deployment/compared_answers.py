"""How many answers of an exported folder equal the study's, and when they are so few that its scores are in doubt."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_ALIKE = 0.9  # share of compared answers; below it the card warns


@dataclass(frozen=True)
class ComparedAnswers:
    """Answers compared with the study's. `reason`: why some may differ, as far as it is known."""

    alike: int
    compared: int
    by: str
    reason: str = ""

    @property
    def unlike(self) -> int:
        return self.compared - self.alike

    @property
    def note(self) -> str:
        return f"{self.alike} of {self.compared} test samples answered by {self.by} as in the study"

    @property
    def doubt(self) -> str | None:
        """A warning where the study's scores may not hold for the folder."""
        if self.alike >= LEAST_ALIKE * self.compared:
            return None
        return (
            f"{self.unlike} of {self.compared} test samples got another answer from this folder than in the study, so "
            f"the study's scores may not hold for it: {self.reason}"
        )


def reason_of(dtype: str, trained: str, answered: str) -> str:
    """What is known of why a language model's answers differ, its prompts being the same token by token."""
    if trained != "none":
        return f"the adapter was trained on {trained} weights and merged into unquantized ones"
    if answered != "none":
        return f"the study's answers came from {answered} weights, and these are unquantized"
    return (
        f"the likely reason is that {dtype} rounds, which decides where two answers are nearly as likely, as often in "
        "a model that was hardly trained; in float32 answers differ less"
    )


def reason_of_embedding(dtype: str) -> str:
    """What is known of why an embedding's classifier answers differently."""
    return (
        f"the likely reason is that its network embeds in {dtype}, whose rounding hangs on the other texts of a batch; "
        "in float32 answers differ less"
    )
