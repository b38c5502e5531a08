"""What the interval of one pair of arms allows to say."""

from __future__ import annotations

from slingshot.artifacts.comparison import MarginFinding
from slingshot.artifacts.metrics import Difference


def excludes_zero(difference: Difference) -> bool:
    return difference.low > 0 or difference.high < 0


def margin_finding(simultaneous: Difference, margin: float | None) -> MarginFinding | None:
    """What an interval says of a margin of `margin` points: two one-sided tests in one (Schuirmann 1987).

    equivalent: the whole interval lies within the margin. first_not_worse: the first arm is at most the margin worse
    (non-inferior), whatever it may be better. None: neither, or no margin is set.
    """
    if margin is None:
        return None
    reach = margin / 100
    if -reach < simultaneous.low and simultaneous.high < reach:
        return "equivalent"
    if simultaneous.low > -reach:
        return "first_not_worse"
    return "second_not_worse" if simultaneous.high < reach else None
