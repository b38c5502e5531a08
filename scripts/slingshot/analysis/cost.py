"""What an arm took from the machine, and from which volume on finetuning has paid for itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Literal

from slingshot.analysis.endpoint_cost import endpoint_cost
from slingshot.artifacts.cost import ArmCost, BreakEven, MemoryRow, Resource, ServingCost, StepCost
from slingshot.artifacts.records import SETUP_PHASES, WORK_PHASES, Measurement, ProcessRecord, StepRecord
from slingshot.config.endpoints import TokenPrices
from slingshot.config.reporting import Cost
from slingshot.core.distributions import normal_quantile

RESOURCES: tuple[Resource, ...] = ("device_seconds", "energy_wh", "money")


def arm_cost(
    arm: str,
    predict: StepRecord,
    predict_process: ProcessRecord,
    finetune: StepRecord | None,
    finetune_process: ProcessRecord | None,
    prices: Cost,
    token_prices: TokenPrices | None = None,
) -> ArmCost:
    """What an arm's steps took, and what 1,000 dialogues take.

    Args:
        finetune: null, as is its process, for an arm that was not finetuned by us.
        token_prices: of an arm behind an endpoint, where the study sets them.
    """
    if predict.endpoint is not None:
        return endpoint_cost(arm, predict, predict_process, predict.endpoint, token_prices)
    note = None
    if earlier := predict.earlier:
        note = describe_earlier(predict, earlier)
        predict, predict_process = earlier.step, earlier.process
    training = None
    if finetune is not None and finetune_process is not None:
        training = _finetune_cost(finetune, finetune_process, prices)
    serving = _predict_cost(predict, predict_process, prices).model_copy(update={"note": note})
    return ArmCost(
        arm=arm,
        training=training,
        predict=serving,
        per_1000_dialogues=_serving_cost(serving, predict_process.devices, prices),
    )


def describe_earlier(now: StepRecord, earlier: Measurement) -> str:
    """That an arm's cost is an earlier run's, and under which settings that answered."""
    before, after = (step.spec.get("generation") or {} for step in (earlier.step, now))
    changed = [
        f"generation.{key} was {_in_yaml(before.get(key))} (now {_in_yaml(value)})"
        for key, value in after.items()
        if before.get(key) != value
    ]
    when = f", when {', '.join(changed)}" if changed else ""
    return (
        f"measured by an earlier run that computed {earlier.step.whole_samples:,} of these answers on "
        f"{earlier.process.device or earlier.step.device}{when}; the last run took them from the cache"
    )


def _in_yaml(value: object) -> str:
    return json.dumps(value, default=str)


def memory_row(process: ProcessRecord) -> MemoryRow:
    """A step's row of the memory ledger."""
    return MemoryRow(
        arm=process.arm,
        step=process.step,
        device=process.device,
        total=process.device_total,
        before=process.device_before,
        peak=process.device_peak,
        after=process.device_after,
        peak_resident=process.peak_resident,
        seconds=process.seconds,
        exit_code=process.exit_code,
    )


def _predict_cost(step: StepRecord, process: ProcessRecord, prices: Cost) -> StepCost:
    """Rates are over the samples worked on now. They are null where of some of them a part came from the cache: the
    time then was that of half an answer."""
    samples = step.samples - step.cached_samples
    tokens = step.fresh_tokens
    if tokens is None and step.cached_samples == 0:
        tokens = step.prompt_tokens + step.new_tokens or None
    work = _work_seconds(step)
    whole = samples > 0 and step.partly_cached_samples == 0 and work > 0
    return _step_cost(
        step,
        process,
        prices,
        samples=samples,
        tokens=tokens,
        tokens_per_second=tokens / work if whole and tokens is not None else None,
        seconds_per_dialogue=work / samples if whole else None,
    )


def _finetune_cost(step: StepRecord, process: ProcessRecord, prices: Cost) -> StepCost:
    """A resumed finetune counts with what the processes before it took, as far as their work was kept. Their energy
    is not known, and the rate would be of this process's seconds and all processes' tokens: both are null."""
    training = _work_seconds(step) - step.seconds.get("evaluate", 0.0)
    resumed = step.earlier_seconds > 0
    return _step_cost(
        step,
        process.model_copy(update={"energy_wh": None}) if resumed else process,
        prices,
        samples=step.samples,
        tokens=step.trained_tokens or None,
        tokens_per_second=step.trained_tokens / training if step.trained_tokens and training and not resumed else None,
        seconds_per_dialogue=None,
    )


