"""metrics.json and comparison.json of a simulated study, with textbook intervals.

Tests of the report need the shape of these files and numbers that follow from the answers; how score and compare
work them out is tested elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

from slingshot.comparison import ArmSummary, Comparison, PairComparison, Verdict
from slingshot.cost import ArmCost, BreakEven, MemoryRow, ServingCost, StepCost
from slingshot.ensemble import Ensemble
from slingshot.metrics import (
    AnswerScores,
    CalibrationBin,
    Confusion,
    GroupScore,
    HierarchicalScores,
    LevelScores,
    Metrics,
    RankedScores,
    Score,
)
from slingshot.records import read_process_record, read_step_record
from slingshot.statistics import Difference
from tests.results_tree import CODES, TITLES, Contender, Tree

PLACES = {"code": 0, "category": 2, "block": 3, "chapter": 4}
TREE = {entry[0]: entry for entry in CODES}
TYPES = {"llm": "LLM", "slm": "SLM", "baseline": "BASELINE"}


def finish(tree: Tree, contenders: Sequence[Contender]) -> None:
    """Write what score and compare would have written."""
    metrics = {contender.path: _metrics(tree, contender) for contender in contenders}
    for path, scores in metrics.items():
        scores.write(tree.folder / path / "metrics.json")
    _comparison(tree, contenders, metrics).write(tree.folder / "comparison.json")


def share(right: int, n: int) -> Score:
    """A share with Wald's interval, cut to 0 and 1."""
    value = right / n if n else 0.0
    half = 1.96 * math.sqrt(value * (1 - value) / n) if n else 0.0
    return Score(value=value, low=max(0.0, value - half), high=min(1.0, value + half), n=n, method="wilson")


def _lifted(code: str | None, level: str) -> str | None:
    return TREE[code][PLACES[level]] if code else None


