"""The answer in one sentence: what the evidence allows, and no more. docs/statistics.md gives the rule."""

from __future__ import annotations

from collections.abc import Sequence

from slingshot.artifacts.comparison import ArmSummary, PairComparison, Verdict
from slingshot.artifacts.metrics import AnswerKind

Arms = dict[str, ArmSummary]


def verdict_of(
    arms: Sequence[ArmSummary], compared: Sequence[PairComparison], answer: AnswerKind, confidence: float
) -> Verdict:
    """Weigh the primary pairs: finetuned small arms against zero-shot large ones.

    specialization: a small arm is significantly better than every large one. size: a large arm than every small one.
    mixed: some difference is significant, but no arm beats the whole other side. undecided: none is.
    """
    by_path = {arm.arm: arm for arm in arms}
    primary = [pair for pair in compared if pair.family == "primary"]
    if not primary:
        sentence = "No verdict: the study has no finetuned small model beside an untrained large one."
        return Verdict(outcome="undecided", sentence=sentence, caveats=[], answer=answer, winners=[])
    small = winners(primary, side="first")
    large = winners(primary, side="second")
    caveats = caveats_of(by_path, compared, answer)
    if small:
        best = best_of(small, by_path, answer)
        pairs = [pair for pair in primary if pair.first == best]
        sentence = f"Specialization beats size here: {beats(best, pairs, by_path, answer, confidence)}"
        return Verdict(outcome="specialization", sentence=sentence, caveats=caveats, answer=answer, winners=small)
    if large:
        best = best_of(large, by_path, answer)
        pairs = [turned(pair) for pair in primary if pair.second == best]
        sentence = f"Size beats specialization here: {beats(best, pairs, by_path, answer, confidence)}"
        return Verdict(outcome="size", sentence=sentence, caveats=caveats, answer=answer, winners=large)
    n = primary[0].difference.n
    found = [pair for pair in primary if pair.significant]
    if found:
        shown = "; ".join(one_result(pair, by_path, answer, confidence) for pair in found)
        sentence = f"Mixed: no arm beats the whole other side at n = {n}, but some pairs differ: {shown}."
        return Verdict(outcome="mixed", sentence=sentence, caveats=caveats, answer=answer, winners=[])
    shown = "; ".join(undecided_result(pair, by_path, answer, confidence) for pair in primary)
    sentence = f"Undecided at n = {n}: {shown}."
    return Verdict(outcome="undecided", sentence=sentence, caveats=caveats, answer=answer, winners=[])


def winners(pairs: Sequence[PairComparison], side: str) -> list[str]:
    """Arms of one side that are significantly better than every arm of the other."""
    sign = 1 if side == "first" else -1
    arms = dict.fromkeys(getattr(pair, side) for pair in pairs)
    return [
        arm
        for arm in arms
        if all(pair.significant and sign * pair.difference.value > 0 for pair in pairs if getattr(pair, side) == arm)
    ]


def best_of(paths: Sequence[str], arms: Arms, answer: AnswerKind) -> str:
    return max(paths, key=lambda path: exact_match(arms[path], answer))


def exact_match(arm: ArmSummary, answer: AnswerKind) -> float:
    name = "constrained_exact_match" if answer == "constrained" else "exact_match"
    return arm.scores.get(name, arm.scores["exact_match"]).value


def turned(pair: PairComparison) -> PairComparison:
    """The pair seen from the second arm."""
    difference = pair.difference.model_copy(
        update={"value": -pair.difference.value, "low": -pair.difference.high, "high": -pair.difference.low}
    )
    return pair.model_copy(update={"first": pair.second, "second": pair.first, "difference": difference})


def beats(best: str, pairs: Sequence[PairComparison], arms: Arms, answer: AnswerKind, confidence: float) -> str:
    n = pairs[0].difference.n
    others = ", ".join(
        f"{named(arms[pair.second])} {percent(exact_match(arms[pair.second], answer))} "
        f"(difference {interval(pair, confidence)}, {p_value(pair)})"
        for pair in pairs
    )
    share = percent(exact_match(arms[best], answer))
    return f"{named(arms[best])} answers {share} of {n} test dialogues exactly, {others}."


def one_result(pair: PairComparison, arms: Arms, answer: AnswerKind, confidence: float) -> str:
    return f"{named(arms[pair.first])} against {named(arms[pair.second])} {interval(pair, confidence)}, {p_value(pair)}"


def undecided_result(pair: PairComparison, arms: Arms, answer: AnswerKind, confidence: float) -> str:
    least = pair.minimal_detectable_difference
    power = (
        f"a difference under {100 * least:.1f} points had less than an 80% chance to show"
        if least is not None
        else "too few answers differ for any difference to show"
    )
    return f"{one_result(pair, arms, answer, confidence)}, and {power}"


def named(arm: ArmSummary) -> str:
    size = f"{arm.size}, " if arm.size else ""
    return f"{arm.name} ({size}{'finetuned' if arm.finetuned else 'untrained'})"


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def interval(pair: PairComparison, confidence: float) -> str:
    difference = pair.difference
    return (
        f"{100 * difference.value:+.1f} points, {100 * confidence:g}% interval "
        f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}"
    )


def p_value(pair: PairComparison) -> str:
    p = "p < 0.001" if pair.adjusted_p < 0.001 else f"p = {pair.adjusted_p:.3f}"
    return f"Holm-adjusted {p}"


def caveats_of(arms: Arms, compared: Sequence[PairComparison], answer: AnswerKind) -> list[str]:
    """What a reader must know beside the sentence."""
    caveats = []
    for pair in (pair for pair in compared if pair.family == "baseline"):
        first, second = arms[pair.first], arms[pair.second]
        if first.variant is None and not (pair.significant and pair.difference.value > 0):
            worse = "is significantly worse than" if pair.significant else "does not significantly beat"
            caveats.append(
                f"{named(first)} {worse} TF-IDF with a linear classifier "
                f"({percent(exact_match(second, 'free'))}; difference {100 * pair.difference.value:+.1f} points)."
            )
    for arm in arms.values():
        parsable = arm.scores["parsable"].value
        if answer == "free" and parsable < 0.9 and arm.kind in ("llm", "slm"):
            caveats.append(
                f"From {percent(1 - parsable)} of the answers of {named(arm)} no label could be read: "
                "its form counts against it as much as its knowledge."
            )
    return caveats
