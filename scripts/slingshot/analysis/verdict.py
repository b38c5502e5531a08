"""The study's answer: what the evidence allows, and no more. docs/statistics.md gives the rule."""

from __future__ import annotations

from collections.abc import Sequence

from slingshot.analysis.evidence import READABLE, Evidence, counted, listed, percent
from slingshot.analysis.headline import best_large_of_pairs, headline, recommendation, set_beside
from slingshot.artifacts.comparison import ArmSummary, Outcome, PairComparison, Verdict

SIDES = ("small", "large")


def judge(evidence: Evidence, constrained: Verdict | None = None, free: Evidence | None = None) -> Verdict:
    """Weigh the primary pairs: finetuned small arms against large ones, however these are used.

    specialization: a small arm is significantly better than every large one. size: an untrained large arm than every
    small one. both: a finetuned large arm than every small one. mixed: some pair differs, but no arm beats the whole
    other side. undecided: none does.

    Args:
        constrained: the verdict on constrained answers, which the headline sets beside that on free ones
        free: the evidence of free answers, where this is the verdict beside theirs, which repeats no recommendation
    """
    outcome, winners = outcome_of(evidence)
    recommended = ""
    if free is not None and free.competing:
        recommended = recommendation(free, free.best_of(free.competing), outcome_of(free)[1])
    best, sentence, remarks = headline(evidence, outcome, winners, constrained, recommended)
    return Verdict(
        outcome=outcome,
        sentence=sentence,
        remarks=remarks,
        evidence=[evidence.pair_in_words(pair) for pair in evidence.primary],
        facts=facts_of(evidence),
        caveats=caveats_of(evidence, best),
        answer=evidence.answer,
        best=best.arm if best else None,
        winners=winners,
    )


def outcome_of(evidence: Evidence) -> tuple[Outcome, list[str]]:
    """The outcome and the arms of the winning side that beat every arm of the other."""
    primary = evidence.primary
    if small := winners_of(primary, side="first"):
        return "specialization", small
    if large := winners_of(primary, side="second"):
        best = evidence.best_of([evidence.arms[path] for path in large])
        return ("both" if best.finetuned else "size"), large
    return ("mixed" if any(pair.significant for pair in primary) else "undecided"), []


def winners_of(pairs: Sequence[PairComparison], side: str) -> list[str]:
    """Arms of one side of the pairs that are significantly better than every arm of the other."""
    sign = 1 if side == "first" else -1
    arms = dict.fromkeys(getattr(pair, side) for pair in pairs)
    return [
        arm
        for arm in arms
        if all(pair.significant and sign * pair.difference.value > 0 for pair in pairs if getattr(pair, side) == arm)
    ]


def facts_on_seeds(evidence: Evidence) -> list[str]:
    """Whose intervals count what another seed would have changed; empty where none do."""
    runs = {pair.first: pair.first_runs for pair in evidence.primary}
    runs |= {pair.second: pair.second_runs for pair in evidence.primary}
    if max(runs.values()) == 1:
        return []
    seeds = ", ".join(f"{evidence.named(evidence.arms[path])} {count}" for path, count in runs.items() if count > 1)
    return [
        f"Seeds: {seeds}. Score and differences of such an arm are here those of its mean, and intervals and tests "
        "count samples and seeds; tables and figures of arms show the run of the study's own seed."
    ]


def facts_on_groups(pairs: Sequence[PairComparison]) -> list[str]:
    """What samples that belong together cost; empty where each stands for itself."""
    effects = [pair.difference.design_effect for pair in pairs if pair.difference.design_effect is not None]
    if not effects:
        return []
    least, most = min(effects), max(effects)
    between = f"{least:.1f}" if most - least < 0.05 else f"{least:.1f} to {most:.1f}"
    return [
        "Test samples come in groups, which intervals and tests take as wholes: the variance of a difference is "
        f"{between} times that of as many independent samples (the design effect)."
    ]


def facts_on_choices(evidence: Evidence) -> list[str]:
    """How many settings or prompts each side could choose from on validation; nothing where neither had a choice."""
    most = {side: max([1, *(arm.choices for arm in evidence.models if arm.side == side)]) for side in SIDES}
    if max(most.values()) == 1:
        return []
    small, large = (most[side] for side in SIDES)
    same = "as many for each side" if small == large else "not as many for each side, which favours the one with more"
    return [
        f"Chosen on validation, test read once: a small model from {counted(small, 'recipe')} at most (designs.sweep), "
        f"a large one from {counted(large, 'prompt')} (designs.prompts): {same}."
    ]


