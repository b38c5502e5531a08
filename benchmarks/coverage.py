"""How often each interval holds what it estimates: the table of docs/statistics.md, by simulation.

    nice -n 19 python benchmarks/coverage.py --write    # into docs/statistics.md, too; docs/statistics.md says how long
    python benchmarks/coverage.py --only macro          # some rows, printed
    python benchmarks/coverage.py --trials 4000         # closer: the default's standard error is 0.7 points at 95%

Every interval is the package's own at 95%, from answers drawn again in each trial. Where a score's expectation has no
formula (F1), the mean over the trials stands for it. For pairs the last column is how often the test calls equal arms
different; it is left out where they are not equal. A run that is stopped goes on from its last row, as long as neither
this file nor the analysis has changed; what is random is seeded, so the same code gives the same table.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from zlib import crc32

HOME = Path(__file__).resolve().parents[1]
sys.path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # it hides `statistics`
sys.path.insert(0, str(HOME / "scripts"))

import numpy as np  # noqa: E402 (needs the path above)
from numpy.typing import NDArray  # noqa: E402
from scipy.sparse import csr_matrix  # noqa: E402
from scipy.stats import norm  # noqa: E402

from slingshot.analysis import learning_curve  # noqa: E402
from slingshot.analysis.bootstrap import resample_weights  # noqa: E402
from slingshot.analysis.calibration import brier_score, calibration_error  # noqa: E402
from slingshot.analysis.cost import volume_interval  # noqa: E402
from slingshot.analysis.curve_shapes import fit_best_shape  # noqa: E402
from slingshot.analysis.designs import contrast  # noqa: E402
from slingshot.analysis.groups import Groups, independent  # noqa: E402
from slingshot.analysis.intervals import difference_of, jackknife  # noqa: E402
from slingshot.analysis.rivalry import best_of_group  # noqa: E402
from slingshot.analysis.scoring import hierarchical_f1, jackknifed, level_scores, proportion  # noqa: E402
from slingshot.analysis.set_scores import (  # noqa: E402
    macro_features,
    macro_precision_recall_f1,
    micro_f1_parts,
    precision_recall_f1,
)
from slingshot.analysis.significance import compare_runs, mean_of_runs  # noqa: E402
from slingshot.analysis.test_sets import drop_of  # noqa: E402
from slingshot.config.reporting import Statistics  # noqa: E402
from slingshot.report.formats import Interval  # noqa: E402

Floats = NDArray[np.float64]
Generator = np.random.Generator
CONFIDENCE = 0.95
BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"


@dataclass(frozen=True)
class Drawn:
    """One trial's estimate with its interval, and the p of the test where there is one."""

    value: float
    low: float
    high: float
    p: float | None = None


@dataclass(frozen=True)
class Regime:
    """`draw` makes one trial, `truths` is what it estimates, both by estimator; None: the mean of the estimates.

    A trial may lack an estimator that is given under a condition only: it is measured where it is given. Heavy ones are
    drawn that many times less often.
    """

    regime: str
    n: int
    truths: Mapping[str, float | None]
    draw: Callable[[Generator], dict[str, Drawn]]
    heavy: int = 1


@dataclass(frozen=True)
class Measured:
    trials: int
    covered: float
    width: float
    rejected: float | None


