"""How small a difference a test split can show, from its size and an assumption, before any model has run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq

from slingshot.core.distributions import binomial_above, binomial_chance, binomial_quantile, binomial_up_to

POWER = 0.8

CONFIDENCE = 0.95

# Share of samples that one arm of a pair alone has right: the default of statistics.assumed_discordance, written here,
# too, since dataset.json depends on it and the room config does not count in the code digest.
ASSUMED_DISCORDANCE = 0.3

DISCORDANCES = (0.1, ASSUMED_DISCORDANCE, 0.5)

UNKNOWN_POWER = "how small a difference of sets of labels the test split shows is not known before they have answered"


def chance_to_find(difference: float, n: int, discordance: float, level: float) -> float:
    """Probability that McNemar's exact test finds a true difference, whatever the number of discordant samples.

    Of n samples M are discordant, binomial with `discordance`; given M the better arm wins a binomial number with
    chance (1 + difference / discordance) / 2. The test's power given M (Connor 1987, Biometrics 43:207, with exact
    instead of normal probabilities) is averaged over M. Nothing here is taken from answers.

    Args:
        difference: share of samples, from 0 to `discordance`
        level: of the two-sided test
    """
    least, most = (int(binomial_quantile(chance, n, discordance)) for chance in (1e-9, 1 - 1e-9))
    m = np.arange(least, most + 1)
    critical = binomial_quantile(1 - level / 2, m, 0.5) + 1  # the fewest wins that reject
    wins = (1 + difference / discordance) / 2
    found = binomial_above(critical - 1, m, wins) + binomial_up_to(m - critical, m, wins)
    found = np.where(critical > m, 0.0, found)
    return float(np.sum(binomial_chance(m, n, discordance) * found))


def smallest_difference(n: int, discordance: float, level: float) -> float | None:
    """The smallest true difference, as a share, that n samples show with a chance of POWER; None: none is shown."""
    if n == 0 or chance_to_find(discordance, n, discordance, level) < POWER:
        return None
    return float(
        brentq(lambda value: chance_to_find(value, n, discordance, level) - POWER, 0.0, discordance, xtol=1e-5)
    )


def describe_power(n: int, group_sizes: Sequence[int] = ()) -> dict[str, object]:
    """What dataset.json says of a test split of n samples, for one pair of arms.

    Args:
        group_sizes: samples per group; empty: each sample is independent
    """
    alike = samples_if_alike(group_sizes) if group_sizes else n

    def least(samples: int) -> dict[str, float | None]:
        return {f"{share:g}": smallest_difference(samples, share, 1 - CONFIDENCE) for share in DISCORDANCES}

    return {
        "test_samples": n,
        "confidence": CONFIDENCE,
        "power": POWER,
        "smallest_difference": least(n),
        "samples_if_groups_alike": alike,
        "smallest_difference_if_groups_alike": least(alike),
    }


def samples_if_alike(group_sizes: Sequence[int]) -> int:
    """Effective number of samples if all members of a group are alike: n^2 / sum of squared group sizes
    (Kish 1965, the design effect of unequal clusters)."""
    return int(sum(group_sizes) ** 2 // sum(size**2 for size in group_sizes))


def power_in_words(n: int, discordance: float, level: float, alike: int | None = None) -> str:
    """One sentence for the terminal.

    Args:
        alike: samples_if_alike of the split's groups
    """
    assumed = f"where one arm of a pair alone is right on {discordance:.0%} of them"
    shown = [points(smallest_difference(samples, discordance, level)) for samples in dict.fromkeys((n, alike or n))]
    if len(shown) == 1:
        found = "can't show any difference" if shown[0] is None else f"show a difference of {shown[0]}"
        return f"{n:,} test samples {found} with a chance of {POWER:.0%}, {assumed}"
    first, last = (each or "none at all" for each in shown)
    return (
        f"{n:,} test samples show a difference of {first} (if the members of a group are independent of each other) to "
        f"{last} (if they are all alike) with a chance of {POWER:.0%}, {assumed}"
    )


def points(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} points"
