"""What a test split can show, by simulation of the test itself and of nothing that was observed."""

import numpy as np
import pytest

from slingshot.analysis.significance import mcnemar_p
from slingshot.data.power import POWER, chance_to_find, describe_power, power_in_words, smallest_difference


@pytest.mark.parametrize(("n", "discordance", "level"), [(150, 0.3, 0.05), (1500, 0.1, 0.0125)])
def test_the_smallest_difference_is_found_with_its_stated_chance(n: int, discordance: float, level: float) -> None:
    least = smallest_difference(n, discordance, level)
    assert least is not None
    better, worse = (discordance + least) / 2, (discordance - least) / 2
    counts = np.random.default_rng(1).multinomial(n, [better, worse, 1 - discordance], size=3000)
    pairs, repeats = np.unique(counts[:, :2], axis=0, return_counts=True)
    found = sum(
        count for (first, second), count in zip(pairs, repeats, strict=True) if mcnemar_p(first, second) <= level
    )
    assert found / 3000 == pytest.approx(POWER, abs=0.025)


def test_without_a_difference_it_is_found_no_more_often_than_the_level() -> None:
    assert 0 < chance_to_find(0.0, 300, 0.3, 0.05) <= 0.05


def test_more_samples_and_less_discordance_show_smaller_differences() -> None:
    by_size = [smallest_difference(n, 0.3, 0.05) for n in (100, 1000, 10_000, 1_000_000)]
    assert by_size == sorted(by_size, reverse=True)
    entry = describe_power(1000)["smallest_difference"]
    assert isinstance(entry, dict)
    assert entry["0.1"] < entry["0.3"] < entry["0.5"]


@pytest.mark.parametrize("n", [0, 3, 10])
def test_a_split_that_can_show_nothing_says_so(n: int) -> None:
    assert smallest_difference(n, 0.3, 0.05) is None
    assert "can't show any difference" in power_in_words(n, 0.3, 0.05)


def test_groups_are_counted_between_unrelated_and_alike() -> None:
    entry = describe_power(175, [5] * 35)
    assert entry["samples_if_groups_alike"] == 35
    words = power_in_words(175, 0.3, 0.05, 35)
    least, most = smallest_difference(175, 0.3, 0.05), smallest_difference(35, 0.3, 0.05)
    assert least is not None and most is not None
    assert f"{100 * least:.1f} points (if the members of a group are independent of each other" in words
    assert f"to {100 * most:.1f} points (if they are all alike)" in words
    assert describe_power(30, [1] * 30)["samples_if_groups_alike"] == 30
    assert "alike" not in power_in_words(30, 0.5, 0.05, 30)
