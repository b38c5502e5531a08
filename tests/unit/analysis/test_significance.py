"""Intervals cover, tests hold their level, and both agree with the libraries that everybody trusts."""

import numpy as np
import pytest
from benchmarks.verdict_power import CORRECTIONS, power
from scipy.stats import binomtest, norm
from sklearn.metrics import precision_recall_fscore_support
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from slingshot.analysis.bootstrap import resample_weights
from slingshot.analysis.groups import Groups, independent, of_names
from slingshot.analysis.intervals import difference_of, jackknife
from slingshot.analysis.scoring import hierarchical_f1, level_scores, proportion
from slingshot.analysis.significance import (
    cohens_g,
    compare_runs,
    discordant,
    mcnemar_p,
    mean_of_runs,
    paired_difference,
    paired_p,
    sign_flip_p,
    tango_interval,
)
from slingshot.config.reporting import Statistics


def paired_answers(generator, n, only_first, only_second, both=0.01):
    """Right or wrong answers of two arms over n samples, with these chances of being alone in the right."""
    cells = generator.choice(4, size=n, p=[only_first, only_second, both, 1 - only_first - only_second - both])
    return (cells == 0) | (cells == 2), (cells == 1) | (cells == 2)


@pytest.mark.parametrize(
    ("n", "only_first", "only_second"),
    [(150, 0.2, 0.1), (150, 0.02, 0.01), (1500, 0.05, 0.05), (30, 0.02, 0.0), (150, 0.98, 0.005), (1500, 0.98, 0.0)],
)
def test_the_paired_interval_covers_the_true_difference(n, only_first, only_second):
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(600):
        difference = paired_difference(*paired_answers(generator, n, only_first, only_second), 0.95)
        covered += difference.low <= only_first - only_second <= difference.high
    assert covered / 600 >= 0.93


@pytest.mark.parametrize(("n", "confidence"), [(300, 0.9), (300, 0.95), (300, 0.9875), (45, 0.9975), (20, 0.995)])
def test_the_interval_holds_0_exactly_where_the_exact_test_does_not_reject(n, confidence):
    """11 to 3 of 300 had p = 0.057 and an interval above 0; 9 to 0 of 20 at 0.995 p = 0.004 and one that held 0."""
    for only_first in range(min(30, n + 1)):
        for only_second in range(min(only_first, n - only_first) + 1):
            first, second = np.zeros((2, n), dtype=bool)
            first[:only_first] = second[only_first : only_first + only_second] = True
            found = paired_difference(first, second, confidence)
            holds_zero = found.low <= 0 <= found.high
            assert holds_zero == (mcnemar_p(only_first, only_second) > 1 - confidence), (only_first, only_second)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (30, 0), (0, 30), (29, 0), (1, 0)])
def test_no_paired_interval_has_no_width(only_first, only_second):
    first, second = np.zeros((2, 30), dtype=bool)
    first[:only_first] = second[:only_second] = True
    found = paired_difference(first, second, 0.95)
    assert found.high - found.low > 0.1
    assert found.low <= found.value <= found.high


def test_tangos_interval_ends_where_his_score_test_rejects():
    """Each end is the difference that the score test of his formula rejects just so."""
    low, high = tango_interval(9, 2, 50, 1.959964)
    for end in (low, high):
        b = 2 * 50 - 9 + 2
        linear = b * end - 11
        q = (np.sqrt(linear**2 + 8 * 50 * 2 * end * (1 - end)) - linear) / (4 * 50)
        score = (7 - 50 * end) / np.sqrt(50 * (2 * q + end * (1 - end)))
        assert abs(score) == pytest.approx(1.959964, abs=1e-5)
    assert tango_interval(0, 0, 30, 1.96) == pytest.approx(
        (-(1.96**2) / (30 + 1.96**2), 1.96**2 / (30 + 1.96**2)), abs=1e-6
    )


