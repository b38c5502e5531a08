"""How fast our intervals are beside a plain bootstrap with scikit-learn and scipy's, in one run.

    python benchmarks/bootstrap.py                       # 1,537 samples, 10,000 resamples
    python benchmarks/bootstrap.py --samples 10000

Each line is one interval: ours, the plain loop over resamples that one would write with scikit-learn, and
scipy.stats.bootstrap. What would take minutes is timed on fewer resamples and scaled up, and says so. The endpoints
are printed too, so that one sees that the same thing was computed.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # it hides `statistics`
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import numpy as np  # noqa: E402 (needs the path above)
from scipy.stats import bootstrap  # noqa: E402
from sklearn.metrics import f1_score  # noqa: E402

from slingshot.analysis.groups import independent  # noqa: E402
from slingshot.analysis.scoring import level_scores  # noqa: E402
from slingshot.analysis.significance import paired_difference  # noqa: E402

CONFIDENCE = 0.95
LOOP_SECONDS = 10  # a plain loop runs about so long, then its time is scaled up


def timed(work: Callable[[], tuple[float, float]]) -> tuple[float, tuple[float, float]]:
    start = time.perf_counter()
    bounds = work()
    return time.perf_counter() - start, bounds


def looped(statistic: Callable[[np.ndarray], float], n: int, resamples: int) -> tuple[float, tuple[float, float], int]:
    """Seconds for all resamples, the percentile bounds, and how many resamples were really drawn."""
    rng = np.random.default_rng(0)
    values: list[float] = []
    start = time.perf_counter()
    while len(values) < resamples and (len(values) < 20 or time.perf_counter() - start < LOOP_SECONDS):
        values.append(statistic(rng.integers(n, size=n)))
    seconds = (time.perf_counter() - start) * resamples / len(values)
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return seconds, (float(low), float(high)), len(values)


def line(what: str, seconds: float, bounds: tuple[float, float], ours: float | None = None, note: str = "") -> None:
    ratio = f"{seconds / ours:9,.1f} x" if ours else " " * 11
    print(f"  {what:<34}{seconds:10.3f} s {ratio}   [{bounds[0]:+.4f}, {bounds[1]:+.4f}] {note}", flush=True)


def paired(n: int, resamples: int) -> None:
    print("paired difference of two accuracies")
    rng = np.random.default_rng(1)
    first, second = rng.random(n) < 0.5, rng.random(n) < 0.45

    def ours() -> tuple[float, float]:
        made = paired_difference(first, second, CONFIDENCE)
        return made.low, made.high

    def by_scipy() -> tuple[float, float]:
        def difference(one: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
            return one.mean(axis=axis) - other.mean(axis=axis)

        made = bootstrap(
            (first.astype(float), second.astype(float)),
            difference,
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            batch=500,
            method="percentile",
            rng=0,
        ).confidence_interval
        return float(made.low), float(made.high)

    ours()  # once to warm up
    seconds, bounds = timed(ours)
    line("ours (Tango's score interval)", seconds, bounds)
    line("scipy, percentile, in batches", *timed(by_scipy), seconds)
    slow, slow_bounds, drawn = looped(lambda draw: float(first[draw].mean() - second[draw].mean()), n, resamples)
    line("plain loop, percentile", slow, slow_bounds, seconds, f"from {drawn:,} resamples" if drawn < resamples else "")


def by_level(n: int, resamples: int, labels: int) -> None:
    print(f"precision, recall and F1, macro and weighted, {labels:,} labels (bounds: of the macro F1)")
    rng = np.random.default_rng(2)
    truth = rng.integers(labels, size=n)
    answer = np.where(rng.random(n) < 0.5, truth, rng.integers(labels, size=n))
    truths, answers = [str(one) for one in truth], [str(one) for one in answer]
    known = sorted(set(truth))

    def ours() -> tuple[float, float]:
        made = level_scores(truths, answers, independent(n), CONFIDENCE).macro_f1
        return made.low, made.high

    def macro_f1(draw: np.ndarray) -> float:
        present = np.unique(truth[draw])
        return float(f1_score(truth[draw], answer[draw], labels=present, average="macro", zero_division=0))

    seconds, bounds = timed(ours)
    line("ours, jackknife, all seven at once", seconds, bounds)
    slow, slow_bounds, drawn = looped(macro_f1, n, resamples)
    line("plain loop, scikit-learn, one of six", slow, slow_bounds, seconds, f"from {drawn:,} resamples")
    fewer = max(100, min(resamples, drawn))
    positions = np.arange(n)

    def by_scipy() -> tuple[float, float]:
        made = bootstrap(
            (positions,), macro_f1, vectorized=False, n_resamples=fewer, method="percentile", rng=0
        ).confidence_interval
        return float(made.low), float(made.high)

    few, few_bounds = timed(by_scipy)
    line("scipy, one of six", few * resamples / fewer, few_bounds, seconds, f"from {fewer:,} resamples")
    print(f"  labels {len(known):,}; plain percentiles carry the bootstrap's bias; the jackknife has none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1537, help="of the test split; MedSynth's has 1,537")
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--labels", type=int, default=1000)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    print(f"{given.samples:,} samples, {given.resamples:,} resamples; {os.cpu_count()} cores")
    paired(given.samples, given.resamples)
    by_level(given.samples, given.resamples, given.labels)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:,.0f} MiB")


if __name__ == "__main__":
    main()
