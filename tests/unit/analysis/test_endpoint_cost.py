"""An arm behind an endpoint: money by its tokens, no device seconds or energy, break-even against a local arm."""

from __future__ import annotations

import pytest

from slingshot.analysis.cost import arm_cost, break_even
from slingshot.artifacts.cost import ArmCost
from slingshot.artifacts.records import EndpointUse, StepRecord
from slingshot.config.endpoints import TokenPrices
from slingshot.config.reporting import Cost
from tests.unit.analysis.test_cost import PRICES, answer_for, on_cpu, small

TOKENS = {"prompt_tokens": 1_000_000, "cached_tokens": 400_000, "completion_tokens": 20_000, "thinking_tokens": 8_000}


def asked(prices: TokenPrices | None, cached: int = 0, **use: object) -> ArmCost:
    given = {"api": "https://api.example.org/v1", "model": "big", "latency_median": 1.5, "latency_q95": 4.0}
    record = StepRecord(
        step="ask",
        arm="llm/big",
        spec={},
        versions={},
        device="endpoint api.example.org",
        seconds={"ask": 100.0, "prompts": 1.0},
        samples=1000,
        cached_samples=cached,
        fresh_tokens=1_020_000,
        endpoint=EndpointUse.model_validate(given | TOKENS | use),
    )
    return arm_cost("llm/big", record, on_cpu("ask", 105.0), None, None, PRICES, prices)


def test_money_is_that_of_the_tokens() -> None:
    cost = asked(TokenPrices(input=2.5, cached=0.25, output=10))
    # 600,000 tokens at 2.50, 400,000 at 0.25 and 20,000 (thinking among them) at 10 per million
    assert cost.predict.money == pytest.approx(1.5 + 0.1 + 0.2)
    assert cost.per_1000_dialogues.money == pytest.approx(1.8)
    assert asked(TokenPrices(input=2.5, output=10)).predict.money == pytest.approx(2.5 + 0.2)


def test_kept_answers_make_no_dialogue_look_cheaper() -> None:
    prices = TokenPrices(input=2.5, output=10)
    kept = asked(prices, cached=1000)
    assert kept.per_1000_dialogues.money == asked(prices).per_1000_dialogues.money
    assert kept.predict.seconds_per_dialogue is None


def test_samples_without_an_answer_are_not_paid_for() -> None:
    cost = asked(TokenPrices(input=1, output=1), errors={"500": 500})
    assert cost.per_1000_dialogues.money == pytest.approx(2 * 1.02)


def test_what_nobody_saw_is_null() -> None:
    cost = asked(None)
    assert cost.predict.unit == "api"
    assert cost.predict.device_seconds is cost.predict.energy_wh is cost.predict.money is None
    assert cost.per_1000_dialogues.device_seconds is cost.per_1000_dialogues.energy_wh is None
    assert (cost.predict.latency_median, cost.predict.latency_q95) == (1.5, 4.0)
    assert asked(TokenPrices(input=1, output=1), uncounted=1).predict.money is None


def test_break_even_in_money_against_a_local_finetuned_arm() -> None:
    # Finetuning: 200 s and 30 Wh are 0.2 + 0.015; a dialogue: 20 ms and 4 mWh here, 0.0018 there
    found = answer_for("money", break_even(small(), asked(TokenPrices(input=2.5, cached=0.25, output=10))))
    per_dialogue = 0.02 * 0.001 + 0.004 / 1000 * 0.5
    assert found.dialogues == int(0.215 / (0.0018 - per_dialogue)) + 1
    assert found.note is not None and "priced by its tokens" in found.note
    for resource in ("device_seconds", "energy_wh"):
        unknown = answer_for(resource, break_even(small(), asked(TokenPrices(input=1, output=1))))  # type: ignore[arg-type]
        assert unknown.answer == "unknown" and "behind an endpoint" in str(unknown.note)


@pytest.mark.parametrize(
    ("local", "prices", "note"),
    [
        (small(), None, "have no prices"),
        (small(prices=Cost()), TokenPrices(input=1, output=1), "gpu_hour_price is not set"),
    ],
)
def test_break_even_in_money_needs_both_prices(local: ArmCost, prices: TokenPrices | None, note: str) -> None:
    assert note in str(answer_for("money", break_even(local, asked(prices))).note)
