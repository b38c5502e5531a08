"""Quantiles and tails by scipy.special are those of scipy.stats, and what imports them does not import the latter."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from slingshot.core import distributions

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.mark.parametrize("p", [0.025, 0.5, 0.9, 0.975, 0.9995])
def test_quantiles_are_those_of_scipy_stats(p: float) -> None:
    assert distributions.normal_quantile(p) == pytest.approx(stats.norm.ppf(p))
    for freedom in (1, 2.5, 53, 5000):
        assert distributions.student_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom))
    for a, b in ((1, 1), (3, 40), (250, 7)):
        assert distributions.beta_quantile(p, a, b) == pytest.approx(stats.beta.ppf(p, a, b))
    for n in (1, 7, 2000):
        for share in (0.1, 0.5):
            assert distributions.binomial_quantile(p, n, share) == stats.binom.ppf(p, n, share)


def test_tails_and_chances_are_those_of_scipy_stats() -> None:
    assert distributions.normal_above(4.2) == pytest.approx(stats.norm.sf(4.2))
    n = np.array([1, 10, 500, 3000])
    for k in (0 * n, n // 3, n):
        for ours, theirs in (
            (distributions.binomial_chance, stats.binom.pmf),
            (distributions.binomial_up_to, stats.binom.cdf),
            (distributions.binomial_above, stats.binom.sf),
        ):
            np.testing.assert_allclose(ours(k, n, 0.4), theirs(k, n, 0.4), rtol=1e-10)


def test_no_trials_have_no_successes() -> None:
    assert distributions.binomial_quantile(0.975, [0, 1], 0.5).tolist() == [0, 1]
    assert distributions.binomial_up_to(0, 0, 0.5) == 1
    assert distributions.binomial_chance([0, 5], 5, [0.0, 1.0]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("program", ["score", "compare", "report", "prepare_data"])
def test_the_small_steps_import_neither_scipy_stats_nor_sklearn(program: str) -> None:
    code = (
        f"import sys, {program}; print(sorted({{'scipy.stats', 'sklearn', 'datasketch', 'torch'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("value", [0.0, 1.3, 40.0])
def test_the_chance_above_is_that_of_scipy_stats(value: float) -> None:
    assert distributions.student_above(value, 7.5) == pytest.approx(stats.t.sf(value, 7.5), rel=1e-12)
