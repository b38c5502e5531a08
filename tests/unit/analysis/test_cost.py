"""Rates over fresh answers only, prices, the break-even volume against its definition, and what stays null."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slingshot.analysis.cost import arm_cost, break_even, memory_row, volume_interval
from slingshot.artifacts.cost import ArmCost, BreakEven, Resource
from slingshot.artifacts.records import ProcessRecord, StepRecord
from slingshot.artifacts.shards import merged_process
from slingshot.config.reporting import Cost

CARD = "NVIDIA H100 80GB HBM3"
PRICES = Cost(gpu_hour_price=3.6, kwh_price=0.5)  # a GPU second costs 0.001


def predict_record(work: float = 50.0, **changed: object) -> StepRecord:
    given = {
        "step": "predict",
        "arm": "llm/large",
        "spec": {},
        "versions": {},
        "device": CARD,
        "seconds": {"prompts": 1.0, "imports": 4.0, "load": 5.0, "prefill": work - 10, "decode": 10.0},
        "samples": 1000,
        "prompt_tokens": 90_000,
        "new_tokens": 10_000,
        "peak_allocated": 5,
    }
    return StepRecord.model_validate(given | changed)


def finetune_record(**changed: object) -> StepRecord:
    given = {
        "step": "finetune",
        "arm": "slm/small",
        "spec": {},
        "versions": {},
        "device": CARD,
        "seconds": {
            "load": 5.0,
            "encode": 2.0,
            "check": 1.0,
            "probe": 2.0,
            "train": 180.0,
            "evaluate": 30.0,
            "save": 1.0,
        },
        "samples": 700,
        "trained_tokens": 300_000,
    }
    return StepRecord.model_validate(given | changed)


def process_record(step: str, seconds: float, energy: float | None = 10.0, **changed: object) -> ProcessRecord:
    given = {
        "step": step,
        "arm": "llm/large",
        "exit_code": 0,
        "seconds": seconds,
        "peak_resident": 3,
        "device": CARD,
        "device_total": 80,
        "device_before": 1,
        "device_peak": 7,
        "device_after": 1,
        "energy_wh": energy,
    }
    return ProcessRecord.model_validate(given | changed)


def on_cpu(step: str, seconds: float) -> ProcessRecord:
    nothing = dict.fromkeys(("device", "device_total", "device_before", "device_peak", "device_after"))
    return process_record(step, seconds, None, **nothing)


def large(work: float = 50.0, energy: float | None = 10.0, prices: Cost = PRICES, **changed: object) -> ArmCost:
    process = process_record("predict", work + 15, energy)
    return arm_cost("llm/large", predict_record(work, **changed), process, None, None, prices)


def small(work: float = 20.0, energy: float | None = 4.0, prices: Cost = PRICES, **changed: object) -> ArmCost:
    """An arm of 1000 dialogues whose finetuning took 200 seconds and 30 Wh."""
    return arm_cost(
        "slm/small",
        predict_record(work, **changed),
        process_record("predict", work + 15, energy),
        finetune_record(),
        process_record("finetune", 200.0, None if energy is None else 30.0),
        prices,
    )


def answer_for(resource: Resource, answers: list[BreakEven]) -> BreakEven:
    return next(answer for answer in answers if answer.resource == resource)


# ---------------------------------------------------------------- an arm


def test_seconds_are_told_apart_by_phase() -> None:
    cost = small()
    assert cost.training is not None
    assert cost.predict.work_seconds == 20.0
    assert cost.predict.load_seconds == pytest.approx(10.0)
    assert cost.predict.device_seconds == 35.0
    assert cost.training.work_seconds == 180.0  # evaluation is part of training
    assert cost.training.load_seconds == pytest.approx(11.0)
    assert cost.training.device_seconds == 200.0


def test_spans_that_overlap_with_phases_are_not_counted_twice() -> None:
    seconds = {"tokenizer": 1.0, "load": 5.0, "prefill": 7.0, "decode": 2.0, "until_first_answers": 12.0}
    cost = large(seconds=seconds).predict
    assert (cost.load_seconds, cost.work_seconds) == (6.0, 9.0)


def test_rates_are_over_the_work() -> None:
    cost = small()
    assert cost.training is not None
    assert cost.predict.tokens_per_second == pytest.approx(100_000 / 20)
    assert cost.predict.seconds_per_dialogue == pytest.approx(0.02)
    assert cost.training.tokens_per_second == pytest.approx(300_000 / 150)  # without the 30 s of evaluation
    assert cost.training.seconds_per_dialogue is None


def test_money_is_gpu_hours_and_energy() -> None:
    cost = large()
    assert cost.predict.money == pytest.approx(65 * 0.001 + 0.010 * 0.5)
    serving = cost.per_1000_dialogues
    assert serving.device_seconds == pytest.approx(50.0)
    assert serving.energy_wh == pytest.approx(10.0)
    assert serving.money == pytest.approx(50 * 0.001 + 0.010 * 0.5)


@pytest.mark.parametrize(
    ("prices", "energy", "money"),
    [
        (Cost(), 10.0, None),
        (Cost(gpu_hour_price=3.6), None, 0.065),
        (Cost(gpu_hour_price=3.6, kwh_price=0.5), None, None),  # priced but not measured: no guess
        (Cost(gpu_hour_price=0), 10.0, 0.0),
    ],
)
def test_money_without_a_price_or_a_counter(prices: Cost, energy: float | None, money: float | None) -> None:
    assert large(energy=energy, prices=prices).predict.money == (None if money is None else pytest.approx(money))


def test_without_a_gpu_seconds_count_and_the_rest_is_null() -> None:
    cost = arm_cost("llm/large", predict_record(device="cpu"), on_cpu("predict", 65.0), None, None, PRICES)
    assert (cost.predict.unit, cost.predict.device, cost.predict.device_seconds) == ("cpu", "cpu", 65.0)
    assert cost.predict.peak_device is cost.predict.energy_wh is cost.predict.money is None
    assert cost.per_1000_dialogues.device_seconds == pytest.approx(50.0)
    assert cost.per_1000_dialogues.energy_wh is cost.per_1000_dialogues.money is None


def test_shards_on_two_kinds_of_card_cost_what_they_took() -> None:
    """Two shards of 3,600 s on an A100 and an H100 are 7,200 device seconds, not 14,400 for the two names."""
    shards = [
        process_record("predict", 3600.0, device=name, device_names=[name]) for name in ("NVIDIA A100", "NVIDIA H100")
    ]
    merged = merged_process(shards)
    assert merged.device == "NVIDIA A100 + NVIDIA H100"
    assert (merged.devices, merged.device_seconds) == (1, 7200.0)
    cost = arm_cost("llm/large", predict_record(), merged, None, None, PRICES)
    assert cost.predict.device_seconds == 7200.0


def test_shards_of_unequal_device_counts_add_up() -> None:
    merged = merged_process([process_record("predict", 10.0, devices=2), process_record("predict", 5.0, devices=1)])
    assert (merged.seconds, merged.device_seconds) == (15.0, 25.0)


def test_two_devices_take_twice_the_seconds() -> None:
    process = process_record("predict", 65.0, devices=2)
    cost = arm_cost("llm/large", predict_record(), process, None, None, PRICES)
    assert cost.predict.device_seconds == 130.0
    assert cost.per_1000_dialogues.device_seconds == pytest.approx(100.0)
    assert cost.predict.seconds_per_dialogue == pytest.approx(0.05)  # latency is of the wall clock


def test_answers_from_the_cache_do_not_make_an_arm_cheap() -> None:
    """Of 1000 answers 300 were computed now, in 15 of 50 seconds: the rates are as of all."""
    cost = large(15.0, cached_samples=700, fresh_tokens=30_000)
    assert cost.predict.samples == 300
    assert cost.predict.seconds_per_dialogue == pytest.approx(15.0 / 300)
    assert cost.predict.tokens_per_second == pytest.approx(30_000 / 15)
    assert cost.per_1000_dialogues.device_seconds == pytest.approx(50.0)
    assert cost.per_1000_dialogues.energy_wh == pytest.approx(1000 * 10 / 300)


def test_tokens_of_cached_answers_are_not_counted_where_the_record_does_not_tell_them_apart() -> None:
    cost = large(15.0, cached_samples=700)
    assert cost.predict.tokens is cost.predict.tokens_per_second is None
    assert cost.predict.seconds_per_dialogue == pytest.approx(0.05)


@pytest.mark.parametrize(
    "record",
    [
        {"cached_samples": 1000, "fresh_tokens": 0, "seconds": {"prompts": 1.0}},
        {"partly_cached_samples": 1},  # half an answer's time would pass for a whole one's
        {"samples": 0, "prompt_tokens": 0, "new_tokens": 0, "seconds": {}},
    ],
)
def test_nothing_worked_on_whole_has_no_rate(record: dict[str, object]) -> None:
    cost = large(**record)
    assert cost.predict.seconds_per_dialogue is cost.predict.tokens_per_second is None
    assert set(cost.per_1000_dialogues.model_dump().values()) == {None}
    assert cost.predict.device_seconds == 65.0


def test_a_resumed_finetune_counts_what_came_before() -> None:
    cost = arm_cost(
        "slm/small",
        predict_record(),
        process_record("predict", 65.0),
        finetune_record(earlier_seconds=100.0),
        process_record("finetune", 200.0),
        PRICES,
    ).training
    assert cost is not None
    assert cost.device_seconds == 300.0
    assert cost.energy_wh is cost.tokens_per_second is None  # of the last process alone
    assert cost.money is None


# ---------------------------------------------------------------- break-even


@pytest.mark.parametrize("resource", ["device_seconds", "energy_wh", "money"])
def test_break_even_is_the_first_volume_at_which_the_small_model_is_cheaper(resource: Resource) -> None:
    answer = answer_for(resource, break_even(small(), large()))
    assert answer.answer == "volume"
    training, little, much = answer.training, answer.finetuned_per_dialogue, answer.zero_shot_per_dialogue
    assert training is not None and little is not None and much is not None and answer.dialogues is not None
    volume = answer.dialogues
    assert training + little * volume < much * volume
    assert training + little * (volume - 1) >= much * (volume - 1) - 1e-9


def test_break_even_in_seconds_by_hand() -> None:
    """200 s of training, 0.02 against 0.05 s per dialogue: 200 / 0.03 = 6666.7."""
    answer = answer_for("device_seconds", break_even(small(), large()))
    assert (answer.finetuned, answer.zero_shot, answer.training) == ("slm/small", "llm/large", 200.0)
    assert answer.dialogues == 6667
    assert answer.note is None


def test_a_small_model_that_serves_no_cheaper_never_breaks_even() -> None:
    for seconds in (50.0, 60.0):
        answer = answer_for("device_seconds", break_even(small(seconds), large(50.0)))
        assert (answer.answer, answer.dialogues) == ("never", None)


def test_training_that_cost_nothing_is_cheaper_from_the_first_dialogue() -> None:
    cost = small()
    assert cost.training is not None
    free = cost.model_copy(update={"training": cost.training.model_copy(update={"device_seconds": 0.0})})
    assert answer_for("device_seconds", break_even(free, large())).answer == "always"


def test_unknown_says_why() -> None:
    def note(resource: Resource, finetuned: ArmCost, zero_shot: ArmCost) -> str:
        answer = answer_for(resource, break_even(finetuned, zero_shot))
        assert (answer.answer, answer.dialogues) == ("unknown", None)
        return answer.note or ""

    cached = large(cached_samples=1000, fresh_tokens=0)
    assert "llm/large answered from the cache" in note("device_seconds", small(), cached)
    assert "energy of slm/small was not measured" in note("energy_wh", small(energy=None), large())
    assert "gpu_hour_price" in note("money", small(prices=Cost()), large(prices=Cost()))
    assert "training slm/small took" in note("device_seconds", small().model_copy(update={"training": None}), large())
    slow = arm_cost("llm/large", predict_record(device="cpu"), on_cpu("predict", 65.0), None, None, PRICES)
    assert "GPU and some on a CPU" in note("device_seconds", small(), slow)
    assert "without a GPU" in note("money", small(), slow)


def test_other_devices_and_few_fresh_answers_are_noted() -> None:
    process = process_record("predict", 65.0, device="NVIDIA A100-SXM4-80GB")
    record = predict_record(15.0, cached_samples=700, fresh_tokens=30_000)
    other = arm_cost("llm/large", record, process, None, None, PRICES)
    answer = answer_for("device_seconds", break_even(small(), other))
    assert answer.answer == "volume"
    assert answer.note is not None
    assert f"different devices: NVIDIA A100-SXM4-80GB, {CARD}" in answer.note
    assert "llm/large's rate rests on the 300 answers" in answer.note


def test_training_on_two_cards_of_one_kind_is_no_other_device() -> None:
    cost = arm_cost(
        "slm/small",
        predict_record(20.0),
        process_record("predict", 35.0),
        finetune_record(),
        process_record("finetune", 200.0, device=f"{CARD} + {CARD}", device_names=[CARD], devices=2),
        PRICES,
    )
    answer = answer_for("device_seconds", break_even(cost, large()))
    assert (answer.training, answer.note) == (400.0, None)


# ---------------------------------------------------------------- the memory ledger


def test_a_row_of_the_memory_ledger() -> None:
    row = memory_row(process_record("predict", 65.0))
    assert (row.arm, row.step, row.device) == ("llm/large", "predict", CARD)
    assert (row.total, row.before, row.peak, row.after) == (80, 1, 7, 1)
    assert (row.peak_resident, row.seconds, row.exit_code) == (3, 65.0, 0)


def test_a_row_without_a_gpu_holds_main_memory() -> None:
    row = memory_row(on_cpu("finetune", 9.0))
    assert row.device is row.total is row.before is row.peak is row.after is None
    assert row.peak_resident == 3


@pytest.mark.parametrize("ratio", [0.3, 0.8, 0.97, 1.05])
def test_the_break_even_volumes_interval_covers_under_noisy_rates(ratio: float) -> None:
    """Rates that vary by 3% move 40,214 dialogues to 35,300 or 45,800; near equal rates it may be never."""
    generator = np.random.default_rng(1)
    training, large = 3600.0, 0.12
    small = ratio * large
    truth = training / (large - small) if ratio < 1 else math.inf
    covered, finite = 0, 0
    for _ in range(400):
        t, f, z = np.array([training, small, large]) * (1 + 0.03 * generator.normal(size=3))
        low, high = volume_interval(t, f, z, (0.03, 0.03, 0.03), 0.95)
        covered += low <= truth <= high
        finite += high < math.inf
    assert covered >= 368
    assert finite >= 399 if ratio < 0.5 else finite < 400 or ratio == 0.8


def test_without_noise_the_interval_is_the_volume() -> None:
    assert volume_interval(100.0, 1.0, 2.0, (0.0, 0.0, 0.0), 0.95) == pytest.approx((100.0, 100.0))
    assert volume_interval(100.0, 2.0, 1.0, (0.01, 0.01, 0.01), 0.95) == (math.inf, math.inf)


# ---------------------------------------------------------------- an earlier measurement


def test_answers_from_the_cache_cost_what_computing_them_took() -> None:
    whole = predict_record(50.0, spec={"generation": {"candidates": 0, "max_new_tokens": 8}})
    now = predict_record(
        3.0,
        spec={"generation": {"candidates": 5, "max_new_tokens": 8}},
        partly_cached_samples=1000,
        earlier={"step": whole, "process": process_record("predict", 65.0)},
    )
    then = arm_cost("llm/large", whole, process_record("predict", 65.0), None, None, PRICES)
    cost = arm_cost("llm/large", now, process_record("predict", 9.0, 1.0), None, None, PRICES)
    assert cost.per_1000_dialogues == then.per_1000_dialogues
    note = "generation.candidates was 0 (now 5)"
    assert cost.predict.note is not None and note in cost.predict.note and CARD in cost.predict.note
    assert cost.predict.model_copy(update={"note": None}) == then.predict
    answer = answer_for("device_seconds", break_even(small(), cost))
    assert answer.answer == "volume" and note in (answer.note or "")


def test_without_an_earlier_measurement_half_an_answer_has_no_cost() -> None:
    assert large(3.0, partly_cached_samples=1000).per_1000_dialogues.device_seconds is None
