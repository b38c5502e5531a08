"""What an arm behind an endpoint cost: money by its tokens, and latency; its device seconds and energy are not seen."""

from __future__ import annotations

from slingshot.artifacts.cost import ArmCost, ServingCost, StepCost
from slingshot.artifacts.records import EndpointUse, ProcessRecord, StepRecord
from slingshot.config.endpoints import TokenPrices

MILLION = 1_000_000


def endpoint_cost(
    arm: str, ask: StepRecord, process: ProcessRecord, use: EndpointUse, prices: TokenPrices | None
) -> ArmCost:
    """Money is of the tokens of all answers, whenever they came, so that the cache makes no dialogue look cheaper.

    A sample without an answer cost nothing that was counted; 1,000 dialogues are scaled from those with one.
    """
    work = ask.seconds.get("ask", 0.0)
    fresh = ask.samples - ask.cached_samples
    whole = fresh > 0 and ask.partly_cached_samples == 0 and work > 0
    answered = ask.samples - sum(use.errors.values())
    money = money_of(use, prices)
    step = StepCost(
        step="ask",
        device=ask.device,
        unit="api",
        device_seconds=None,
        load_seconds=ask.seconds.get("prompts", 0.0),
        work_seconds=work,
        samples=fresh,
        cached_samples=ask.cached_samples,
        tokens=ask.fresh_tokens,
        tokens_per_second=ask.fresh_tokens / work if whole and ask.fresh_tokens is not None else None,
        seconds_per_dialogue=work / fresh if whole else None,
        peak_allocated=None,
        peak_device=None,
        peak_resident=process.peak_resident,
        energy_wh=None,
        money=money,
        latency_median=use.latency_median,
        latency_q95=use.latency_q95,
    )
    serving = ServingCost(
        device_seconds=None,
        energy_wh=None,
        money=1000 * money / answered if money is not None and answered else None,
    )
    return ArmCost(arm=arm, training=None, predict=step, per_1000_dialogues=serving)


def money_of(use: EndpointUse, prices: TokenPrices | None) -> float | None:
    """Tokens at their prices; null without prices, and where the endpoint left some answers uncounted."""
    if prices is None or use.uncounted:
        return None
    cached = prices.input if prices.cached is None else prices.cached
    uncached = (use.prompt_tokens - use.cached_tokens) * prices.input + use.completion_tokens * prices.output
    return (uncached + use.cached_tokens * cached) / MILLION
