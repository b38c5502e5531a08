"""What designs say, on simulated answers whose curve and effects are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.stats import norm

from slingshot.analysis import learning_curve
from slingshot.analysis.curve_shapes import fit_best_shape
from slingshot.analysis.designs import Scored, contrast, seeds_of
from slingshot.analysis.designs import findings as findings_of
from slingshot.analysis.groups import Groups, independent
from slingshot.analysis.scoring import proportion
from slingshot.analysis.significance import paired_difference
from slingshot.artifacts.comparison import DesignFindings, Estimate
from slingshot.config.arms import Arm
from slingshot.config.reporting import Statistics

N = 1500
STATISTICS = Statistics(resamples=1000)
SIZES = np.array([100, 300, 1000, 3000, 7000], dtype=float)


def findings(scored: list[Scored], statistics: Statistics) -> DesignFindings | None:
    return findings_of(scored, statistics, independent(len(scored[0].values)))


def law(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The true error by train size."""
    return 0.15 + 4.0 * sizes**-0.5


def scored(path: str, correct: NDArray[np.bool_], design: Any = None, **known: Any) -> Scored:
    kind, model, *rest = path.split("/")
    facts = {"shots": 0, "train_samples": None, "hold_steps": False, "seed": None, "training": {}} | known
    arm = {key: facts.pop(key) for key in ("best_of", "train_size") if key in facts}
    finetuned = facts.pop("finetuned", kind == "slm")
    return Scored(
        arm=Arm(
            kind=kind,  # type: ignore[arg-type]
            model=model,
            variant=rest[0] if rest else None,
            finetuned=finetuned,
            design=design,
            **arm,
        ),
        values=correct,
        exact_match=proportion(correct, STATISTICS.confidence),
        **facts,
    )


def answers(generator: np.random.Generator, shares: Any, n: int = N) -> NDArray[np.bool_]:
    """Answers of several arms to the same samples, some of which are hard for all: (arms, n)."""
    hard = generator.normal(size=n)
    noise = generator.normal(size=(len(shares), n))
    return (hard * np.sqrt(0.6) + noise * np.sqrt(0.4)) < norm.ppf(np.asarray(shares))[:, None]


def curve_study(generator: np.random.Generator, zero_shot: float, sizes: NDArray[np.float64] = SIZES) -> list[Scored]:
    right = answers(generator, [*(1 - law(sizes)), zero_shot])
    arms = [
        scored(f"slm/small/train{size:.0f}", row, "learning_curve", train_samples=int(size))
        for size, row in zip(sizes[:-1], right, strict=False)
    ]
    own = scored("slm/small", right[len(sizes) - 1], train_samples=int(sizes[-1]))
    return [own, *arms, scored("llm/large", right[-1])]


# ---------------------------------------------------------------- the fit


def test_the_fit_finds_a_known_law_and_agrees_with_scipys() -> None:
    fitted = learning_curve.fit(SIZES, law(SIZES)[None])
    assert fitted.errors(SIZES)[0] == pytest.approx(law(SIZES), abs=1e-3)
    noisy = np.add(law(SIZES), [0.01, -0.012, 0.008, -0.004, 0.003])
    ours = learning_curve.fit(SIZES, noisy[None]).errors(SIZES)[0]
    found, _ = curve_fit(
        lambda n, a, b, c: a + b * (n / 100) ** -c, SIZES, noisy, p0=(0.1, 0.4, 0.5), bounds=(0, [1, 10, 5])
    )
    theirs = found[0] + found[1] * (SIZES / 100) ** -found[2]
    assert np.sum((ours - noisy) ** 2) <= np.sum((theirs - noisy) ** 2) * 1.01


def test_a_curve_that_does_not_fall_is_fitted_flat() -> None:
    fitted = learning_curve.fit(SIZES, np.array([[0.4, 0.5, 0.5, 0.6, 0.6]]))
    assert fitted.errors(SIZES)[0] == pytest.approx([0.52] * 5)


def test_no_curve_has_more_errors_than_answers() -> None:
    """Small sizes that learn nothing beside a large one that does pull the law above 1 (seen on the demo's data)."""
    fitted = learning_curve.fit(np.array([60.0, 130, 270, 706]), np.array([[1, 1, 0.987, 0.775]]))
    assert fitted.errors(np.array([60.0, 130]))[0].max() == 1