def _step_cost(
    step: StepRecord,
    process: ProcessRecord,
    prices: Cost,
    samples: int,
    tokens: int | None,
    tokens_per_second: float | None,
    seconds_per_dialogue: float | None,
) -> StepCost:
    on_gpu = process.device is not None
    work = _work_seconds(step)
    device_seconds = process.device_seconds + step.earlier_seconds * process.devices
    return StepCost(
        step="finetune" if step.step == "finetune" else "predict",
        device=process.device or step.device,
        device_names=process.device_names or [process.device or step.device],
        unit="gpu" if on_gpu else "cpu",
        device_seconds=device_seconds,
        load_seconds=sum(step.seconds.get(phase, 0.0) for phase in SETUP_PHASES),
        work_seconds=work,
        samples=samples,
        cached_samples=step.cached_samples,
        tokens=tokens,
        tokens_per_second=tokens_per_second,
        seconds_per_dialogue=seconds_per_dialogue,
        peak_allocated=step.peak_allocated,
        peak_device=process.device_peak,
        peak_resident=process.peak_resident,
        energy_wh=process.energy_wh,
        money=_money(device_seconds, process.energy_wh, on_gpu, prices),
    )


def _work_seconds(step: StepRecord) -> float:
    return sum(step.seconds.get(phase, 0.0) for phase in WORK_PHASES[step.step])


def _serving_cost(predict: StepCost, devices: int, prices: Cost) -> ServingCost:
    if predict.seconds_per_dialogue is None:
        return ServingCost(device_seconds=None, energy_wh=None, money=None)
    seconds = 1000 * predict.seconds_per_dialogue * devices
    energy = None if predict.energy_wh is None else 1000 * predict.energy_wh / predict.samples
    return ServingCost(
        device_seconds=seconds, energy_wh=energy, money=_money(seconds, energy, predict.unit == "gpu", prices)
    )


def _money(device_seconds: float, energy_wh: float | None, on_gpu: bool, prices: Cost) -> float | None:
    """GPU hours at their price, and kWh at theirs. Null without a GPU, without a price of its hour, and where energy
    has a price but was not measured."""
    if not on_gpu or prices.gpu_hour_price is None:
        return None
    money = device_seconds / 3600 * prices.gpu_hour_price
    if prices.kwh_price is None:
        return money
    return None if energy_wh is None else money + energy_wh / 1000 * prices.kwh_price


def break_even(
    finetuned: ArmCost, zero_shot: ArmCost, rate_noise: float = 0.0, confidence: float = 0.95
) -> list[BreakEven]:
    """After how many dialogues the finetuned arm has cost less, for each resource.

    With T for training once, and f and z for a dialogue of the finetuned and of the zero-shot arm, serving N dialogues
    costs T + f N against z N. The former is less once N > T / (z - f); the answer is the smallest such whole number.
    Where f >= z that is never; where T = 0 and f < z it is always; where one of the three is not known, neither is N.

    Args:
        rate_noise: relative standard deviation of T, f and z; each was measured once
    """
    return [_break_even(finetuned, zero_shot, resource, rate_noise, confidence) for resource in RESOURCES]


def volume_interval(
    training: float, small: float, large: float, noises: tuple[float, float, float], confidence: float
) -> tuple[float, float]:
    """All volumes N at which T + f N and z N may be equal (Fieller 1954, JRSS B 16:175); inf where that is never.

    Args:
        noises: relative standard deviations of T, f and z, independent and normal
    """
    quantile = normal_quantile((1 + confidence) / 2)
    of_training, of_small, of_large = (
        (quantile * noise * value) ** 2 for noise, value in zip(noises, (training, small, large), strict=True)
    )
    square, half, constant = (large - small) ** 2 - of_small - of_large, training * (large - small), training**2
    constant -= of_training
    if square > 0 and half <= 0:
        return math.inf, math.inf
    root = math.sqrt(max(half**2 - square * constant, 0.0))
    low = constant / (half + root) if half + root > 0 else math.inf
    return low, (half + root) / square if square > 0 else math.inf


