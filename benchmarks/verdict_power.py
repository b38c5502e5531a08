"""What Bonferroni's correction, whose intervals agree with it, costs beside Holm's: docs/verdict.md's power.

    python benchmarks/verdict_power.py                # about a minute on one idle core
    python benchmarks/verdict_power.py --trials 500

Simulated studies with two finetuned small and two large arms, whose answers agree as those of real models do; each of
the four primary pairs is tested by McNemar's exact test. Counted is how often the verdict's rule says `specialization`:
some small arm is significantly better than both large ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
sys.path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # it hides `statistics`
sys.path[:0] = [str(HOME), str(HOME / "scripts")]

import numpy as np  # noqa: E402 (needs the path above)
from benchmarks.coverage import Generator, answers  # noqa: E402

from slingshot.analysis.groups import independent  # noqa: E402
from slingshot.analysis.significance import discordant, mcnemar_p  # noqa: E402

LEVEL = 0.05
Correction = Callable[[Sequence[float]], list[float]]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for the whole family (Holm 1979): the chance of any false finding stays at the level."""
    order, count = np.argsort(p_values, kind="stable"), len(p_values)
    adjusted = np.zeros(count)
    for rank, which in enumerate(order):
        least = adjusted[order[rank - 1]] if rank else 0.0
        adjusted[which] = min(1.0, max(least, (count - rank) * p_values[which]))
    return [float(p) for p in adjusted]


def bonferroni(p_values: Sequence[float]) -> list[float]:
    return [min(1.0, len(p_values) * p) for p in p_values]


CORRECTIONS: dict[str, Correction] = {"Bonferroni": bonferroni, "Holm": holm}


def draw_pairs(generator: Generator, gain: float, n: int) -> tuple[list[float], list[float]]:
    """The four primary pairs of one study: p and difference, first small arm first."""
    right = answers(generator, [0.5 + gain, 0.5 + gain, 0.5, 0.5], independent(n)) > 0
    pairs = [(right[small], right[large]) for small, large in product((0, 1), (2, 3))]
    counts = [discordant(*pair) for pair in pairs]
    return [mcnemar_p(*each) for each in counts], [float(first - second) for first, second in counts]


def says_specialization(adjusted: Sequence[float], differences: Sequence[float]) -> bool:
    better = [p <= LEVEL and difference > 0 for p, difference in zip(adjusted, differences, strict=True)]
    return all(better[:2]) or all(better[2:])


def power(gain: float, n: int, trials: int) -> dict[str, float]:
    """The share of studies with the verdict `specialization` under each correction, the same studies for both."""
    generator = np.random.default_rng([n, round(1000 * gain)])
    found = dict.fromkeys(CORRECTIONS, 0)
    for _ in range(trials):
        p_values, differences = draw_pairs(generator, gain, n)
        for name, correct in CORRECTIONS.items():
            found[name] += says_specialization(correct(p_values), differences)
    return {name: count / trials for name, count in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="simulated studies per row")
    parser.add_argument("--samples", type=int, default=1500, help="test samples")
    given = parser.parse_args()
    print("| Small arms better by, points | Bonferroni | Holm |\n|---|---|---|")
    for points in (0, 3, 4, 5, 6):
        found = power(points / 100, given.samples, given.trials)
        print(f"| {points} | {found['Bonferroni']:.1%} | {found['Holm']:.1%} |", flush=True)


if __name__ == "__main__":
    main()