def sigmoid(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.2 + 0.7 / (1 + (sizes / 800) ** 2)


def steep(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.2 + 0.75 / (1 + (sizes / 600) ** 5)


@pytest.mark.parametrize("true", [law, sigmoid, steep])
@pytest.mark.parametrize(("n", "noise"), [(150, 0.0), (1500, 0.0), (1500, 0.02)])
@pytest.mark.parametrize("where", [500.0, 1000.0])
def test_break_even_intervals_cover_the_true_size_under_any_shape(
    true: Callable[[Any], Any], n: int, noise: float, where: float
) -> None:
    """A power law's interval covered 0.74 and, at n = 1,500, 0.01 under a sigmoid. 1,000 is a measured size."""
    generator = np.random.default_rng(n)
    covered, informative = 0, 0
    for _ in range(50):
        errors = np.clip(true(SIZES) + generator.normal(0, noise, size=len(SIZES)), 0.01, 0.99)
        right = answers(generator, [*(1 - errors), 1 - float(true(where))], n)
        shape = fit_best_shape(SIZES, 1 - right[:-1].mean(axis=1))
        found = learning_curve.training_noise(shape, [])
        differences = [row.astype(float) - right[-1] for row in right[:-1]]
        low, high = learning_curve.break_even_bounds(SIZES, differences, found, 0.95, independent(n))
        covered += low <= where <= high
        informative += low >= 100 and high <= 7000
    assert covered >= 44
    if true is law and n == 1500 and not noise:
        assert informative >= 25


@pytest.mark.parametrize(("true", "named"), [(law, "power law"), (steep, "sigmoid")])
def test_the_shape_that_predicts_held_out_sizes_is_chosen(true: Callable[[Any], Any], named: str) -> None:
    sizes = np.geomspace(100, 7000, 7)
    found = fit_best_shape(sizes, true(sizes))
    assert found.best == named
    assert found.size_at(float(true(500.0))) == pytest.approx(500, rel=0.1)
    assert found.size_at(0.99) == -np.inf
    assert found.size_at(0.01) == np.inf


def test_where_no_shape_fits_only_the_interval_is_named() -> None:
    right = np.array([np.arange(1500) < share for share in (150, 900, 300, 1200, 1260)])
    arms = [
        scored(f"slm/s/train{size:.0f}", row, "learning_curve", train_samples=int(size))
        for size, row in zip(SIZES, right, strict=True)
    ]
    found = findings([*arms, scored("llm/l", np.arange(1500) < 700)], STATISTICS)
    assert found is not None
    (curve,) = found.curves
    assert not curve.fits
    assert curve.break_even[0].estimate is None
    assert "no shape of curve fits" in curve.break_even[0].sentence


def test_seeds_say_the_training_noise() -> None:
    arms = curve_study(np.random.default_rng(2), 0.5)
    seeds = [
        scored(f"slm/small/seed{number}", right, "seeds")
        for number, right in enumerate(answers(np.random.default_rng(3), [0.78, 0.84]))
    ]
    found = findings([*arms, *seeds], STATISTICS)
    assert found is not None
    noise = found.curves[0].training_noise
    assert noise is not None
    assert (noise.source, noise.freedom) == ("seeds", 2)
    assert noise.deviation == pytest.approx(found.seeds[0].between_seeds)


@pytest.mark.parametrize(
    ("zero_shot", "place", "sentence"),
    [
        (0.05, "below", "not within this range: already at the smallest size, 100; so says the whole 95% interval."),
        (0.99, "above", "not within this range: not yet at the largest size, 7,000; so says the whole 95% interval."),
    ],
)
def test_a_break_even_outside_the_range_is_said_to_be_outside(zero_shot: float, place: str, sentence: str) -> None:
    found = findings(curve_study(np.random.default_rng(1), zero_shot), STATISTICS)
    assert found is not None
    (entry,) = found.curves[0].break_even
    assert entry.estimate is not None
    assert (entry.estimate.place, entry.estimate.train_samples) == (place, None)
    assert entry.sentence == f"small matches llm/large: {sentence}"


def test_where_hardly_an_answer_differs_the_interval_is_the_whole_range() -> None:
    never = np.zeros(40, dtype=bool)
    arms = [scored(f"slm/s/train{size}", never, "learning_curve", train_samples=size) for size in (10, 20, 30)]
    found = findings([*arms, scored("llm/l", never)], STATISTICS)
    assert found is not None
    (entry,) = found.curves[0].break_even
    assert (entry.low.place, entry.high.place) == ("below", "above")
    assert "95% interval" in entry.sentence
    assert "under 10 " in entry.sentence
    assert "over 30 " in entry.sentence or "over 30)" in entry.sentence
    assert "Training noise is not counted" in entry.sentence


def test_a_curve_of_two_sizes_has_points_and_no_law() -> None:
    found = findings(curve_study(np.random.default_rng(1), 0.5, SIZES[:2]), STATISTICS)
    assert found is not None
    assert [point.train_samples for point in found.curves[0].points] == [100, 300]
    assert (found.curves[0].power_law, found.curves[0].break_even) == (None, [])


def test_the_curve_and_its_band_enclose_one_another() -> None:
    found = findings(curve_study(np.random.default_rng(1), 0.5), STATISTICS)
    assert found is not None
    line = found.curves[0].line
    assert all(point.low <= point.value <= point.high for point in line)
    assert (line[0].train_samples, line[-1].train_samples) == (pytest.approx(100), pytest.approx(7000))


# ---------------------------------------------------------------- crossed


def test_effects_are_those_of_the_table() -> None:
    """Of 20 samples: small 2 then 12 right, large 8 then 14: size +4/20, training +8/20, interaction +4/20."""
    right = np.zeros((4, 20), dtype=bool)
    for row, count in zip(right, (2, 12, 8, 14), strict=True):
        row[:count] = True
    found = findings(
        [
            scored("slm/s", right[1]),
            scored("llm/l", right[2]),
            scored("slm/s/untrained", right[0], "crossed", finetuned=False),
            scored("llm/l/finetuned", right[3], "crossed", finetuned=True),
        ],
        STATISTICS,
    )
    assert found is not None
    (table,) = found.crossed
    assert table.size.value == pytest.approx(4 / 20)
    assert table.specialization.value == pytest.approx(8 / 20)
    assert table.interaction.value == pytest.approx(4 / 20)
    assert {gain.model: gain.difference.value for gain in found.gains} == {"s": 0.5, "l": pytest.approx(0.3)}


def test_an_untrained_small_model_alone_has_a_gain_and_no_table() -> None:
    right = answers(np.random.default_rng(0), [0.6, 0.4, 0.2])
    found = findings(
        [scored("slm/s", right[0]), scored("llm/l", right[1]), scored("slm/s/untrained", right[2], "crossed",
                                                                       finetuned=False)],
        STATISTICS,
    )  # fmt: skip
    assert found is not None
    assert found.crossed == []
    assert [gain.model for gain in found.gains] == ["s"]


def test_interaction_intervals_cover() -> None:
    shares = np.array([0.10, 0.65, 0.40, 0.75])
    covered = 0
    for seed in range(60):
        right = answers(np.random.default_rng(seed), shares, 400).astype(float)
        found = contrast(right, (-1, 1, 1, -1), 0.95, independent(400))
        covered += found.low <= 0.20 <= found.high
    assert covered >= 52  # of 60 at 95%: fewer with a chance under 1%


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (3, 1), (60, 20)])
def test_a_contrast_of_two_arms_is_the_paired_difference(only_first: int, only_second: int) -> None:
    first, second = np.zeros(200, dtype=bool), np.zeros(200, dtype=bool)
    first[:only_first] = True
    second[100 : 100 + only_second] = True
    ours = contrast(np.array([first, second], dtype=float), (1, -1), 0.95, independent(200))
    known = paired_difference(first, second, 0.95)
    assert (ours.value, ours.low, ours.high) == pytest.approx((known.value, known.low, known.high), abs=0.015)


