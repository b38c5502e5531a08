"""Which pairs are compared, and why: declared by the config's arms alone, before any of them has answered.

An arm is asked only for its side, its treatment and its design, so a new kind of arm needs no change here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

from slingshot.artifacts.comparison import Family, Side
from slingshot.config.arms import Arm

SIDES: dict[str, Side] = {"slm": "small", "llm": "large"}


@dataclass(frozen=True)
class DeclaredPair:
    """Two arms to compare on the same samples, in the order first minus second."""

    family: Family
    first: Arm
    second: Arm


def side_of(arm: Arm) -> Side:
    """The arm's side of the study's question; an arm on neither side is a rival to both."""
    return SIDES.get(arm.kind, "rival") if arm.generates else "rival"


def competes(arm: Arm) -> bool:
    """Whether the arm may be recommended: any way to use a model on all of train.

    Arms with another seed, arms on a part of train, untrained small models and human coders may not.
    """
    whole = arm.seed is None and arm.train_size is None
    return whole and not arm.human and (side_of(arm) != "small" or arm.finetuned)


class Treated(Protocol):
    """What `repeats` needs of an arm: an `Arm` has it, and so has its summary."""

    @property
    def kind(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def design(self) -> str | None: ...
    @property
    def finetuned(self) -> bool: ...


def repeats(other: Treated, arm: Treated) -> bool:
    """Whether `other` is the recipe of `arm`, a model finetuned by its plain recipe, with another seed."""
    plain = arm.finetuned and arm.design in (None, "crossed")
    return plain and other.design == "seeds" and (other.kind, other.model) == (arm.kind, arm.model)


def describe_treatment(arm: Arm, shots: int, classifies: bool = False) -> str:
    """What was done with the arm's model, e.g. `finetuned on 48 samples` or `untrained, 5 examples`.

    Args:
        shots: worked examples in the arm's prompt
        classifies: a head over labels answers, instead of writing
    """
    if arm.human:
        return "a human coder"
    if not arm.steps:
        return "answers imported"
    if side_of(arm) == "rival":
        return "trained" if arm.finetuned else "untrained"
    words = "finetuned" if arm.finetuned else "untrained"
    if arm.train_size is not None:
        words += f" on {arm.train_size:,} samples"
    if classifies:
        words += ", a head answers"
    if shots:
        words += f", {shots} example{'s' if shots != 1 else ''}"
    if arm.best_of:
        words += ", settings chosen on validation"
    return words if arm.seed is None else f"{words}, seed {arm.seed}"


def declare_pairs(arms: Sequence[Arm]) -> list[DeclaredPair]:
    """Every pair that is compared, the primary ones first.

    primary: each finetuned small arm against each way to use a large model. baseline: each competing arm against each
    rival. secondary: every other finetuned model against every untrained one, and every other arm against the rivals.
    """
    models = [arm for arm in arms if side_of(arm) != "rival"]
    rivals = [arm for arm in arms if side_of(arm) == "rival"]
    pairs = [
        DeclaredPair("primary", first, second)
        for first in models
        for second in models
        if (side_of(first), side_of(second)) == ("small", "large") and competes(first) and competes(second)
    ]
    primary = {(pair.first.path, pair.second.path) for pair in pairs}
    pairs += [
        DeclaredPair("secondary", first, second)
        for first in models
        for second in models
        if first.finetuned and not second.finetuned and (first.path, second.path) not in primary
    ]
    pairs += [DeclaredPair("secondary", second, first) for first, second in combinations(rivals, 2)]
    return pairs + [
        DeclaredPair("baseline" if competes(first) and competes(second) else "secondary", first, second)
        for first in models
        for second in rivals
    ]