def facts_on_sets(evidence: Evidence) -> list[str]:
    """What is compared where samples have several labels; nothing where they have one."""
    if not any("macro_f1_code_set" in arm.scores for arm in evidence.arms.values()):
        return []
    estimand = next(iter(evidence.arms.values())).estimand or "exact_match"
    measured = {
        "micro_f1": "micro F1 over all pairs of a dialogue and a label: frequent labels and long sets count most",
        "exact_match": "the share of dialogues whose whole set is right",
    }
    return [f"A dialogue has a set of labels. What is compared is {measured[estimand]} (statistics.estimand)."]


def facts_of(evidence: Evidence) -> list[str]:
    """How many arms competed, what that does to the correction, and what counts as equal."""
    facts = facts_on_sets(evidence)
    primary = evidence.primary
    if primary:
        size, level = primary[0].family_size, 1 - evidence.confidence
        own = [p for p in primary if evidence.arms[p.first].design is None and evidence.arms[p.second].design is None]
        grown = f" Without the designs' arms it would be {len(own)}." if 0 < len(own) < len(primary) == size else ""
        correction = (
            f"each p-value is multiplied by {size} (Bonferroni), so one pair must reach p <= {level / size:.3g} "
            f"instead of {level:.3g}.{grown}"
            if size > 1
            else "one pair needs no correction."
        )
        facts.append(
            f"{counted(len(evidence.competing), 'arm')} competed; {counted(size, 'pair')} of a finetuned small and a "
            f"large arm, declared by the config: {correction}"
        )
        facts += facts_on_choices(evidence)
        facts += facts_on_seeds(evidence)
        facts += facts_on_groups(primary)
        facts.append(
            f"A difference under {evidence.margin:g} points does not matter here (statistics.margin)."
            if evidence.margin
            else "No margin is set (statistics.margin), so no two arms are called equal."
        )
    else:
        facts += facts_on_groups(evidence.pairs)
    return facts


def caveats_of(evidence: Evidence, best: ArmSummary | None) -> list[str]:
    """What a reader must know beside the headline, of the arms that it is about and of no other.

    How the best arm stands to the rivals is in the headline's remarks, and is not said again.
    """
    spoken_of = {path for pair in evidence.primary for path in (pair.first, pair.second)}
    if best:
        spoken_of.add(best.arm)
    models = [arm for arm in evidence.models if arm.arm in spoken_of or not evidence.primary]
    told = [{best.arm, other.arm} for other, _ in set_beside(evidence, best)] if best else []
    caveats = []
    if evidence.primary and evidence.answer == "free" and len(evidence.primary) < evidence.primary[0].family_size:
        lacking, declared = evidence.primary[0].family_size - len(evidence.primary), evidence.primary[0].family_size
        caveats.append(
            f"{lacking} of {counted(declared, 'declared pair')} of a finetuned small and a large arm "
            f"{'have' if lacking > 1 else 'has'} no results yet: they may change what is said of size."
        )
    for arm in models:
        rivals = [rival for rival in evidence.rivals if {arm.arm, rival.arm} not in told]
        caveats += caveats_on_rivals(evidence, arm, rivals)
    named_in_remarks = best_large_of_pairs(evidence)
    for arm in models:
        parsable = arm.scores["parsable"].value
        if evidence.answer == "free" and parsable < READABLE and arm != named_in_remarks:
            caveats.append(
                f"From {percent(1 - parsable)} of the answers of {evidence.named(arm)} no label could be read."
            )
    return caveats


def caveats_on_rivals(evidence: Evidence, arm: ArmSummary, rivals: Sequence[ArmSummary]) -> list[str]:
    """Which of these arms of neither side a model is worse than, and which it is not shown to beat."""
    worse, open_ = [], []
    for rival in rivals:
        pair = evidence.between(arm, rival)
        if pair is None or (pair.significant and pair.difference.value > 0):
            continue
        name = evidence.named_with_score(rival)
        if pair.significant:
            worse.append(name)
        else:
            open_.append(f"{name} ({evidence.gap_in_words(pair)})")
    found = []
    if worse:
        found.append(f"{evidence.named(arm)} is significantly worse than {listed(worse)}.")
    if open_:
        found.append(f"{evidence.named(arm)} is not shown to be better than {listed(open_)}.")
    return found