# ---------------------------------------------------------------- seeds


def seed_runs(generator: np.random.Generator, shares: NDArray[np.float64], n: int = 300) -> list[Scored]:
    right = answers(generator, shares, n)
    return [
        scored("slm/s" + (f"/seed{index}" if index else ""), row, "seeds" if index else None, seed=index)
        for index, row in enumerate(right)
    ]


def mean_of(runs: list[Scored]) -> Estimate:
    found = seeds_of("s", runs, STATISTICS, independent(len(runs[0].values)))
    assert found is not None
    return found.mean


def test_an_interval_over_seeds_covers_the_recipes_mean_and_one_seed_does_not() -> None:
    spread, covered, by_one = 0.06, 0, 0
    for trial in range(60):
        generator = np.random.default_rng(trial)
        runs = seed_runs(generator, np.clip(generator.normal(0.6, spread, size=8), 0.05, 0.95))
        mean = mean_of(runs)
        covered += mean.low <= 0.6 <= mean.high
        by_one += runs[0].exact_match.low <= 0.6 <= runs[0].exact_match.high
    assert covered >= 51
    assert by_one < covered


def test_a_curve_that_learnt_nothing_has_no_power_law() -> None:
    """Its asymptote was 1 with the interval 1 to 1, its exponent 0.01 to 0.01."""
    wrong, right = np.zeros(100, dtype=bool), np.arange(100) < 50
    sizes = {50: "slm/s/n50", 100: "slm/s/n100", 200: "slm/s/n200", 400: "slm/s/n400"}
    runs = [scored(path, wrong, "learning_curve", train_samples=size) for size, path in sizes.items()]
    found = findings([*runs, scored("slm/s", wrong, train_samples=800), scored("llm/l", right)], STATISTICS)
    assert found is not None
    (curve,) = found.curves
    assert curve.power_law is None
    assert "not yet at the largest size, 800" in curve.break_even[0].sentence