def _break_even(
    finetuned: ArmCost, zero_shot: ArmCost, resource: Resource, rate_noise: float, confidence: float
) -> BreakEven:
    training = getattr(finetuned.training, resource) if finetuned.training else None
    small, large = _per_dialogue(finetuned, resource), _per_dialogue(zero_shot, resource)
    reason = _why_unknown(finetuned, zero_shot, resource)
    answer: Literal["volume", "always", "never", "unknown"] = "unknown"
    dialogues, low, high = None, math.inf, math.inf
    if reason is None and training is not None and small is not None and large is not None:
        if small >= large:
            answer = "never"
        elif training == 0:
            answer = "always"
        else:
            answer, dialogues = "volume", math.floor(training / (large - small)) + 1
        noises = (rate_noise, rate_noise, 0.0 if zero_shot.predict.unit == "api" else rate_noise)
        if training > 0:
            low, high = volume_interval(training, small, large, noises, confidence)
    notes = [reason] if reason else _caveats(finetuned, zero_shot, resource)
    return BreakEven(
        finetuned=finetuned.arm,
        zero_shot=zero_shot.arm,
        resource=resource,
        answer=answer,
        dialogues=dialogues,
        low=None if math.isinf(low) else math.floor(low) + 1,
        high=None if math.isinf(high) else math.floor(high) + 1,
        training=training,
        finetuned_per_dialogue=small,
        zero_shot_per_dialogue=large,
        note=" ".join(notes) or None,
    )


def _per_dialogue(cost: ArmCost, resource: Resource) -> float | None:
    thousand = getattr(cost.per_1000_dialogues, resource)
    return None if thousand is None else thousand / 1000


def _why_unknown(finetuned: ArmCost, zero_shot: ArmCost, resource: Resource) -> str | None:
    """The first reason why there is no answer, as a sentence; None where there is one."""
    if finetuned.training is None:
        return f"What training {finetuned.arm} took is not on record."
    if zero_shot.predict.unit == "api":
        if resource != "money":
            return f"{zero_shot.arm} answered behind an endpoint: the devices and the energy there are not seen."
        if zero_shot.per_1000_dialogues.money is None:
            return f"The tokens of {zero_shot.arm} have no prices (prices), or its endpoint did not count them all."
    for cost in (finetuned, zero_shot):
        if cost.per_1000_dialogues.device_seconds is None and cost.predict.unit != "api":
            return f"{cost.arm} answered from the cache: no dialogue was worked on whole, so none has a cost."
    steps = (finetuned.training, finetuned.predict, zero_shot.predict)
    if resource == "device_seconds" and len({step.unit for step in steps}) > 1:
        return "Some steps ran on a GPU and some on a CPU: their seconds cannot be added or compared."
    values = (finetuned.training, finetuned.per_1000_dialogues, zero_shot.per_1000_dialogues)
    if all(getattr(value, resource) is not None for value in values):
        return None
    if resource == "energy_wh":
        lacking = _arms_where(lambda step: step.energy_wh is None, finetuned, zero_shot)
        return f"The energy of {lacking} was not measured whole: no counter, or a finetune that was resumed."
    if _arms_where(lambda step: step.unit == "cpu", finetuned, zero_shot):
        return "Money is priced by the GPU hour, and a step ran without a GPU."
    return "cost.gpu_hour_price is not set, or cost.kwh_price is and some energy was not measured."


def _arms_where(lacks: Callable[[StepCost], bool], finetuned: ArmCost, zero_shot: ArmCost) -> str:
    arms = [
        cost.arm
        for cost in (finetuned, zero_shot)
        if any(lacks(step) for step in (cost.training, cost.predict) if step)
    ]
    return " and ".join(arms)


def _caveats(finetuned: ArmCost, zero_shot: ArmCost, resource: Resource) -> list[str]:
    """What a reader of the number should know, as sentences."""
    steps = [step for step in (finetuned.training, finetuned.predict, zero_shot.predict) if step]
    devices = sorted({name for step in steps for name in step.device_names if name != "cpu"})
    sentences = [f"The steps ran on different devices: {', '.join(devices)}."] if len(devices) > 1 else []
    sentences += [
        f"{cost.arm}'s rate rests on the {cost.predict.samples:,} answers that were not in the cache."
        for cost in (finetuned, zero_shot)
        if cost.predict.cached_samples and cost.predict.unit != "api"
    ]
    sentences += [f"{cost.arm}: {cost.predict.note}." for cost in (finetuned, zero_shot) if cost.predict.note]
    if zero_shot.predict.unit == "api":
        sentences.append(f"{zero_shot.arm} is priced by its tokens, {finetuned.arm} by the GPU hour.")
    if resource == "energy_wh":
        sentences.append("Each dialogue carries its share of loading the model.")
    return sentences
