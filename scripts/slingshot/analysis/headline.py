"""The headline: which arm to use and what it costs, and how size and specialization compare; and remarks on both."""

from __future__ import annotations

from collections.abc import Sequence

from slingshot.analysis.evidence import READABLE, Evidence, counted, listed, percent
from slingshot.artifacts.comparison import ArmSummary, Outcome, PairComparison, Verdict
from slingshot.config.models import parameters_of

ONE_SIZE = 1.5  # models whose sizes differ by less than this factor are of nearly one size


def headline(
    evidence: Evidence, outcome: Outcome, winners: Sequence[str], constrained: Verdict | None, recommended: str = ""
) -> tuple[ArmSummary | None, str, list[str]]:
    """The competing arm of the highest score, the headline, and what belongs to it.

    Args:
        constrained: the verdict on constrained answers; None where there is none, or this is it
        recommended: what stands beside this headline and is not repeated in it
    """
    if not evidence.competing:
        return None, "No verdict: no arm that competes has results yet.", []
    best = evidence.best_of(evidence.competing)
    opening = "With only known labels allowed: " if evidence.answer == "constrained" else ""
    advice = recommendation(evidence, best, winners)
    sentences = [advice] if advice != recommended else []
    if evidence.primary or not recommended:  # without pairs the question's answer stands beside this headline, too
        sentences.append(question(evidence, outcome, winners))
    sentences = sentences or ["the advice is the same."]
    lead = f"{opening}{' '.join(sentences)}"
    form_and_more = form(evidence, outcome, constrained), sizes(evidence, outcome), seeds(evidence, best)
    return best, lead, [*ties(evidence, best), *rivals_in_words(evidence, best), *filter(None, form_and_more)]


def recommendation(evidence: Evidence, best: ArmSummary, winners: Sequence[str]) -> str:
    """`Use` an arm that is shown to be better than what it was compared with, else only the highest score."""
    n, score = best.score.n, percent(evidence.score(best))
    compared = best.arm in winners or (best.side == "rival" and len(evidence.competing) > 1)
    matters = not any(pair.margin == "equivalent" for pair in evidence.primary if best.arm in (pair.first, pair.second))
    shown = compared and matters and not unbeaten(evidence, best)
    opening = "Use" if shown else f"Highest score of {counted(len(evidence.competing), 'arm')}:"
    found = f"it answers {score} of {n:,} test dialogues exactly"
    if best.estimand == "micro_f1":
        found = f"its micro F1 is {score} over {n:,} test dialogues"
    return (
        f"{opening} {evidence.named(best)}: {found}{evidence.seeds_of(best)}{cost_in_words(best, evidence.currency)}."
    )


def ties(evidence: Evidence, best: ArmSummary) -> list[str]:
    """Arms with the same score as the best one: that it is named first is the order of the config."""
    score = evidence.score(best)
    others = [arm for arm in evidence.competing if arm.arm != best.arm]
    names = [evidence.named(arm) for arm in others if evidence.score(arm) == score]
    return [f"The same score: {listed(names)}."] if names else []


def unbeaten(evidence: Evidence, best: ArmSummary) -> list[ArmSummary]:
    """The arms that `best` should beat and does not: the rivals, and of a rival the models, too."""
    others = evidence.competing if best.side == "rival" else evidence.rivals
    pairs = [(other, evidence.between(best, other)) for other in others if other.arm != best.arm]
    return [other for other, pair in pairs if pair is None or not beats(pair)]


def beats(pair: PairComparison) -> bool:
    """Whether the first arm is significantly better, by more than what makes no difference (statistics.margin)."""
    return pair.significant and pair.difference.value > 0 and pair.margin != "equivalent"


def cost_in_words(arm: ArmSummary, currency: str) -> str:
    """What serving and training cost, as far as that was measured: money before device time."""
    if arm.cost is None:
        return ""
    serving, training = arm.cost.per_1000_dialogues, arm.cost.training
    costs = []
    if serving.money is not None:
        costs.append(f"{amount(serving.money)} {currency} per 1,000 dialogues")
    elif serving.device_seconds is not None:
        unit = arm.cost.predict.unit.upper()
        costs.append(f"{amount(serving.device_seconds)} seconds on the {unit} per 1,000 dialogues")
    if training is not None and training.money is not None:
        costs.append(f"{amount(training.money)} {currency} of training")
    elif training is not None and training.device_seconds is not None:
        costs.append(f"{duration(training.device_seconds, training.unit.upper())} of training")
    return f", for {' after '.join(costs)}" if costs else ""