def test_seeds_and_samples_are_told_apart() -> None:
    generator = np.random.default_rng(3)
    runs = seed_runs(generator, np.array([0.50, 0.75, 0.62, 0.55]))
    large = scored("llm/l", runs[0].values.copy())
    found = findings([*runs, large], STATISTICS)
    assert found is not None
    (variation,) = found.seeds
    shares = [run.exact_match.value for run in variation.runs]
    assert variation.between_seeds == pytest.approx(np.std(shares, ddof=1))
    assert 0.02 < variation.between_samples < 0.03
    against = variation.against["llm/l"]
    assert against.value == pytest.approx(np.mean(shares) - shares[0])
    assert against.low < 0 < against.high


def test_the_variation_between_samples_counts_groups() -> None:
    """100 groups of 4 that are each of one mind: half are right, so one run's standard error is 5 points, not 2.5."""
    right = np.repeat(np.arange(100) % 2 == 0, 4)
    runs = [scored("slm/s", right), scored("slm/s/seed1", right, "seeds")]
    found = findings_of(runs, STATISTICS, Groups(np.repeat(np.arange(100), 4), 100))
    assert found is not None
    assert found.seeds[0].between_samples == pytest.approx(0.05, rel=0.01)


def test_equal_seeds_leave_the_variation_between_samples() -> None:
    right = answers(np.random.default_rng(0), [0.5], 400)[0]
    runs = [scored("slm/s", right), scored("slm/s/seed1", right, "seeds")]
    mean = mean_of(runs)
    assert mean.value == pytest.approx(right.mean())
    assert 0.08 < mean.high - mean.low < 0.12


def test_two_seeds_that_contradict_each_other_say_nothing() -> None:
    runs = [scored("slm/s", np.zeros(50, dtype=bool)), scored("slm/s/seed1", np.ones(50, dtype=bool), "seeds")]
    mean = mean_of(runs)
    assert (mean.low, mean.value, mean.high) == (0, 0.5, 1)


def test_one_seed_alone_is_no_variation() -> None:
    found = findings([scored("slm/s/seed1", np.ones(5, dtype=bool), "seeds")], STATISTICS)
    assert found is not None
    assert found.seeds == []


# ---------------------------------------------------------------- ladders and sweeps


def test_a_ladder_climbs_from_its_fewest_examples_and_meets_the_curve() -> None:
    generator = np.random.default_rng(2)
    few = answers(generator, [0.5, 0.6])
    rungs = [scored("llm/large/shots5", few[1], "few_shot", shots=5)]
    found = findings([*curve_study(generator, 0.4), *rungs], STATISTICS)
    assert found is not None
    (ladder,) = found.ladders
    assert [(step.k, step.arm) for step in ladder.steps] == [(0, "llm/large"), (5, "llm/large/shots5")]
    assert ladder.steps[0].gain is None
    assert ladder.steps[1].gain is not None
    assert [(entry.untrained, entry.shots) for entry in found.curves[0].break_even] == [
        ("llm/large", 0),
        ("llm/large/shots5", 5),
    ]


@pytest.mark.parametrize(
    ("select_by", "first"), [("validation_loss", "slm/s/sweep-r-4"), ("validation_exact_match", "slm/s/sweep-r-8")]
)
def test_a_sweep_lists_who_competed_the_best_first(select_by: str, first: str) -> None:
    training = {
        "chosen": first,
        "candidates": {"slm/s/sweep-r-4": {select_by: 0.5}, "slm/s/sweep-r-8": {select_by: 0.7}},
    }
    best = scored(
        "slm/s/best", np.ones(5, dtype=bool), "sweep", best_of=list(training["candidates"]), training=training
    )
    found = findings([best], STATISTICS)
    assert found is not None
    (sweep,) = found.sweeps
    assert (sweep.select_by, sweep.candidates[0].arm, len(sweep.candidates)) == (select_by, first, 2)


def test_a_study_without_designs_has_none() -> None:
    assert findings([scored("slm/s", np.ones(5, dtype=bool))], STATISTICS) is None