def grouped_answers(generator, n, size, correlation, shares):
    """Answers of two arms that are equally alike within groups."""
    groups = Groups(np.repeat(np.arange(n // size), size), n // size)

    def latent():
        shared = generator.normal(size=groups.count)[groups.index]
        return np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * generator.normal(size=n)

    hard = latent()
    arms = [np.sqrt(0.3) * hard + np.sqrt(0.7) * latent() < norm.ppf(share) for share in shares]
    return *arms, groups


@pytest.mark.parametrize("correlation", [0.3, 0.9])
def test_groups_make_no_false_winners(correlation):
    """Taken as independent, equal arms in groups of 4 differ significantly in 12 and 28% of draws."""
    generator = np.random.default_rng(2)
    false, naive, covered, disagree = 0, 0, 0, 0
    for _ in range(400):
        first, second, groups = grouped_answers(generator, 300, 4, correlation, (0.5, 0.5))
        found = paired_difference(first, second, 0.95, groups)
        p = paired_p(first, second, groups)
        false, naive = false + (p <= 0.05), naive + (paired_p(first, second) <= 0.05)
        covered += found.low <= 0 <= found.high
        disagree += (p <= 0.05) == (found.low <= 0 <= found.high)
    assert false / 400 <= 0.08
    assert naive / 400 > 0.07
    assert naive > 1.4 * false
    assert covered / 400 >= 0.92
    assert disagree / 400 <= 0.02


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("hits", [True, False])
def test_interval_and_p_of_a_pair_always_agree(size, hits):
    """Sets of codes: +5.1 [+1.4, +8.5] stood beside p < 0.001, and an adjusted p of 0.022 beside an interval at 0."""
    generator = np.random.default_rng(7)
    small = []
    for _ in range(200):
        first, second, groups = grouped_answers(generator, 120, size, 0.5, (0.5, 0.4))
        if not hits:  # F1 of a few codes per document, of which both arms find most
            first, second = (0.4 + 0.3 * each + generator.normal(0, 0.05, size=120) for each in (first, second))
        p = compare_runs([first], [second], 0.95, groups).p
        assert p >= paired_p(first, second, groups) - 1e-12
        for level in (0.05, 0.05 / 6, 0.001):
            found = compare_runs([first], [second], 1 - level, groups).difference
            assert (p <= level) == (found.low > 0 or found.high < 0), (p, level, found)
        small.append(p <= 0.05)
    assert 20 < sum(small) < 200


def test_the_test_of_groups_without_groups_is_mcnemars():
    generator = np.random.default_rng(3)
    for _ in range(50):
        first, second = paired_answers(generator, 120, 0.15, 0.08)
        assert paired_p(first, second) == pytest.approx(mcnemar_p(*discordant(first, second)), abs=1e-12)


def test_the_exact_test_of_groups_is_that_over_all_signs():
    totals = np.array([3.0, -1.0, 2.0, 0.0, 2.0, -3.0, 1.0])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1)
    sums = np.abs(totals[totals != 0]) @ signs
    assert sign_flip_p(totals) == pytest.approx(np.mean(np.abs(sums) >= abs(totals.sum())))
    assert sign_flip_p(0.3 * totals) == pytest.approx(sign_flip_p(totals), abs=0.02)


def test_scores_that_are_no_hits_are_compared_too():
    """F1 of sets of codes per document, say: any score from 0 to 1."""
    generator = np.random.default_rng(4)
    covered, false = 0, 0
    for _ in range(200):
        hard = generator.random(150)
        first, second = (np.clip(hard + generator.normal(0, 0.3, size=150), 0, 1) for _ in range(2))
        found = compare_runs([first], [second], 0.95, independent(150))
        covered += found.difference.low <= 0 <= found.difference.high
        false += found.p <= 0.05
        assert found.difference.method == "student"
    assert covered >= 181
    assert false <= 19


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.06])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seeds_of_equal_recipes_make_no_false_winners(seeds, spread):
    """One seed names a winner in up to 40% of runs at 3 points between seeds; bootstraps over 2 or 3 in 25 and 14%."""
    false, generator = 0, np.random.default_rng(5)
    for _ in range(250):
        large, *runs = seeded_answers(generator, 1500, [0.5, *(0.5 + generator.normal(0, spread, size=seeds))])
        found = compare_runs(runs, [large], 0.95, independent(1500))
        false += found.p <= 0.05
        assert (found.p <= 0.05) == (not found.difference.low <= 0 <= found.difference.high)
    assert false <= 22  # of 250 at 5%: more with a chance under 1%


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_mean_of_equal_runs_is_no_surer_than_one_of_them(share):
    """Of 100 samples that all seeds have wrong the interval ended at 1.9%, Wilson's of a single run at 3.7%."""
    runs = [np.full(100, share)] * 3
    found, one = mean_of_runs(runs, 0.95, independent(100)), proportion(runs[0], 0.95)
    assert found.low <= one.low and one.high <= found.high
    assert found.high - found.low < 0.06


def test_many_seeds_find_a_difference():
    generator = np.random.default_rng(6)
    large, *runs = seeded_answers(generator, 1500, [0.5, *(0.6 + generator.normal(0, 0.02, size=5))])
    found = compare_runs(runs, [large], 0.95, independent(1500))
    assert found.p < 0.01
    assert found.difference.method == "seeds"


def seeded_answers(generator, n, shares):
    """Rows of right or wrong answers: some samples are hard for all arms."""
    hard = generator.normal(size=n)
    noise = generator.normal(size=(len(shares), n))
    right = np.sqrt(0.6) * hard + np.sqrt(0.4) * noise < norm.ppf(np.clip(shares, 0.01, 0.99))[:, None]
    return list(right.astype(float))


