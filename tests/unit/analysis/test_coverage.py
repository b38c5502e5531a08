"""benchmarks/coverage.py, whose table docs/statistics.md shows: each regime draws, and by hand each covers."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.coverage import BEGIN, END, HOME, Regime, measure, regimes, row_of

ALL = regimes()

RECIPE_OF_ONE_SEED = "1 seed, "  # its interval is of the run: the table shows how often it misses the recipe

REPEATED = (
    "share (exact match, accuracy, top k)",
    "drop to another test set",
    "dialogues of break-even",
)  # quick ones


def named(regime: Regime) -> str:
    return f"{', '.join(regime.truths)}, {regime.regime}, n = {regime.n}"


def documented() -> list[str]:
    text = (HOME / "docs" / "statistics.md").read_text(encoding="utf-8")
    return text.partition(BEGIN)[2].partition(END)[0].splitlines()


@pytest.mark.parametrize("regime", ALL, ids=named)
def test_a_regime_draws_an_interval(regime: Regime) -> None:
    found = regime.draw(np.random.default_rng(1))
    assert set(found) <= set(regime.truths)
    for drawn in found.values():
        assert drawn.low <= drawn.high
        assert drawn.p is None or 0 <= drawn.p <= 1


@pytest.mark.slow
@pytest.mark.parametrize("regime", [each for each in ALL if not each.regime.startswith(RECIPE_OF_ONE_SEED)], ids=named)
def test_a_regime_covers(regime: Regime) -> None:
    for name, found in measure(regime, 300, seed=1).items():
        off = np.sqrt(0.95 * 0.05 / found.trials)
        assert found.covered >= 0.95 - 2.6 * off - 0.02, name
        assert found.rejected is None or found.rejected <= 0.05 + 2.6 * off + 0.01, name


def test_the_document_has_a_row_for_each_regime_and_no_other() -> None:
    rows = [" | ".join(line.split(" | ")[:3]).rstrip() for line in documented()[3:]]
    wanted = [
        f"| {name} | {regime.regime} | {'' if regime.n == 1 else f'{regime.n:,}'}".rstrip()
        for regime in ALL
        for name in regime.truths
    ]
    assert set(rows) <= set(wanted)


def test_the_document_has_what_the_benchmark_finds() -> None:
    """The quick rows, drawn again: the table is that of this code."""
    for regime in (each for each in ALL if set(each.truths) <= set(REPEATED) and each.n <= 150):
        for name, found in measure(regime, 1000).items():
            assert row_of(name, regime, found) in documented(), named(regime)