def _metrics(tree: Tree, contender: Contender) -> Metrics:
    answers = tree.predictions[contender.path]
    n = len(answers)
    at = {
        level: share(sum(_lifted(one.code, level) == _lifted(one.label, level) for one in answers), n)
        for level in PLACES
    }
    read = share(sum(one.code is not None for one in answers), n)
    exact = at["code"]
    ranked = [next((i for i, one in enumerate(each.candidates) if one.code == each.label), 9) for each in answers]
    top = {k: share(sum(rank < k for rank in ranked), n) for k in (1, 3, 5)}
    bins = [CalibrationBin(low=i / 10, high=(i + 1) / 10, n=0, confidence=None, accuracy=None) for i in range(10)]
    bins[6] = CalibrationBin(low=0.6, high=0.7, n=n, confidence=math.exp(-0.4), accuracy=top[1].value)
    arm = contender.arm
    return Metrics(
        model_type=TYPES[arm.kind],  # type: ignore[arg-type]
        model_size=contender.size,
        training_status="finetuned" if arm.finetuned else "untrained",
        n_samples=n,
        exact_match_accuracy=exact.value,
        f1=exact.value,
        precision=exact.value,
        recall=exact.value,
        arm=arm.path,
        model_name=contender.name,
        labels="icd10cm",
        level="code",
        confidence=0.95,
        resamples=200,
        answers={"free": _answers(tree, contender, at, read)},
        ranked=RankedScores(
            top_1=top[1], top_3=top[3], top_5=top[5], expected_calibration_error=share(n // 10, n), calibration=bins
        ),
        truncated_samples=0,
        provenance={"predictions": "a" * 64},
    )


def _answers(tree: Tree, contender: Contender, at: dict[str, Score], read: Score) -> AnswerScores:
    answers = tree.predictions[contender.path]
    chapters = sorted({row["chapter"] for row in tree.samples}, key=int)
    pairs = [(_lifted(one.label, "chapter"), _lifted(one.code, "chapter")) for one in answers]
    counts = [[pairs.count((true, said)) for said in [*chapters, None]] for true in chapters]
    train = {code: "1-9" if place % 2 else "10-99" for place, (code, *_) in enumerate(CODES)}
    return AnswerScores(
        exact_match=at["code"],
        parsable=read,
        valid=read,
        known=read,
        levels={
            level: LevelScores(
                accuracy=score,
                **{f"{mean}_{kind}": score for mean in ("macro", "weighted") for kind in ("precision", "recall", "f1")},
                true_labels=len(CODES),
                answered_labels=len(CODES),
            )
            for level, score in at.items()
        },
        hierarchical=HierarchicalScores(precision=at["category"], recall=at["category"], f1=at["category"]),
        by_chapter=_groups(tree, contender, chapters, lambda row: row["chapter"], TITLES),
        by_train_frequency=_groups(tree, contender, ["1-9", "10-99"], lambda row: train[row["label"]]),
        by_length=_groups(tree, contender, list("01234"), lambda row: str(int(row["sample_id"], 16) % 5)),
        confusion=Confusion(
            level="chapter", labels=chapters, titles=[TITLES[chapter] for chapter in chapters], counts=counts
        ),
    )


def _groups(
    tree: Tree,
    contender: Contender,
    names: Sequence[str],
    group: Callable[[dict[str, str]], str],
    titles: dict[str, str] | None = None,
) -> list[GroupScore]:
    scores = []
    for name in names:
        right = [
            one.code == one.label
            for one, row in zip(tree.predictions[contender.path], tree.samples, strict=True)
            if group(row) == name
        ]
        scores.append(GroupScore(group=name, title=(titles or {}).get(name), accuracy=share(sum(right), len(right))))
    return scores


def _comparison(tree: Tree, contenders: Sequence[Contender], metrics: dict[str, Metrics]) -> Comparison:
    large = [one for one in contenders if one.arm.kind == "llm"]
    small = [one for one in contenders if one.arm.kind == "slm"]
    others = [one for one in contenders if one.arm.kind == "baseline"]
    pairs = [_pair(tree, "primary", first, second) for first, second in product(small, large)]
    pairs += [_pair(tree, "baseline", first, second) for first, second in product(small + large, others)]
    ledger = [row for one in contenders for row in _ledger(tree, one)]
    price = tree.spec.cost.gpu_hour_price
    return Comparison(
        confidence=0.95,
        resamples=200,
        seed=42,
        n_samples=len(tree.samples),
        arms=[_summary(tree, one, metrics[one.path]) for one in contenders],
        missing=[],
        verdict=Verdict(
            outcome="specialization",
            sentence="Specialization beats size on these simulated data.",
            caveats=["The answers are drawn at random."],
            answer="free",
            winners=[one.path for one in small],
        ),
        constrained_verdict=None,
        comparisons=pairs,
        ensembles=[_ensemble(tree, pair) for pair in pairs if pair.family == "primary"],
        break_even=[
            BreakEven(
                finetuned=first.path,
                zero_shot=second.path,
                resource=resource,
                answer="volume" if resource != "energy_wh" else "unknown",
                dialogues=12_345 if resource != "energy_wh" else None,
                training=813.0,
                finetuned_per_dialogue=0.05,
                zero_shot_per_dialogue=0.12,
                note=None if resource != "energy_wh" else "the card has no energy counter",
            )
            for first, second in product(small, large)
            for resource in ("device_seconds", "energy_wh", "money")
        ],
        currency="USD",
        gpu_hour_price=price,
        kwh_price=None,
        memory_ledger=ledger,
        provenance={"metrics": "b" * 64},
    )


def _pair(tree: Tree, family: str, first: Contender, second: Contender) -> PairComparison:
    ours = [one.code == one.label for one in tree.predictions[first.path]]
    theirs = [one.code == one.label for one in tree.predictions[second.path]]
    n = len(ours)
    won = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    lost = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    value = (won - lost) / n
    half = 1.96 * math.sqrt(max(won + lost - (won - lost) ** 2 / n, 1)) / n
    p = math.erfc(abs(value) / half * 1.96 / math.sqrt(2))
    return PairComparison(
        family=family,  # type: ignore[arg-type]
        answer="free",
        first=first.path,
        second=second.path,
        difference=Difference(value=value, low=value - half, high=value + half, n=n, method="bootstrap"),
        only_first_right=won,
        only_second_right=lost,
        p=p,
        adjusted_p=min(1.0, 4 * p),
        significant=4 * p <= 0.05,
        cohens_g=won / (won + lost) - 0.5 if won + lost else None,
        odds_ratio=won / lost if lost else None,
        minimal_detectable_difference=2.8 * half / 1.96,
        levels={},
    )


def _ensemble(tree: Tree, pair: PairComparison) -> Ensemble:
    n = len(tree.samples)
    ours = [one.code == one.label for one in tree.predictions[pair.first]]
    both = sum(ours) - pair.only_first_right
    either = sum(ours) + pair.only_second_right
    return Ensemble(
        finetuned=pair.first,
        zero_shot=pair.second,
        weights="equal",
        finetuned_weight=0.5,
        votes="answers",
        accuracy=share(sum(ours), n),
        best_member=pair.first,
        gain=pair.difference,
        both_right=both / n,
        only_finetuned_right=pair.only_first_right / n,
        only_zero_shot_right=pair.only_second_right / n,
        both_wrong=1 - either / n,
        oracle_accuracy=either / n,
        oracle_gap=either / n - sum(ours) / n,
    )


def _summary(tree: Tree, contender: Contender, metrics: Metrics) -> ArmSummary:
    arm, free, ranked = contender.arm, metrics.answers["free"], metrics.ranked
    scores = {
        "exact_match": free.exact_match,
        "macro_f1": free.levels["code"].macro_f1,
        "weighted_f1": free.levels["code"].weighted_f1,
        "parsable": free.parsable,
        "known": free.known,
        "valid": free.valid,
        **{f"{level}_accuracy": free.levels[level].accuracy for level in ("category", "block", "chapter")},
        "hierarchical_f1": free.hierarchical.f1 if free.hierarchical else None,
        "top_1": ranked.top_1 if ranked else None,
        "top_5": ranked.top_5 if ranked else None,
        "expected_calibration_error": ranked.expected_calibration_error if ranked else None,
    }
    return ArmSummary(
        arm=arm.path,
        kind=arm.kind,
        model=arm.model,
        variant=arm.variant,
        finetuned=arm.finetuned,
        name=contender.name,
        size=contender.size,
        result_key=arm.path,
        scores={key: score for key, score in scores.items() if score},
        cost=_cost(tree, contender),
    )


def _cost(tree: Tree, contender: Contender) -> ArmCost | None:
    if contender.arm.kind == "baseline":
        return None
    predict = _step(tree, contender, "predict")
    per_dialogue = predict.work_seconds / predict.samples
    return ArmCost(
        arm=contender.path,
        training=_step(tree, contender, "finetune") if contender.arm.finetuned else None,
        predict=predict,
        per_1000_dialogues=ServingCost(
            device_seconds=1000 * per_dialogue,
            energy_wh=predict.energy_wh and 1000 * predict.energy_wh / predict.samples,
            money=predict.money and 1000 * predict.money / predict.samples,
        ),
    )


def _step(tree: Tree, contender: Contender, step: str) -> StepCost:
    record = read_step_record(tree.folder / contender.path / f"{step}.json")
    process = read_process_record(tree.folder / contender.path / f"{step}.process.json")
    price = tree.spec.cost.gpu_hour_price
    work = sum(seconds for phase, seconds in record.seconds.items() if phase != "load")
    return StepCost(
        step=step,  # type: ignore[arg-type]
        device=record.device,
        unit="gpu" if process.device else "cpu",
        device_seconds=process.seconds,
        load_seconds=record.seconds["load"],
        work_seconds=work,
        samples=record.samples,
        cached_samples=0,
        tokens=record.prompt_tokens + record.trained_tokens,
        tokens_per_second=(record.prompt_tokens + record.trained_tokens) / work,
        seconds_per_dialogue=work / record.samples,
        peak_allocated=record.peak_allocated,
        peak_device=process.device_peak,
        peak_resident=process.peak_resident,
        energy_wh=process.energy_wh,
        money=process.seconds / 3600 * price if price else None,
    )


def _ledger(tree: Tree, contender: Contender) -> list[MemoryRow]:
    rows = []
    for step in ("finetune", "predict"):
        path = tree.folder / contender.path / f"{step}.process.json"
        if path.exists():
            process = read_process_record(path)
            rows.append(
                MemoryRow(
                    arm=contender.path,
                    step=step,
                    device=process.device,
                    total=process.device_total,
                    before=process.device_before,
                    peak=process.device_peak,
                    after=process.device_after,
                    peak_resident=process.peak_resident,
                    seconds=process.seconds,
                    exit_code=process.exit_code,
                )
            )
    return rows
