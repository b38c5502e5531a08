"""benchmarks/coverage.py, whose table docs/statistics.md shows: each regime draws, and by hand each covers."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.coverage import BEGIN, END, HOME, Regime, measure, regimes

ALL = regimes()

RECIPE_OF_ONE_SEED = "1 seed, "  # its interval is of the run: the table shows how often it misses the recipe


def named(regime: Regime) -> str:
    return f"{regime.estimator}, {regime.regime}, n = {regime.n}"


@pytest.mark.parametrize("regime", ALL, ids=named)
def test_a_regime_draws_an_interval(regime: Regime) -> None:
    drawn = regime.draw(np.random.default_rng(1))
    assert drawn.low <= drawn.high
    assert drawn.p is None or 0 <= drawn.p <= 1


@pytest.mark.slow
@pytest.mark.parametrize("regime", [each for each in ALL if not each.regime.startswith(RECIPE_OF_ONE_SEED)], ids=named)
def test_a_regime_covers(regime: Regime) -> None:
    found = measure(regime, 500, seed=1)
    assert found.covered >= 0.95 - 2.6 * np.sqrt(0.95 * 0.05 / found.trials) - 0.02
    assert found.rejected is None or found.rejected <= 0.05 + 2.6 * np.sqrt(0.95 * 0.05 / found.trials) + 0.01


def test_the_document_has_a_row_for_each_regime() -> None:
    text = (HOME / "docs" / "statistics.md").read_text(encoding="utf-8")
    table = text.partition(BEGIN)[2].partition(END)[0]
    for regime in ALL:
        assert f"| {regime.estimator} | {regime.regime} |" in table, named(regime)
