"""How new texts differ from the study's: each figure held against one worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pandas as pd
import pytest

from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.predictions import Prediction, write_predictions
from slingshot.deployment.drift import describe_drift, measure_drift

TRAIN = ["red blood", "blue vein", "red vein"]
TEST = ["red blood", "green blood now"]
NEW = ["blue vein", "red moon", "moon star sun sky"]
ARM = SimpleNamespace(path="baseline/tfidf")


def prediction(number, code):
    return Prediction(
        sample_id=f"{number:016x}", label="A", raw="", code=code, candidates=[], prompt_tokens=1, new_tokens=0,
        truncated=False,
    )  # fmt: skip


@pytest.fixture
def results(tmp_path):
    results = ResultFiles(tmp_path)
    results.data.folder.mkdir()
    for path, texts in ((results.data.train, TRAIN), (results.data.test, TEST)):
        rows = {"sample_id": [f"{number:016x}" for number in range(len(texts))], "text": texts}
        pd.DataFrame(rows).to_parquet(path)
    files = results.arm(ARM.path)
    files.folder.mkdir(parents=True)
    write_predictions(files.predictions, [prediction(0, "A"), prediction(1, "A")])
    return results


def test_each_figure_is_what_a_hand_works_out(results):
    answered = [prediction(0, "A"), prediction(1, None), prediction(2, None)]
    drift = measure_drift(NEW, answered, results, ARM)
    assert drift.texts == 3
    assert (drift.words_median, drift.study_words_median) == (2, 2.5)
    assert drift.unknown_words == pytest.approx(5 / 8)  # moon twice, star, sun, sky of eight words
    assert drift.study_unknown_words == pytest.approx(2 / 5)  # green, now
    assert (drift.without_code, drift.study_without_code) == (pytest.approx(2 / 3), 0)
    # Similarities 1 (in train), 1 / sqrt(1 + 0) of what is known of "red moon" with "red vein" or "red blood", 0.
    rare, common = 1 + math.log(4 / 2), 1 + math.log(4 / 3)  # smoothed inverse document frequencies: blood, red
    assert drift.nearest_similarity_median == pytest.approx(common / math.hypot(common, common))
    blood = rare / math.hypot(rare, common)  # "green blood now" is blood alone to what train knows
    assert drift.study_nearest_similarity_median == pytest.approx((1 + blood) / 2)


def test_what_has_drifted_is_said(results):
    near = measure_drift(TEST, [prediction(0, "A"), prediction(1, "A")], results, ARM)
    assert len(describe_drift(near)) == 1
    far = measure_drift(NEW, [prediction(0, "A"), prediction(1, None), prediction(2, None)], results, ARM)
    assert [line.partition(":")[0] for line in describe_drift(far)][1:] == ["warning", "warning"]
    assert "62.5%" in describe_drift(far)[0] and "(40.0%)" in describe_drift(far)[0]