def measure(regime: Regime, trials: int, seed: int = 0) -> dict[str, Measured]:
    """Draw trials and count, for each of the regime's estimators."""
    generator = np.random.default_rng([seed, regime.n, crc32(" ".join([*regime.truths, regime.regime]).encode())])
    drawn = [regime.draw(generator) for _ in range(max(50, trials // regime.heavy))]
    return {
        name: _count([each[name] for each in drawn if name in each], truth) for name, truth in regime.truths.items()
    }


def _count(drawn: list[Drawn], known: float | None) -> Measured:
    truth = float(np.mean([each.value for each in drawn])) if known is None else known
    tested = [each.p for each in drawn if each.p is not None]
    widths = [each.high - each.low for each in drawn if np.isfinite(each.high - each.low)]
    return Measured(
        trials=len(drawn),
        covered=float(np.mean([each.low - 1e-12 <= truth <= each.high + 1e-12 for each in drawn])),
        width=float(np.mean(widths)) if widths else np.inf,
        rejected=float(np.mean([p <= 1 - CONFIDENCE for p in tested])) if tested and truth == 0 else None,
    )


def drawn_of(found: Interval, p: float | None = None) -> Drawn:
    return Drawn(found.value, found.low, found.high, p)


def alone(
    estimator: str, regime: str, n: int, truth: float | None, draw: Callable[[Generator], Drawn], heavy: int = 1
) -> Regime:
    """A regime of one estimator."""
    return Regime(regime, n, {estimator: truth}, lambda generator: {estimator: draw(generator)}, heavy)


# ---------------------------------------------------------------- answers


def answers(generator: Generator, shares: Floats | list[float], groups: Groups, alike: float = 0.0) -> Floats:
    """Right or wrong of several arms, shape (arms, n); some samples are hard for all, members of a group alike."""

    def latent() -> Floats:
        shared = generator.normal(size=groups.count)[groups.index]
        return np.asarray(np.sqrt(alike) * shared + np.sqrt(1 - alike) * generator.normal(size=len(groups.index)))

    hard = latent()
    cut = norm.ppf(np.clip(shares, 1e-6, 1 - 1e-6))
    return np.array([np.sqrt(0.4) * hard + np.sqrt(0.6) * latent() < each for each in cut], dtype=float)


def luck(generator: Generator, groups: Groups, alike: float) -> Floats:
    """Uniform numbers, shape (n,), members of a group alike."""
    shared = generator.normal(size=groups.count)[groups.index]
    return np.asarray(norm.cdf(np.sqrt(alike) * shared + np.sqrt(1 - alike) * generator.normal(size=len(groups.index))))


def fours(n: int) -> Groups:
    return Groups(np.repeat(np.arange(n // 4), 4), n // 4)


# ---------------------------------------------------------------- regimes


def shares() -> Iterator[Regime]:
    for n in (30, 150, 1500):
        for rate in (0.02, 0.5, 0.98):

            def draw(generator: Generator, n: int = n, rate: float = rate) -> Drawn:
                found = proportion(generator.random(n) < rate, CONFIDENCE)
                return drawn_of(found)

            yield alone("share (exact match, accuracy, top k)", f"{100 * rate:g}%", n, rate, draw)
    for alike in (0.3, 0.9):

        def draw_groups(generator: Generator, alike: float = alike) -> Drawn:
            groups = fours(300)
            found = proportion(answers(generator, [0.5], groups, alike)[0] > 0, CONFIDENCE, groups)
            return drawn_of(found)

        yield alone("share (exact match, accuracy, top k)", f"50%, groups of 4 alike by {alike}", 300, 0.5, draw_groups)


F1_REGIMES = (
    (2500, 500, 0.5, "500 labels of 5 samples, 50%"),
    *((1500, 2000, rate, f"2,000 labels, {100 * rate:g}%") for rate in (0.2, 0.5, 0.8)),
    *((n, 5, rate, f"5 labels, {100 * rate:g}%") for n in (30, 150, 1500) for rate in (0.02, 0.5, 0.98)),
    (150, -5, 0.5, "5 labels from 60 to 4%, 50%"),
    (150, 50, 0.98, "50 labels, 98%"),
)

AVERAGES = ("macro F1", "weighted F1", "micro F1", "macro precision", "macro recall", "weighted precision")


def f1_scores() -> Iterator[Regime]:
    for n, labels, rate, regime in F1_REGIMES:

        def draw(generator: Generator, n: int = n, labels: int = labels, rate: float = rate) -> dict[str, Drawn]:
            chances = [0.6, 0.2, 0.1, 0.06, 0.04] if labels < 0 else np.full(labels, 1 / labels)
            names = np.array([f"{number:04d}" for number in range(abs(labels))])
            balanced = np.repeat(np.arange(labels), 5) if labels == 500 else None
            truths = balanced if balanced is not None else generator.choice(len(names), size=n, p=chances)
            given = np.where(generator.random(n) < rate, truths, generator.choice(len(names), size=n, p=chances))
            scores = level_scores(list(names[truths]), list(names[given]), independent(n), CONFIDENCE)
            return {name: drawn_of(getattr(scores, name.lower().replace(" ", "_"))) for name in AVERAGES}

        yield Regime(regime, n, dict.fromkeys(AVERAGES), draw, heavy=5 if abs(labels) > 100 else 1)


def scores_in_groups() -> Iterator[Regime]:
    """Samples in groups of four of one label and, where there are probabilities, of one probability."""
    groups, alike = fours(300), 0.9
    names = ("macro F1", "weighted F1", "hierarchical F1", "Brier score", "calibration error")

    def draw(generator: Generator) -> dict[str, Drawn]:
        chance = luck(generator, groups, alike)
        truths, others = (generator.integers(5, size=groups.count)[groups.index] for _ in range(2))
        given = np.where(chance < 0.5, truths, others)
        scores = level_scores([str(each) for each in truths], [str(each) for each in given], groups, CONFIDENCE)
        counts = tree_counts(np.array([chance < 0.5 * each for each in DEPTHS], dtype=float))
        tree = jackknifed(hierarchical_f1, counts, ("p", "r", "f1"), groups, CONFIDENCE)["f1"]
        probabilities = generator.beta(8, 2, size=groups.count)[groups.index]
        judged = (
            function(probabilities, chance < probabilities, groups, CONFIDENCE)
            for function in (brier_score, calibration_error)
        )
        return dict(zip(names, map(drawn_of, (scores.macro_f1, scores.weighted_f1, tree, *judged)), strict=True))

    known = {"hierarchical F1": 0.5 * float(np.mean(DEPTHS)), "calibration error": 0.0}
    yield Regime("50% or calibrated, groups of 4 alike by 0.9", 300, dict.fromkeys(names) | known, draw, heavy=2)


DEPTHS = (1.0, 0.85, 0.7, 0.55)  # of what is right at the top: how much still is at each level below


def tree_counts(right: Floats) -> Floats:
    """Shared, answered and true nodes of the code tree: an answer is right down to a level."""
    return np.stack([right.sum(axis=0), *np.full((2, right.shape[1]), 4.0)], axis=1)


def tree_answers(generator: Generator, n: int, share: float) -> Floats:
    chance = generator.random(n)
    return np.array([chance < share * each for each in DEPTHS], dtype=float)


def hierarchical() -> Iterator[Regime]:
    for n, share in ((30, 0.02), (30, 0.98), (150, 0.5), (1500, 0.5)):

        def draw(generator: Generator, n: int = n, share: float = share) -> Drawn:
            counts = tree_counts(tree_answers(generator, n, share))
            return drawn_of(jackknifed(hierarchical_f1, counts, ("p", "r", "f1"), independent(n), CONFIDENCE)["f1"])

        yield alone("hierarchical F1", f"{100 * share:g}% at the top", n, share * float(np.mean(DEPTHS)), draw)
    for n, first, second in ((30, 0.98, 0.02), (150, 0.7, 0.5), (1500, 0.5, 0.5)):

        def draw_pair(generator: Generator, n: int = n, first: float = first, second: float = second) -> Drawn:
            both = [
                jackknife(
                    lambda sums: hierarchical_f1(sums)[:, 2:], tree_counts(tree_answers(generator, n, share)), groups
                )
                for groups in (independent(n),)
                for share in (first, second)
            ]
            found = difference_of(both[0], both[1], independent(n), CONFIDENCE)
            return drawn_of(found)

        yield alone(
            "difference of hierarchical F1",
            f"{100 * first:g} against {100 * second:g}% at the top",
            n,
            (first - second) * float(np.mean(DEPTHS)),
            draw_pair,
        )


PAIRS = ((30, 0.98, 0.02), (30, 0.5, 0.5), (150, 0.02, 0.02), (150, 0.6, 0.5), (1500, 0.5, 0.5), (1500, 0.99, 0.01))


def pairs() -> Iterator[Regime]:
    def regime(n: int, first: float, second: float, alike: float | None) -> Regime:
        def draw(generator: Generator) -> Drawn:
            groups = independent(n) if alike is None else fours(n)
            one, other = answers(generator, [first, second], groups, alike or 0.0)
            found = compare_runs([one], [other], CONFIDENCE, groups)
            return drawn_of(found.difference, found.p)

        said = f"{100 * first:g} against {100 * second:g}%"
        said += f", groups of 4 alike by {alike}" if alike else ""
        return alone("paired difference", said, n, first - second, draw)

    yield from (regime(*each, None) for each in PAIRS)
    yield from (regime(n, 0.5, 0.5, alike) for n in (120, 300, 1500) for alike in (0.3, 0.9))


def seeds() -> Iterator[Regime]:
    for runs in (1, 2, 3, 5):
        for spread in (0.0, 0.01, 0.03, 0.06):

            def draw(generator: Generator, runs: int = runs, spread: float = spread) -> Drawn:
                recipe = 0.5 + generator.normal(0, spread, size=runs)
                large, *small = answers(generator, [0.5, *recipe], independent(1500))
                found = compare_runs(small, [large], CONFIDENCE, independent(1500))
                return drawn_of(found.difference, found.p)

            said = f"{runs} seed{'s' * (runs > 1)}, {100 * spread:g} points between seeds"
            yield alone("difference from the recipe's mean", said, 1500, 0.0, draw, heavy=2)


def seed_means() -> Iterator[Regime]:
    for runs in (3, 5):
        for n, share, spread in ((150, 0.5, 0.03), (150, 0.97, 0.01), (1500, 0.5, 0.0), (1500, 0.5, 0.03)):

            def draw(
                generator: Generator, runs: int = runs, n: int = n, share: float = share, spread: float = spread
            ) -> Drawn:
                recipe = np.clip(share + generator.normal(0, spread, size=runs), 0, 1)
                right = list(answers(generator, recipe, independent(n)))
                return drawn_of(mean_of_runs(right, CONFIDENCE, independent(n)))

            said = f"{100 * share:g}%, {runs} seeds, {100 * spread:g} points between seeds"
            yield alone("mean of several seeds", said, n, share, draw, heavy=2)


def drops() -> Iterator[Regime]:
    for n, share, other, other_share in ((1500, 0.98, 150, 0.9), (150, 0.5, 150, 0.5), (30, 0.98, 30, 0.98)):

        def draw(
            generator: Generator, n: int = n, share: float = share, other: int = other, other_share: float = other_share
        ) -> Drawn:
            main = proportion(generator.random(n) < share, CONFIDENCE)
            return drawn_of(drop_of(main, proportion(generator.random(other) < other_share, CONFIDENCE)))

        said = f"{100 * share:g}% there, {100 * other_share:g}% of {other:,} here"
        yield alone("drop to another test set", said, n, share - other_share, draw)


def groups_by_frequency() -> Iterator[Regime]:
    """Equal arms: how often one is said to be worse than the best, which is picked on the same samples."""
    for arms in (2, 5, 10):

        def draw(generator: Generator, arms: int = arms) -> Drawn:
            right = answers(generator, [0.5] * arms, independent(300)) > 0
            by_name = {str(number): each for number, each in enumerate(right)}
            _, others = best_of_group(by_name, independent(300))
            return Drawn(0.0, 0.0, 0.0, min(others.values(), default=1.0))

        yield alone("best arm of a part, the others' p", f"{arms} arms, 50%", 300, 0.0, draw)


def seeds_in_groups() -> Iterator[Regime]:
    groups = fours(300)

    def draw(generator: Generator) -> Drawn:
        recipe = 0.5 + generator.normal(0, 0.01, size=3)
        large, *small = answers(generator, [0.5, *recipe], groups, 0.9)
        found = compare_runs(small, [large], CONFIDENCE, groups)
        return drawn_of(found.difference, found.p)

    said = "3 seeds, 1 points between seeds, groups of 4 alike by 0.9"
    yield alone("difference from the recipe's mean", said, 300, 0.0, draw, heavy=2)


SETS = ((60, 50), (300, 50), (60, 1000), (300, 1000))  # documents, labels; 5 to 15 labels per document


def label_sets(generator: Generator, n: int, labels: int) -> NDArray[np.bool_]:
    """True sets of shape (n, labels): 5 to 15 labels each, the frequent ones some hundred times the rare ones."""
    keys = generator.gumbel(size=(n, labels)) - np.log(np.arange(1, labels + 1))
    sizes = generator.integers(5, 16, size=n)
    ranks = np.argsort(np.argsort(-keys, axis=1), axis=1)
    return np.asarray(ranks < sizes[:, None])


def answered_sets(generator: Generator, true: NDArray[np.bool_], skill: float, hard: Floats) -> NDArray[np.bool_]:
    """Answers of an arm: of each true label with its skill, less where a document is hard; false ones by frequency."""
    chance = norm.cdf(norm.ppf(skill) - hard)[:, None]
    frequency = true.mean(axis=0)
    false = generator.random(true.shape) < (1 - chance) * frequency
    return np.where(true, generator.random(true.shape) < chance, false)


def set_features(true: NDArray[np.bool_], found: NDArray[np.bool_]) -> tuple[Floats, csr_matrix]:
    """Counts per document for micro F1, features per label for macro F1."""
    counts = np.stack([(true & found).sum(axis=1), found.sum(axis=1), true.sum(axis=1)], axis=1).astype(float)
    return counts, macro_features(csr_matrix(true.astype(float)), csr_matrix(found.astype(float)))


def sets_of_labels() -> Iterator[Regime]:
    names = ("precision", "recall", "f1")
    for n, labels in SETS:

        def draw_micro(generator: Generator, n: int = n, labels: int = labels) -> Drawn:
            true = label_sets(generator, n, labels)
            counts, _ = set_features(true, answered_sets(generator, true, 0.5, generator.normal(0, 0.7, size=n)))
            found = jackknifed(precision_recall_f1, counts, names, independent(n), CONFIDENCE)["f1"]
            return drawn_of(found)

        def draw_macro(generator: Generator, n: int = n, labels: int = labels) -> Drawn:
            true = label_sets(generator, n, labels)
            _, features = set_features(true, answered_sets(generator, true, 0.5, generator.normal(0, 0.7, size=n)))
            present = np.asarray(features[:, 2 * labels :].sum(axis=0)).ravel() > 0
            kept = features[:, np.flatnonzero(np.tile(present, 3))]
            found = jackknifed(macro_precision_recall_f1, kept, names, independent(n), CONFIDENCE)["f1"]
            return drawn_of(found)

        regime = f"{labels:,} labels, 5 to 15 per document"
        yield alone("micro F1 of sets", regime, n, None, draw_micro, heavy=1 if labels < 100 else 4)
        yield alone("macro F1 of sets", regime, n, None, draw_macro, heavy=2 if labels < 100 else 10)
        for other in (0.5, 0.4):

            def draw_pair(generator: Generator, n: int = n, labels: int = labels, other: float = other) -> Drawn:
                true, hard = label_sets(generator, n, labels), generator.normal(0, 0.7, size=n)
                parts = [
                    micro_f1_parts(set_features(true, answered_sets(generator, true, skill, hard))[0])
                    for skill in (0.5, other)
                ]
                found = compare_runs([parts[0]], [parts[1]], CONFIDENCE, independent(n))
                return drawn_of(found.difference, found.p)

            yield alone(
                "difference of micro F1 of sets",
                f"{regime}, 50 against {100 * other:g}% of the labels found",
                n,
                0.0 if other == 0.5 else None,
                draw_pair,
                heavy=4 if labels < 100 else 8,
            )


def designs() -> Iterator[Regime]:
    for n in (150, 1500):

        def draw(generator: Generator, n: int = n) -> Drawn:
            right = answers(generator, [0.1, 0.65, 0.4, 0.75], independent(n))
            found = contrast(right, (-1, 1, 1, -1), CONFIDENCE, independent(n))
            return drawn_of(found)

        yield alone("interaction of size and training", "10, 65, 40, 75%", n, 0.2, draw)


def calibration() -> Iterator[Regime]:
    shapes: tuple[tuple[str, tuple[float, float], float, float], ...] = (
        ("calibrated", (8, 2), 1.0, 0.0),
        ("calibrated, all near 98%", (490, 10), 1.0, 0.0),
        ("right 0.6 times as often", (6, 2), 0.6, 0.4 * float(np.sqrt(0.75**2 + 0.75 * 0.25 / 9))),
    )
    for n in (30, 150, 1500):
        for said, shape, factor, truth in shapes:

            def draw(
                generator: Generator, n: int = n, shape: tuple[float, float] = shape, factor: float = factor
            ) -> dict[str, Drawn]:
                probabilities = generator.beta(*shape, size=n)
                right = generator.random(n) < factor * probabilities
                return {
                    name: drawn_of(function(probabilities, right, independent(n), CONFIDENCE))
                    for name, function in (("calibration error", calibration_error), ("Brier score", brier_score))
                }

            yield Regime(said, n, {"calibration error": truth, "Brier score": None}, draw)


SIZES = np.array([100, 300, 1000, 3000, 7000], dtype=float)

CURVES: dict[str, Callable[[Floats], Floats]] = {
    "power law": lambda sizes: 0.15 + 4.0 * sizes**-0.5,
    "sigmoid": lambda sizes: 0.2 + 0.7 / (1 + (sizes / 800) ** 2),
    "steep sigmoid": lambda sizes: 0.2 + 0.75 / (1 + (sizes / 600) ** 5),
}


def curves() -> Iterator[Regime]:
    for name, curve in CURVES.items():
        for n in (150, 1500):
            for noise in (0.0, 0.02):

                def draw(
                    generator: Generator, n: int = n, noise: float = noise, curve: Callable[[Floats], Floats] = curve
                ) -> Drawn:
                    errors = curve(SIZES) + generator.normal(0, noise, size=len(SIZES))
                    right = answers(generator, [*(1 - errors), 1 - float(curve(np.array([500.0]))[0])], independent(n))
                    shape = fit_best_shape(SIZES, 1 - right[:-1].mean(axis=1))
                    found = learning_curve.training_noise(shape, [])
                    differences = [row - right[-1] for row in right[:-1]]
                    low, high = learning_curve.break_even_bounds(SIZES, differences, found, CONFIDENCE, independent(n))
                    return Drawn(500.0, low, high)

                said = f"{name}, {100 * noise:g} points of training noise"
                yield alone("train size of break-even", said, n, 500.0, draw, heavy=5)


BAND_RESAMPLES = Statistics(resamples=200)

LINE = "drawn learning curve, between two sizes"
ASYMPTOTE, EXPONENT = (f"{name} of the power law, where it fits best" for name in ("asymptote", "exponent"))


def bands() -> Iterator[Regime]:
    """The drawn curve at 550 samples, between two measured sizes; a power law's asymptote and exponent."""
    for name in CURVES:
        for n in (150, 1500):
            for noise in (0.0, 0.02):

                def draw(generator: Generator, n: int = n, noise: float = noise, name: str = name) -> dict[str, Drawn]:
                    curve = CURVES[name]
                    errors = curve(SIZES) + generator.normal(0, noise, size=len(SIZES))
                    right = answers(generator, 1 - errors, independent(n))
                    wrong = 1 - right.mean(axis=1)
                    shape = fit_best_shape(SIZES, wrong)
                    found = learning_curve.training_noise(shape, [])
                    scores = [proportion(row > 0, CONFIDENCE) for row in right]
                    line = learning_curve.drawn_line(SIZES, scores, shape, found, CONFIDENCE)
                    at = min(line, key=lambda point: abs(np.log(point.train_samples / 550)))
                    true = 1 - float(curve(np.array([at.train_samples]))[0])
                    drawn = {LINE: Drawn(at.value - true, at.low - true, at.high - true)}
                    if name == "power law" and learning_curve.follows_law(shape, wrong, n, found):
                        weights = np.concatenate(list(resample_weights(independent(n), BAND_RESAMPLES)))
                        again, seed = 1 - weights @ right.T / n, int(generator.integers(2**31))
                        law = learning_curve.power_law(SIZES, wrong, again, found, CONFIDENCE, seed)
                        drawn[ASYMPTOTE] = Drawn(law.asymptote, *law.asymptote_interval)
                        drawn[EXPONENT] = Drawn(law.exponent, *law.exponent_interval)
                    return drawn

                known: dict[str, float | None] = {LINE: 0.0}
                known |= {ASYMPTOTE: 0.15, EXPONENT: 0.5} if name == "power law" else {}
                yield Regime(f"{name}, {100 * noise:g} points of training noise", n, known, draw, heavy=5)


def costs() -> Iterator[Regime]:
    for ratio in (0.3, 0.8, 0.97):

        def draw(generator: Generator, ratio: float = ratio) -> Drawn:
            training, small, large = np.array([3600.0, ratio * 0.12, 0.12]) * (1 + 0.03 * generator.normal(size=3))
            return Drawn(0.0, *volume_interval(training, small, large, (0.03, 0.03, 0.03), CONFIDENCE))

        truth = 3600.0 / (0.12 - ratio * 0.12)
        said = f"rates vary by 3%, small costs {100 * ratio:g}% of large"
        yield alone("dialogues of break-even", said, 1, truth, draw)


def regimes() -> list[Regime]:
    parts = (shares, f1_scores, scores_in_groups, hierarchical, pairs, seeds, seeds_in_groups, seed_means, drops)
    parts += (sets_of_labels, groups_by_frequency, designs, calibration, curves, bands, costs)
    return [regime for part in parts for regime in part()]


# ---------------------------------------------------------------- the table


class Rows:
    """What is measured, kept in a file from regime to regime until the table is whole."""

    def __init__(self, trials: int) -> None:
        used = sorted(name for name in sys.modules if name.startswith("slingshot.analysis."))
        code = [Path(__file__), *(Path(file) for name in used if (file := sys.modules[name].__file__))]
        digest = crc32(b"".join(path.read_bytes() for path in code))
        self.file = Path(tempfile.gettempdir()) / f"slingshot-coverage-{trials}-{digest:08x}.json"
        self.known = json.loads(self.file.read_text()) if self.file.exists() else {}

    def of(self, regime: Regime, trials: int) -> dict[str, Measured]:
        key = " | ".join([*regime.truths, regime.regime, str(regime.n)])
        if key not in self.known:
            start = time.perf_counter()
            found = measure(regime, trials)
            self.known[key] = {name: asdict(each) for name, each in found.items()}
            self.file.write_text(json.dumps(self.known))
            print(f"{key}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
        return {name: Measured(**each) for name, each in self.known[key].items()}


def table(trials: int, only: str) -> str:
    """The table as Markdown; a line to stderr per regime as it goes."""
    rows, lines = Rows(trials), {}
    for regime in regimes():
        if not any(only in estimator for estimator in regime.truths):
            continue
        for estimator, found in rows.of(regime, trials).items():
            lines.setdefault(estimator, []).append(row_of(estimator, regime, found))
    if not only:
        rows.file.unlink()
    return "\n".join(
        [
            "| Estimator | Regime | n | Coverage | Mean width | Equal arms called different | Trials |",
            "|---|---|---|---|---|---|---|",
            *(line for estimator, of_it in lines.items() if only in estimator for line in of_it),
        ]
    )


def row_of(estimator: str, regime: Regime, found: Measured) -> str:
    rejected = "" if found.rejected is None else f"{found.rejected:.3f}"
    width = f"{found.width:,.3f}" if found.width < 10 else f"{found.width:,.0f}"
    covered = f"{found.covered:.3f}"
    if found.width == 0:  # a test without an interval
        covered, width = "", ""
    count = "" if regime.n == 1 else f"{regime.n:,}"
    return f"| {estimator} | {regime.regime} | {count} | {covered} | {width} | {rejected} | {found.trials:,} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="per regime; the slow ones take a fifth")
    parser.add_argument("--only", default="", help="estimators whose name holds this")
    parser.add_argument("--write", action="store_true", help="into docs/statistics.md, between its two marks")
    given = parser.parse_args()
    if given.write and given.only:
        parser.error("--write takes the whole table: leave --only out")
    made = table(given.trials, given.only)
    print(made)
    if given.write:
        path = HOME / "docs" / "statistics.md"
        before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        path.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