def test_the_difference_of_two_f1_has_a_width_and_covers():
    """Nodes of the code tree that answer and truth share: 4 each, and an arm hits a level or not."""
    generator = np.random.default_rng(7)
    draws = []
    for _ in range(150):
        hard = generator.normal(size=120)
        arms = []
        for share in (0.7, 0.5):
            levels = np.sqrt(0.5) * hard[:, None] + np.sqrt(0.5) * generator.normal(size=(120, 4)) < norm.ppf(share)
            arms.append(np.stack([levels.sum(axis=1), np.full(120, 4), np.full(120, 4)], axis=1).astype(float))
        one, other = (jackknife(lambda sums: hierarchical_f1(sums)[:, 2:], arm, independent(120)) for arm in arms)
        draws.append(difference_of(one, other, independent(120), 0.95))
    truth = np.mean([draw.value for draw in draws])
    covered = sum(draw.low <= truth <= draw.high for draw in draws)
    assert covered >= 134
    every = np.full((30, 3), 4.0)
    none = every * [0, 1, 1]
    one, other = (jackknife(lambda sums: hierarchical_f1(sums)[:, 2:], arm, independent(30)) for arm in (every, none))
    assert difference_of(one, other, independent(30), 0.95).low < 0.9
    same = difference_of(one, one, independent(30), 0.95)
    assert same.low < -0.1
    assert same.high > 0.1


def test_a_family_of_equal_arms_is_called_different_no_more_often_than_the_level():
    generator = np.random.default_rng(4)
    false = 0
    for _ in range(2000):
        pairs = [paired_answers(generator, 200, 0.1, 0.1) for _ in range(4)]
        false += len(pairs) * min(mcnemar_p(*discordant(*pair)) for pair in pairs) <= 0.05
    assert false / 2000 <= 0.05


@pytest.mark.parametrize(("first", "second"), [(0, 0), (7, 0), (12, 5), (30, 31), (500, 420)])
def test_mcnemar_agrees_with_statsmodels_and_with_the_binomial(first, second):
    theirs = mcnemar([[3, first], [second, 9]], exact=True).pvalue
    assert mcnemar_p(first, second) == pytest.approx(theirs, rel=1e-12)
    if first + second:
        assert mcnemar_p(first, second) == pytest.approx(binomtest(first, first + second).pvalue, rel=1e-12)


def test_arms_that_never_differ_still_have_an_interval():
    same = np.ones(50, dtype=bool)
    difference = paired_difference(same, same, 0.95)
    assert difference.value == 0
    assert difference.low < 0 < difference.high
    assert difference.method == "tango"


def test_the_difference_turns_with_the_arms():
    first, second = paired_answers(np.random.default_rng(7), 200, 0.3, 0.1)
    there, back = (paired_difference(*pair, 0.95) for pair in ((first, second), (second, first)))
    assert there.value == -back.value
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=0.01)


def test_effect_sizes():
    assert cohens_g(30, 10) == 0.25
    assert cohens_g(0, 0) is None


def test_the_power_simulation_corrects_as_statsmodels_does_and_holm_loses_nothing_beside_bonferroni():
    values = [0.04, 0.01, 0.2, 0.01, 0.9]
    for name, correct in CORRECTIONS.items():
        assert correct([]) == []
        assert correct(values) == pytest.approx(list(multipletests(values, method=name.lower())[1]))
    none, some = power(0.0, 300, 60), power(0.12, 300, 60)
    assert none["Bonferroni"] <= none["Holm"] <= 0.05
    assert 0.3 <= some["Bonferroni"] <= some["Holm"]


def test_resamples_hold_whole_groups_whatever_the_block(monkeypatch):
    groups = of_names(np.array(["a", "b", "a", "c", "d", "d", "e"]))
    statistics = Statistics(resamples=100, seed=1)
    whole = np.concatenate(list(resample_weights(groups, statistics)))
    assert whole.shape == (100, 7)
    assert (whole[:, [1, 3, 6]].sum(axis=1) + whole[:, [0, 4]].sum(axis=1) == 5).all()
    assert (whole[:, 0] == whole[:, 2]).all()
    monkeypatch.setattr("slingshot.analysis.bootstrap.BLOCK_BYTES", 8 * 7 * 10)
    assert np.array_equal(np.concatenate(list(resample_weights(groups, statistics))), whole)


def test_level_scores_agree_with_sklearn():
    generator = np.random.default_rng(9)
    names = [f"A{number:02d}" for number in range(12)]
    truths = list(generator.choice(names[:9], size=80))
    given = [truth if generator.random() < 0.5 else generator.choice([*names, ""]) for truth in truths]
    scores = level_scores(truths, given, independent(80), 0.95)
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


def test_wilsons_interval_holds_at_the_edges():
    none, every = proportion(np.zeros(20, dtype=bool), 0.95), proportion(np.ones(20, dtype=bool), 0.95)
    assert (none.value, none.low) == (0, 0)
    assert none.high > 0.1
    assert (every.value, every.high) == (1, 1)
