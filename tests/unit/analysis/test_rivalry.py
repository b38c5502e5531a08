"""Which labels each arm wins, and writing against a head."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from slingshot.analysis.designs import Scored
from slingshot.analysis.groups import independent
from slingshot.analysis.rivalry import best_of_group, frequency_groups, heads_of
from slingshot.analysis.scoring import proportion
from slingshot.artifacts.labels import Label
from slingshot.config.arms import Arm


def outcome(path, right):
    return SimpleNamespace(path=path, correct=lambda kind: np.array(right, dtype=bool))


def test_each_range_of_frequency_has_its_winner():
    labels = [Label(label="common", train_samples=80), Label(label="rare", train_samples=2)]
    test = pd.DataFrame({"label": ["common"] * 40 + ["rare"] * 20 + ["unseen"] * 10})
    tfidf = outcome("baseline/tfidf", [True] * 40 + [False] * 20 + [False] * 10)
    small = outcome("slm/a", [False] * 40 + [True] * 20 + [False] * 10)
    near = outcome("embedding/b", [True] * 38 + [False] * 2 + [False] * 20 + [False] * 10)
    groups = {
        group.group: group for group in frequency_groups([tfidf, small, near], test, labels, 0.95, independent(70))
    }
    assert list(groups) == ["0", "1-4", "50 and more"]
    assert groups["50 and more"].best == ["baseline/tfidf"]
    assert groups["50 and more"].not_worse == ["embedding/b"]
    assert (groups["50 and more"].n, groups["50 and more"].labels) == (40, 1)
    assert groups["1-4"].best == ["slm/a"] and groups["1-4"].not_worse == []
    assert groups["0"].best == ["baseline/tfidf", "slm/a", "embedding/b"]


def test_of_ten_equal_arms_one_is_seldom_called_worse_than_the_best() -> None:
    """The best is picked on the same samples: corrected for nine arms rather than for all pairs, this fails."""
    generator = np.random.default_rng(5)
    worse = 0
    for _ in range(200):
        right = {str(arm): generator.random(150) < 0.5 for arm in range(10)}
        _, others = best_of_group(right, independent(150))
        worse += min(others.values(), default=1.0) <= 0.05
    assert worse <= 18  # of 200 at 5%: more with a chance under 1%


def scored(variant, design, size, head, right):
    arm = Arm(kind="slm", model="a", variant=variant, design=design, finetuned=True, train_size=None)
    correct = np.array(right, dtype=bool)
    return Scored(
        arm=arm,
        values=correct,
        exact_match=proportion(correct, 0.95),
        shots=0,
        train_samples=size,
        hold_steps=False,
        seed=1,
        training={"head": head},
    )


def test_heads_are_compared_at_each_train_size_that_has_both():
    arms = [
        scored(None, None, 400, "write", [1, 1, 1, 0]),
        scored("classify", "heads", 400, "classify", [1, 1, 1, 1]),
        scored("train100", "learning_curve", 100, "write", [1, 0, 0, 0]),
        scored("classify_train100", "heads", 100, "classify", [1, 1, 0, 0]),
        scored("train50", "learning_curve", 50, "write", [0, 0, 0, 0]),
        scored("seed1", "seeds", 400, "classify", [0, 0, 0, 0]),
    ]
    (found,) = heads_of(arms, 20, 0.95, independent(4))
    assert [(point.train_samples, point.samples_per_label) for point in found.points] == [(100, 5), (400, 20)]
    assert [point.difference.value for point in found.points] == [0.25, 0.25]
    assert (found.points[1].writing, found.points[1].head) == ("slm/a", "slm/a/classify")
