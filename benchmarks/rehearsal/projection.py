"""What a step would take on all of the data: what grows with the samples is scaled, what does not stays."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slingshot.artifacts.records import ProcessRecord, StepRecord
from slingshot.core.files import read_json, read_jsonl

EPOCHS = 3  # of the whole study
GROWING = ("prompts", "prefill", "decode", "candidates", "generate")


def projected(
    process: ProcessRecord, record: StepRecord, phases: Mapping[str, float], folder: Path, share: float
) -> dict[str, Any]:
    """Seconds on all of the data, and the arithmetic in words.

    Args:
        phases: seconds, none within another
        folder: of the step's results
    """
    if process.step == "predict":
        growing = sum(phases.get(phase, 0.0) for phase in GROWING)
        fixed = process.seconds - growing
        seconds = fixed + growing / share
        sentence = f"{fixed:.1f} s + {growing:.1f} s / {share:g} = {seconds:.0f} s"
        return {"seconds": round(seconds, 1), "sentence": sentence}
    return projected_training(process, record, phases, folder, share)


def projected_training(
    process: ProcessRecord, record: StepRecord, phases: Mapping[str, float], folder: Path, share: float
) -> dict[str, Any]:
    """Training goes by its median rate, so that a slow first step, which compiles, counts as fixed."""
    training = read_json(folder / "training.json")
    rate = statistics.median(row["tokens_per_second"] for row in read_jsonl(folder / "training_log.jsonl"))
    tokens = record.trained_tokens / record.spec["finetune"]["epochs"] * EPOCHS
    at_rate = record.trained_tokens / rate
    evaluating, encoding = phases["evaluate"], phases["encode"]
    recipe = record.spec["finetune"] | {"epochs": EPOCHS}
    judged = training["validation_samples"]
    evaluated = judged * len(training["evaluations"])
    all_judged = min(judged / share, recipe["validation_samples"] or math.inf)
    all_evaluated = round(all_judged * evaluations_of(training["train_samples"] / share, recipe))
    fixed = process.seconds - at_rate - evaluating - encoding
    seconds = fixed + (encoding + tokens / rate) / share + evaluating * all_evaluated / evaluated
    sentence = (
        f"{fixed:.1f} s + ({encoding:.1f} s encoding + {tokens:,.0f} tokens / {rate:,.0f} tokens/s) / {share:g} + "
        f"{evaluating:.1f} s evaluating * {all_evaluated:,} / {evaluated:,} samples = {seconds:.0f} s"
    )
    return {"seconds": round(seconds, 1), "sentence": sentence}


def evaluations_of(samples: float, recipe: Mapping[str, Any]) -> int:
    """Their number when training is not stopped early: every N steps, and after the last."""
    steps = math.ceil(recipe["epochs"] * math.ceil(samples / recipe["batch_size"]))
    return math.ceil(min(steps, recipe["max_steps"] or steps) / recipe["evaluate_every"])
