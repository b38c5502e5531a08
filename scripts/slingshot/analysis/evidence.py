"""What a verdict rests on, and how its arms and numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slingshot.artifacts.comparison import ArmSummary, PairComparison
from slingshot.artifacts.metrics import AnswerKind, Difference

READABLE = 0.9  # below this share of readable answers an arm's form counts beside its knowledge


@dataclass(frozen=True)
class Evidence:
    """Arms by their paths, and all pairs of one kind of answer."""

    arms: dict[str, ArmSummary]
    pairs: Sequence[PairComparison]
    answer: AnswerKind
    confidence: float
    margin: float | None
    currency: str

    @property
    def primary(self) -> list[PairComparison]:
        return [pair for pair in self.pairs if pair.family == "primary"]

    @property
    def competing(self) -> list[ArmSummary]:
        return [arm for arm in self.arms.values() if arm.competes and self._answers(arm)]

    def _answers(self, arm: ArmSummary) -> bool:
        """Whether the arm answers in this way: not so one without constrained answers, e.g. behind an endpoint.

        The one answer of a rival or of a head over labels stands for both ways.
        """
        if self.answer == "free" or arm.side == "rival" or f"constrained_{arm.estimand or 'exact_match'}" in arm.scores:
            return True
        return any(arm.arm in (pair.first, pair.second) for pair in self.pairs)

    @property
    def models(self) -> list[ArmSummary]:
        """The competing arms of the study's two sides."""
        return [arm for arm in self.competing if arm.side != "rival"]

    @property
    def rivals(self) -> list[ArmSummary]:
        return [arm for arm in self.competing if arm.side == "rival"]

    def score(self, arm: ArmSummary) -> float:
        """The estimand as a share, of constrained answers where these are asked for and there.

        Of an arm whose recipe has several seeds it is their mean, as in its pairs.
        """
        if mean := arm.seed_means.get(self.answer):
            return mean.value
        name = arm.estimand or "exact_match"
        return arm.scores.get(f"constrained_{name}" if self.answer == "constrained" else name, arm.score).value

    def best_of(self, arms: Sequence[ArmSummary]) -> ArmSummary:
        return max(arms, key=self.score)

    def between(self, first: ArmSummary, second: ArmSummary) -> PairComparison | None:
        """The pair of two arms, seen from the first; None where they were not compared."""
        for pair in self.pairs:
            if (pair.first, pair.second) == (first.arm, second.arm):
                return pair
            if (pair.first, pair.second) == (second.arm, first.arm):
                return turned(pair)
        return None

    def named(self, arm: ArmSummary) -> str:
        """`Qwen2.5-3B (3B, finetuned)`; with the arm's path where another arm would read the same."""
        name = _plain_name(arm)
        twins = [other for other in self.arms.values() if _plain_name(other) == name]
        return name if len(twins) == 1 else f"{name} [{arm.arm}]"

    def named_with_score(self, arm: ArmSummary) -> str:
        return f"{self.named(arm)} {percent(self.score(arm))}{self.seeds_of(arm)}"

    def seeds_of(self, arm: ArmSummary) -> str:
        """` (mean of 3 seeds)` behind such a score."""
        mean = arm.seed_means.get(self.answer)
        return f" (mean of {mean.runs} seeds)" if mean else ""

    def interval_in_words(self, pair: PairComparison) -> str:
        """`simultaneous 95% interval +1.0 to +7.0`: the one that goes with the adjusted p."""
        kind = "simultaneous " if pair.family_size > 1 else ""
        return f"{kind}{100 * self.confidence:g}% interval {span(pair.simultaneous)}"

    def gap_in_words(self, pair: PairComparison) -> str:
        return f"difference {points(pair.simultaneous.value)} points, {self.interval_in_words(pair)}"

    def p_in_words(self, p: float) -> str:
        """`p = 0.004`: three digits, and more where rounding would move p across the level."""
        if p < 0.001:
            return "p < 0.001"
        level, digits = 1 - self.confidence, 3
        while (round(p, digits) <= level) != (p <= level):
            digits += 1
        return f"p = {p:.{digits}f}"

    def pair_in_words(self, pair: PairComparison) -> str:
        """`A against B: +4.0 points (95% interval +1.0 to +7.0, p = 0.004)`, both corrected for the pair's family."""
        corrected = pair.family_size > 1
        found = {
            "equivalent": f"equal within {self.margin:g} points" if self.margin else "",
            "first_not_worse": f"the first is at most {self.margin:g} points worse" if self.margin else "",
            "second_not_worse": f"the second is at most {self.margin:g} points worse" if self.margin else "",
        }.get(pair.margin or "", "")
        shown = found and (not pair.significant or pair.margin == "equivalent")
        return (
            f"{self.named(self.arms[pair.first])} against {self.named(self.arms[pair.second])}: "
            f"{points(pair.simultaneous.value)} points{_seeds(pair)} ({self.interval_in_words(pair)}, "
            f"{'adjusted ' if corrected else ''}{self.p_in_words(pair.adjusted_p)}){f'; {found}' if shown else ''}."
        )


def _seeds(pair: PairComparison) -> str:
    runs = max(pair.first_runs, pair.second_runs)
    return f" over {runs} seeds" if runs > 1 else ""


def _plain_name(arm: ArmSummary) -> str:
    details = [arm.size] if arm.size else []
    if arm.kind in ("embedding", "encoder"):  # the network's name alone would read as a language model
        details.append(arm.kind)
    if arm.side != "rival" or arm.treatment != "trained":
        details.append(arm.treatment)
    return f"{arm.name} ({', '.join(details)})" if details else arm.name


def turned(pair: PairComparison) -> PairComparison:
    """The pair seen from the second arm."""
    swapped = {"first_not_worse": "second_not_worse", "second_not_worse": "first_not_worse"}
    return pair.model_copy(
        update={
            "first": pair.second,
            "second": pair.first,
            "difference": _negative(pair.difference),
            "simultaneous": _negative(pair.simultaneous),
            "first_runs": pair.second_runs,
            "second_runs": pair.first_runs,
            "only_first_right": pair.only_second_right,
            "only_second_right": pair.only_first_right,
            "cohens_g": None if pair.cohens_g is None else -pair.cohens_g,
            "odds_ratio": 1 / pair.odds_ratio if pair.odds_ratio else None,
            "margin": swapped.get(pair.margin or "", pair.margin),
            "levels": {level: _negative(difference) for level, difference in pair.levels.items()},
        }
    )


def _negative(difference: Difference) -> Difference:
    ends = {"value": -difference.value, "low": -difference.high, "high": -difference.low}
    return difference.model_copy(update={name: end + 0.0 for name, end in ends.items()})  # minus 0 reads as a loss


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def points(share: float) -> str:
    """A difference in percentage points with its sign; an interval that ends at exactly 0 does not leave it out."""
    return f"{100 * share:+.1f}".replace("-", "−") if share else "0.0"


def span(difference: Difference) -> str:
    return f"{points(difference.low)} to {points(difference.high)}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a; b; and c`: names may hold commas."""
    return " and ".join(names) if len(names) < 3 else f"{'; '.join(names[:-1])}; and {names[-1]}"
