"""Intervals cover, tests hold their level, and both agree with the libraries that everybody trusts."""

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import f1_score, precision_recall_fscore_support
from statsmodels.stats.contingency_tables import mcnemar

from slingshot.analysis.bootstrap import intervals, resample_weights
from slingshot.analysis.scoring import calibration_bins, calibration_error, level_scores, proportion
from slingshot.analysis.significance import (
    cohens_g,
    discordant,
    holm,
    mcnemar_p,
    paired_difference,
)
from slingshot.config.reporting import Statistics

SETTINGS = Statistics(resamples=2000, seed=3)


def paired_answers(generator, n, only_first, only_second, both=0.4):
    """Right or wrong answers of two arms over n samples, with these chances of being alone in the right."""
    cells = generator.choice(4, size=n, p=[only_first, only_second, both, 1 - only_first - only_second - both])
    return (cells == 0) | (cells == 2), (cells == 1) | (cells == 2)


@pytest.mark.parametrize(("n", "only_first", "only_second"), [(150, 0.2, 0.1), (150, 0.02, 0.01), (1500, 0.05, 0.05)])
def test_the_paired_interval_covers_the_true_difference(n, only_first, only_second):
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        difference = paired_difference(*paired_answers(generator, n, only_first, only_second), 0.95, 1000, seed=2)
        covered += difference.low <= only_first - only_second <= difference.high
    assert 0.93 <= covered / 1000 <= 0.99


def test_a_family_of_equal_arms_is_called_different_no_more_often_than_the_level(monkeypatch):
    monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels collects at every call: 0.1 s each
    generator = np.random.default_rng(4)
    false = 0
    for _ in range(2000):
        pairs = [paired_answers(generator, 200, 0.1, 0.1) for _ in range(4)]
        false += min(holm([mcnemar_p(*discordant(*pair)) for pair in pairs])) <= 0.05
    assert false / 2000 <= 0.05


@pytest.mark.parametrize(("first", "second"), [(0, 0), (7, 0), (12, 5), (30, 31), (500, 420)])
def test_mcnemar_agrees_with_statsmodels_and_with_the_binomial(first, second):
    assert mcnemar_p(first, second) == mcnemar([[3, first], [second, 9]], exact=True).pvalue
    if first + second:
        assert mcnemar_p(first, second) == pytest.approx(binomtest(first, first + second).pvalue, rel=1e-12)


def test_the_fast_paired_bootstrap_is_the_bootstrap_over_samples():
    first, second = paired_answers(np.random.default_rng(6), 300, 0.2, 0.1)
    quick = paired_difference(first, second, 0.95, 20_000, seed=1)
    scipys = bootstrap(
        (first.astype(float) - second.astype(float),), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    assert quick.value == pytest.approx(first.mean() - second.mean(), abs=1e-12)
    assert (quick.low, quick.high) == pytest.approx((scipys.low, scipys.high), abs=0.005)


def test_arms_that_never_differ_still_have_an_interval():
    same = np.ones(50, dtype=bool)
    difference = paired_difference(same, same, 0.95, 1000, seed=1)
    assert difference.value == 0
    assert difference.low < 0 < difference.high
    assert difference.method == "agresti-min"


def test_the_difference_turns_with_the_arms():
    first, second = paired_answers(np.random.default_rng(7), 200, 0.3, 0.1)
    there, back = (paired_difference(*pair, 0.95, 5000, seed=1) for pair in ((first, second), (second, first)))
    assert there.value == -back.value
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=0.01)


def test_effect_sizes():
    assert cohens_g(30, 10) == 0.25
    assert cohens_g(0, 0) is None
    assert holm([]) == []
    assert holm([0.01, 0.04]) == [0.02, 0.04]


def test_bca_agrees_with_scipy():
    values = np.random.default_rng(8).gamma(1.5, size=60)
    _, bounds = intervals(lambda weights: (weights @ values / weights.sum(axis=1))[:, None], 60, 0.95, 20_000, seed=1)
    scipys = bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    assert bounds[0] == pytest.approx((scipys.low, scipys.high), rel=0.01)


def test_resamples_hold_n_samples_each_whatever_the_block(monkeypatch):
    whole = np.concatenate(list(resample_weights(7, 50, seed=1)))
    assert whole.shape == (50, 7)
    assert (whole.sum(axis=1) == 7).all()
    monkeypatch.setattr("slingshot.analysis.bootstrap.CHUNK_BYTES", 8 * 7 * 10)
    assert np.array_equal(np.concatenate(list(resample_weights(7, 50, seed=1))), whole)


def test_level_scores_agree_with_sklearn():
    generator = np.random.default_rng(9)
    names = [f"A{number:02d}" for number in range(12)]
    truths = list(generator.choice(names[:9], size=80))
    given = [truth if generator.random() < 0.5 else generator.choice([*names, ""]) for truth in truths]
    scores = level_scores(truths, given, SETTINGS)
    for average in ("macro", "weighted"):
        precision, recall, f1, _ = precision_recall_fscore_support(
            truths, given, labels=sorted(set(truths)), average=average, zero_division=0
        )
        assert getattr(scores, f"{average}_precision").value == pytest.approx(precision, rel=1e-12)
        assert getattr(scores, f"{average}_recall").value == pytest.approx(recall, rel=1e-12)
        assert getattr(scores, f"{average}_f1").value == pytest.approx(f1, rel=1e-12)
    assert all(
        score.low <= score.value <= score.high for score in (scores.macro_f1, scores.weighted_f1, scores.accuracy)
    )


def test_the_macro_f1_interval_covers_what_larger_samples_show():
    """Five labels of unequal difficulty; the truth is the score over very many samples."""
    generator = np.random.default_rng(10)
    chance = np.array([0.9, 0.7, 0.5, 0.3, 0.8])

    def drawn(n):
        truths = generator.integers(5, size=n)
        right = generator.random(n) < chance[truths]
        given = np.where(right, truths, generator.integers(5, size=n))
        return [str(truth) for truth in truths], [str(answer) for answer in given]

    truth = f1_score(*drawn(200_000), average="macro")  # without an interval: leaving each of so many out takes hours
    inside = 0
    for _ in range(150):
        score = level_scores(*drawn(120), Statistics(resamples=400)).macro_f1
        inside += score.low <= truth <= score.high
    assert inside / 150 >= 0.89


def test_wilsons_interval_holds_at_the_edges():
    none, every = proportion(np.zeros(20, dtype=bool), 0.95), proportion(np.ones(20, dtype=bool), 0.95)
    assert (none.value, none.low) == (0, 0)
    assert none.high > 0.1
    assert (every.value, every.high) == (1, 1)


def test_calibration_error_is_the_mean_gap_between_confidence_and_accuracy():
    probabilities = np.array([0.95, 0.95, 0.95, 0.95, 0.15, 0.15])
    correct = np.array([True, True, True, False, False, False])
    error = calibration_error(np.ones((1, 6)), probabilities, correct)[0]
    assert error == pytest.approx((4 * abs(0.75 - 0.95) + 2 * abs(0 - 0.15)) / 6)
    bins = calibration_bins(probabilities, correct)
    assert [(each.n, each.accuracy) for each in bins if each.n] == [(2, 0.0), (4, 0.75)]