def amount(value: float) -> str:
    """Three significant digits without an exponent: 1,234 and 0.0123."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1e-4 or value == 0 else "under 0.0001"


def duration(seconds: float, unit: str) -> str:
    """Device time in the unit that reads best."""
    if seconds < 120:
        return f"{amount(seconds)} seconds on the {unit}"
    whole = f"{amount(seconds / 60)} minutes" if seconds < 7200 else f"{amount(seconds / 3600)} hours"
    return f"{whole} on the {unit}"


def set_beside(evidence: Evidence, best: ArmSummary) -> list[tuple[ArmSummary, PairComparison]]:
    """The arms that `rivals_in_words` sets the best one beside: the rivals, and of a rival the best model, too.

    Each with its pair, seen from the best arm.
    """
    others = [arm for arm in evidence.rivals if arm.arm != best.arm]
    if best.side == "rival" and evidence.models:
        others.append(evidence.best_of(evidence.models))
    return [(other, pair) for other in others if (pair := evidence.between(best, other))]


def rivals_in_words(evidence: Evidence, best: ArmSummary) -> list[str]:
    """How the best arm stands to those of neither side, such as TF-IDF, and such an arm to the best model."""
    beaten: list[str] = []
    equal: list[str] = []
    open_: list[str] = []
    for other, pair in set_beside(evidence, best):
        name = f"{'the best language model, ' if other.side != 'rival' else ''}{evidence.named_with_score(other)}"
        if beats(pair):
            beaten.append(name)
        else:
            found = equal if pair.margin == "equivalent" else open_
            found.append(f"{name} ({evidence.gap_in_words(pair)})")
    sentences = []
    if equal and evidence.margin is not None:
        sentences.append(f"is equal within {evidence.margin:g} points to {listed(equal)}: choose by cost.")
    if open_:
        # The one that is no language model is cheaper.
        first = "try that first" if len(open_) == 1 else "try those first"
        advice = "undecided" if best.side == "rival" else first
        sentences.append(f"is not shown to be better than {listed(open_)}: {advice}.")
    if beaten:
        sentences.append(f"is significantly better than {listed(beaten)}.")
    return [f"{evidence.named(best)} {sentence}" for sentence in sentences]


def question(evidence: Evidence, outcome: Outcome, winners: Sequence[str]) -> str:
    """The study's own question, answered by the primary pairs."""
    primary = evidence.primary
    if not primary:
        return "Size against specialization is not tested: no finetuned small model stands beside a large one."
    small = evidence.best_of([evidence.arms[pair.first] for pair in primary])
    large = evidence.best_of([evidence.arms[pair.second] for pair in primary])
    winner = evidence.best_of([evidence.arms[path] for path in winners]) if winners else small
    if outcome == "specialization":
        others = {pair.second for pair in primary}
        of = f", the best of {len(others)} large arms" if len(others) > 1 else ""
        near = near_sizes(evidence)
        opening = f"Training wins at nearly one size ({near})" if near else "Specialization beats size"
        of += little_more(evidence, winner, large)
        return f"{opening} here: {evidence.named_with_score(winner)} against {evidence.named_with_score(large)}{of}."
    if outcome in ("size", "both"):
        others = {pair.first for pair in primary}
        of = f", the best of {len(others)} finetuned small arms" if len(others) > 1 else ""
        opening = "Size beats specialization" if outcome == "size" else "Size and specialization together win"
        of += little_more(evidence, winner, small)
        return f"{opening} here: {evidence.named_with_score(winner)} against {evidence.named_with_score(small)}{of}."
    n = primary[0].difference.n
    between = f"best small {evidence.named_with_score(small)}, best large {evidence.named_with_score(large)}"
    if outcome == "mixed":
        found = sum(pair.significant for pair in primary)
        return (
            f"Mixed on size against specialization: {found} of {counted(len(primary), 'pair')} "
            f"{'differs' if found == 1 else 'differ'}, but no arm beats the whole other side; {between}."
        )
    if evidence.margin is not None and all(pair.margin == "equivalent" for pair in primary):
        return f"Size and specialization are equal within {evidence.margin:g} points; {between}: choose by cost."
    more = (
        "more test samples or seeds"
        if any(pair.difference.method == "seeds" for pair in primary)
        else "more test samples"
    )
    return f"Undecided on size against specialization at n = {n:,}; {between}: {more} would narrow it."


def little_more(evidence: Evidence, winner: ArmSummary, other: ArmSummary) -> str:
    """That a difference is significant and too small to matter; empty where it matters, or no margin is set."""
    pair = evidence.between(winner, other)
    if evidence.margin is None or pair is None or pair.margin != "equivalent":
        return ""
    return f", though by less than the {evidence.margin:g} points that matter: choose by cost"


