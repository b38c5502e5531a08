"""A true run of a small study, from its config to its report: every file of the contract, and what it says."""

import json

import pandas as pd
import pytest

from slingshot.artifacts.comparison import read_comparison
from slingshot.artifacts.metrics import read_metrics
from slingshot.artifacts.predictions import read_predictions
from slingshot.artifacts.records import read_process_record, read_step_record
from tests.workflow.small_study import planned

ARMS = ("llm/a", "llm/b", "slm/c", "slm/d")


@pytest.fixture(scope="module")
def results(finished):
    return finished / "results"


def test_nothing_is_left_to_do(finished, house):
    assert planned(finished, house=house) == {}


@pytest.mark.parametrize("arm", [*ARMS, "baseline/tfidf"])
def test_every_test_sample_is_answered_once_in_the_splits_order(results, arm):
    predictions = read_predictions(results / arm / "predictions.jsonl")
    test = pd.read_parquet(results / "data/test.parquet")
    assert [prediction.sample_id for prediction in predictions] == list(test["sample_id"])
    assert [prediction.label for prediction in predictions] == list(test["label"])
    exact = sum(prediction.code == prediction.label for prediction in predictions) / len(predictions)
    assert read_metrics(results / arm / "metrics.json").exact_match_accuracy == pytest.approx(exact)


def test_no_row_is_lost(results):
    dataset = json.loads((results / "data/dataset.json").read_text())
    rows = sum(len(pd.read_parquet(results / f"data/{split}.parquet")) for split in ("train", "validation", "test"))
    assert dataset["rows"]["read"] == rows + dataset["rows"]["dropped"] == 72


@pytest.mark.parametrize("arm", ["slm/c", "slm/d"])
def test_an_adapter_loads_in_plain_peft_and_its_log_tells_the_training(results, finished, arm):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(finished / "models" / arm[-1])
    adapted = PeftModel.from_pretrained(base, results / arm / "adapter")
    assert any("lora_B" in name and value.abs().sum() > 0 for name, value in adapted.named_parameters())
    log = [json.loads(line) for line in (results / arm / "training_log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == list(range(1, 7))
    assert json.loads((results / arm / "training.json").read_text())["steps"] == 6
    assert list((results / arm / "tensorboard").glob("events.*"))


@pytest.mark.parametrize("arm", ARMS)
def test_each_model_step_says_what_it_did_and_what_its_process_took(results, arm):
    for step in ("finetune", "predict") if arm.startswith("slm") else ("predict",):
        record = read_step_record(results / arm / f"{step}.json")
        process = read_process_record(results / arm / f"{step}.process.json")
        assert (record.step, record.arm, process.exit_code) == (step, arm, 0)
        assert record.versions["torch"]
        assert process.seconds > 0
        assert process.device_peak is None  # no device was asked for, none was touched


def test_the_originals_keys_name_the_originals_numbers(results):
    summary = json.loads((results / "results.json").read_text())
    assert set(summary) == {
        "LLM_a_untrained", "LLM_b_untrained", "SLM_c_finetuned", "SLM_d_finetuned", "BASELINE_tfidf_finetuned",
    }  # fmt: skip
    for key, model_type, status in (("LLM_a_untrained", "LLM", "untrained"), ("SLM_c_finetuned", "SLM", "finetuned")):
        arm = summary[key]
        assert (arm["model_type"], arm["training_status"]) == (model_type, status)
        assert {"model_size", "n_samples", "exact_match_accuracy", "f1", "precision", "recall"} <= set(arm)
        assert ("training_metrics" in arm) == (model_type == "SLM")


def test_every_finetuned_arm_meets_every_untrained_one(results):
    comparison = read_comparison(results / "comparison.json")
    pairs = {(pair.first, pair.second) for pair in comparison.comparisons if pair.family == "primary"}
    assert pairs == {(slm, llm) for slm in ("slm/c", "slm/d") for llm in ("llm/a", "llm/b")}
    assert comparison.missing == []


def test_the_report_opens_with_the_verdict_and_names_every_arm(results):
    page = (results / "report.html").read_text(encoding="utf-8")
    verdict = read_comparison(results / "comparison.json").verdict
    assert verdict.sentence.split(":")[0] in page
    assert all(arm in page for arm in (*ARMS, "baseline/tfidf"))
    assert "http://" not in page.replace("http://www.w3.org", "")
