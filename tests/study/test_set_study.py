"""A study of sets of labels, run whole: data, finetune, answers, scores, comparison, report, new texts."""

from __future__ import annotations

import csv
import json

import pandas as pd
import pytest
import yaml

from slingshot.artifacts.predictions import read_predictions
from slingshot.core.files import read_json
from tests.workflow import small_study

pytestmark = pytest.mark.slow

ARMS = ("llm/b", "slm/c", "baseline/tfidf")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "study"
    small_study.write_study(folder)
    (folder / "dialogues.csv").write_text("text,label\n" + "".join(dialogues(72)))
    config = small_study.config()
    config["data"] |= {"several": {"separator": ";", "allow_empty": True}, "columns": {}}
    config["generation"] = {"max_new_tokens": 40, "candidates": 5}
    config["finetune"]["select_by"] = "validation_micro_f1"
    config["prompt"]["order"] = "frequency"
    config["llm"].pop("a")
    config["slm"].pop("d")
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    code, output = small_study.run(folder, "--cores", "2", seconds=600)
    assert code == 0, output[-5000:]
    return folder


def dialogues(count):
    """Each with up to three of the findings, or none."""
    findings = list(small_study.FINDINGS.items())
    for number in range(count):
        chosen = [findings[(number + 2 * step) % 4] for step in range(number % 3)] + findings[
            number % 4 : number % 4 + 1
        ]
        chosen = [] if number % 11 == 5 else list(dict(chosen).items())
        complaints = " ".join(complaint for _, (_, complaint) in chosen)
        word = small_study.WORDS[number % 15]
        yield f'"Patient: {word} {number} {complaints} {word}.",{";".join(label for label, _ in chosen)}\n'


@pytest.mark.parametrize("arm", ARMS)
def test_every_sample_is_answered_with_a_set(study, arm):
    predictions = read_predictions(study / "results" / arm / "predictions.jsonl")
    test = pd.read_parquet(study / "results/data/test.parquet")
    assert [prediction.labels for prediction in predictions] == [list(labels) for labels in test["labels"]]
    for prediction in predictions:
        assert prediction.label == "; ".join(prediction.labels)
        assert prediction.codes is None or prediction.code == "; ".join(prediction.codes)
        assert len({one.code for one in prediction.candidates}) == len(prediction.candidates) > 0
        assert all(one.log_probability <= 0 for one in prediction.candidates)
        if arm != "baseline/tfidf":
            assert set(prediction.constrained_codes) <= set(small_study.FINDINGS)
    metrics = read_json(study / "results" / arm / "metrics.json")
    assert 0 <= metrics["answers"]["free"]["sets"]["micro"]["f1"]["value"] <= 1


def test_the_adapter_is_chosen_by_micro_f1_and_the_report_is_there(study):
    training = read_json(study / "results/slm/c/training.json")
    assert training["select_by"] == "validation_micro_f1"
    assert training["best_validation_micro_f1"] == max(each["validation_micro_f1"] for each in training["evaluations"])
    assert (study / "results/report.html").stat().st_size > 10_000
    assert small_study.planned(study) == {}


@pytest.mark.parametrize("arm", ["slm/c", "baseline/tfidf"])
def test_new_texts_are_answered_with_sets(study, arm, tmp_path):
    (tmp_path / "new.csv").write_text("text,codes\nmy lower back hurts and I am thirsty all day,M545;E119\nnothing,\n")
    out = tmp_path / "out.csv"
    done = small_study.program(
        f"scripts/answer.py --study {study} --arm {arm} {tmp_path / 'new.csv'} --label codes --output {out}"
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 2 and " of 2 equal the label given" in done.stderr
    for row in rows:
        codes = json.loads(row["codes"]) if row["codes"] else []
        assert row["code"] == "; ".join(each["code"] for each in codes)
    split = study / "results/data/test.parquet"
    again = tmp_path / "p.jsonl"
    done = small_study.program(
        f"scripts/answer.py --study {study} --arm {arm} {split} --predictions {again} --output {out}"
    )
    assert done.returncode == 0, done.stderr
    assert again.read_bytes() == (study / "results" / arm / "predictions.jsonl").read_bytes()