def form(evidence: Evidence, outcome: Outcome, constrained: Verdict | None) -> str:
    """Whether the large arms answered in form, and what is left of the outcome where only known labels are allowed."""
    large = best_large_of_pairs(evidence)
    if evidence.answer == "constrained" or large is None:
        return ""
    parsable = large.scores["parsable"].value
    unread = (
        f"Only {percent(parsable)} of the answers of {evidence.named(large)} could be read. "
        if parsable < READABLE
        else ""
    )
    if constrained is not None and constrained.evidence:
        compared, all_pairs = len(constrained.evidence), len(evidence.primary)
        if compared < all_pairs:
            return (
                f"{unread}With only known labels allowed, in {compared} of {all_pairs} pairs, the "
                f"outcome is {OUTCOMES[constrained.outcome]}."
            )
        if constrained.outcome == outcome:
            why = ": it is knowledge, not form" if outcome in DECIDED else ""
            return f"{unread}The outcome is the same with only known labels allowed{why}."
        reversed_ = "specialization" in (outcome, constrained.outcome) and {outcome, constrained.outcome} <= DECIDED
        # That one outcome is significant and the other is not does not show that they differ.
        why = "so form decides here" if reversed_ else "so it may be form that decides"
        return (
            f"{unread}With only known labels allowed the outcome is {OUTCOMES[constrained.outcome]}, {why}: "
            "compare both verdicts."
        )
    if unread:
        return f"{unread}So form counts beside knowledge: set generation.constrained: true to tell them apart."
    return ""


def best_large_of_pairs(evidence: Evidence) -> ArmSummary | None:
    """The arm of highest score that the question sets small ones against; None without such pairs."""
    paths = dict.fromkeys(pair.second for pair in evidence.primary)
    return evidence.best_of([evidence.arms[path] for path in paths]) if paths else None


DECIDED: set[Outcome] = {"specialization", "size", "both"}  # one side beats the other

OUTCOMES: dict[Outcome, str] = {
    "specialization": "specialization",
    "size": "size",
    "both": "size and specialization together",
    "mixed": "mixed",
    "undecided": "undecided",
}


def sizes(evidence: Evidence, outcome: Outcome) -> str:
    """Whether the two sides differ in size at all; empty where the question's answer says so."""
    known = all(parameters_of(size) for size in _sizes_of_pairs(evidence))
    if evidence.primary and not known:
        return "The size of some arms is not known, so size itself is not tested."
    near = near_sizes(evidence)
    if not near or outcome == "specialization":
        return ""
    return f"The two sides are of nearly one size ({near}): this tests training, not size."


def near_sizes(evidence: Evidence) -> str:
    """The sizes of both sides where they are nearly one; empty where they differ, or one is not known."""
    small = {evidence.arms[pair.first].size for pair in evidence.primary}
    large = {evidence.arms[pair.second].size for pair in evidence.primary}
    if not evidence.primary or not all(parameters_of(size) for size in (*small, *large)):
        return ""
    most_small = max(parameters_of(size) or 0.0 for size in small)
    least_large = min(parameters_of(size) or 0.0 for size in large)
    if least_large >= ONE_SIZE * most_small:
        return ""
    return ", ".join(sorted({size for size in (*small, *large) if size}, key=lambda size: parameters_of(size) or 0.0))


def _sizes_of_pairs(evidence: Evidence) -> list[str | None]:
    return [evidence.arms[path].size for pair in evidence.primary for path in (pair.first, pair.second)]


def seeds(evidence: Evidence, best: ArmSummary) -> str:
    """Whether a trained arm that the headline is about rests on one seed: any of the question's, and the best."""
    paths = dict.fromkeys(path for pair in evidence.primary for path in (pair.first, pair.second))
    arms = [evidence.arms[path] for path in paths] or evidence.models
    arms = [arm for arm in arms if arm.finetuned]
    if best not in arms and (best.kind == "encoder" or (best.side != "rival" and best.finetuned)):
        arms.append(best)
    once = [arm for arm in arms if evidence.answer not in arm.seed_means]
    if not once:
        return ""
    if once == [best] and best.side == "rival":
        return f"One seed of {evidence.named(best)}: another may move it."
    of = "" if len(once) == len(arms) else f" of {listed([evidence.named(arm) for arm in once])}"
    return f"One seed{of}: another may move a finetuned arm (designs.seeds)."
