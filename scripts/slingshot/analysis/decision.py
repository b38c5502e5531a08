"""What one pair of arms allows to say: an interval that agrees with the test, for the pair alone and for its family."""

from __future__ import annotations

from scipy.stats import beta

from slingshot.artifacts.comparison import MarginFinding
from slingshot.artifacts.metrics import Difference


def conditional_interval(only_first: int, only_second: int, n: int, confidence: float) -> tuple[float, float]:
    """Interval of the difference given the number of discordant pairs, the inversion of McNemar's exact test.

    Of m discordant samples the first arm wins a binomial number; Clopper and Pearson's (1934) interval of the winning
    share w gives (2 w - 1) m / n. It leaves out 0 exactly where McNemar's exact two-sided p is at most 1 - confidence.
    """
    m = only_first + only_second
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, only_first, only_second + 1)) if only_first else 0.0
    high = float(beta.ppf(1 - tail, only_first + 1, only_second)) if only_second else 1.0
    return (2 * low - 1) * m / n, (2 * high - 1) * m / n


def agree_with_test(
    difference: Difference, p: float, confidence: float, only_first: int, only_second: int
) -> Difference:
    """The interval, made longer where it leaves out 0 although the test does not reject at the same level.

    An exact test is more careful than most intervals: of 11 to 3 discordant samples in 300, p is 0.057 and an interval
    may begin above 0. Then the interval of the test itself is joined to it. It can only become longer, so it covers
    what it covered.
    """
    if p <= 1 - confidence or difference.low <= 0 <= difference.high:
        return difference
    low, high = conditional_interval(only_first, only_second, difference.n, confidence)
    return difference.model_copy(update={"low": min(difference.low, low, 0.0), "high": max(difference.high, high, 0.0)})


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
