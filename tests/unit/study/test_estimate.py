"""What a plan will cost: by this study's own rates, scaled where a model has none, and never by a guess."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from slingshot.artifacts.records import ProcessRecord, StepRecord
from slingshot.config.study import Study, parse_study
from slingshot.study import estimate
from slingshot.study.estimate import Job, Rate, jobs_of, table
from tests.unit.config.test_study import STUDY


@pytest.fixture(autouse=True)
def short_instruction(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A prompt that is its dialogue alone, so that the figures below are round."""
    if "instruction" not in request.node.name:
        monkeypatch.setattr(estimate, "instruction_words", lambda *_: 0)


def study_with(**sections: Any) -> Study:
    raw = copy.deepcopy(STUDY)
    raw["slm"]["other"] = copy.deepcopy(raw["slm"]["small"]) | {"size": "6B"}
    raw["prompt"] = {"max_tokens": 400}
    raw["finetune"] = {"epochs": 2, "batch_size": 10, "max_tokens": 400}
    return parse_study(raw | sections)


def prepare(results: Path, train: int = 1000, validation: int = 2000, test: int = 200) -> None:
    (results / "data").mkdir(parents=True)
    splits = {
        "train": {"samples": train, "words": {"mean": 100}},
        "validation": {"samples": validation},
        "test": {"samples": test},
    }
    (results / "data/dataset.json").write_text(json.dumps({"splits": splits}))


def leave_finetune(results: Path, arm: str = "slm/small", **changes: Any) -> None:
    """A finished finetune: 100 tokens per second, 30 seconds besides."""
    folder = results / arm
    folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {"trained_tokens": 20_000, "seconds": {"train": 200.0, "load": 9.0}} | changes
    StepRecord(step="finetune", arm=arm, spec={}, versions={}, device="X", **facts).write(folder / "finetune.json")
    ProcessRecord(step="finetune", arm=arm, exit_code=0, seconds=230.0, peak_resident=1, device="NVIDIA X").write(
        folder / "finetune.process.json"
    )


def leave_predict(results: Path, arm: str, **changes: Any) -> None:
    """Finished answers: 50 samples of 200 prompt tokens in 20 seconds, 10 seconds besides."""
    folder = results / arm
    folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {"samples": 50, "prompt_tokens": 10_000, "seconds": {"generate": 20.0}} | changes
    StepRecord(step="predict", arm=arm, spec={}, versions={}, device="X", **facts).write(folder / "predict.json")
    ProcessRecord(step="predict", arm=arm, exit_code=0, seconds=30.0, peak_resident=1, device="NVIDIA X").write(
        folder / "predict.process.json"
    )


def hours(output: str, design: str) -> str:
    return next(line.split()[-1] for line in output.splitlines() if line.startswith(design))


def test_hours_follow_from_the_studys_own_rate(tmp_path: Path) -> None:
    prepare(tmp_path)
    leave_finetune(tmp_path)
    output = table(study_with(), [Job("finetune", "slm/small")], tmp_path)
    # 2 epochs of 1,000 samples of 135 tokens at 100 a second, and 30 seconds besides
    assert hours(output, "study") == f"{(2 * 1000 * 135 / 100 + 30) / 3600:.2f}"
    assert "finetune of small: rate of slm/small in this study, on NVIDIA X" in output
    assert "1.35 tokens per word assumed" in output


def test_another_models_rate_is_scaled_by_size_and_says_so(tmp_path: Path) -> None:
    prepare(tmp_path)
    leave_finetune(tmp_path)
    output = table(study_with(), [Job("finetune", "slm/other")], tmp_path)
    assert hours(output, "study") == f"{(2 * 1000 * 135 / 100 * 2 + 30) / 3600:.2f}"
    assert "finetune of other (times 2.00 for size)" in output


@pytest.mark.parametrize(("hold", "samples"), [("epochs", 100), ("steps", 1000)])
def test_a_smaller_train_set_takes_less_unless_steps_are_held(tmp_path: Path, hold: str, samples: int) -> None:
    prepare(tmp_path)
    leave_finetune(tmp_path)
    study = study_with(designs={"learning_curve": {"models": ["small"], "train_sizes": [100], "hold": hold}})
    output = table(study, [Job("finetune", "slm/small/train100")], tmp_path)
    assert hours(output, "learning_curve") == f"{(2 * samples * 135 / 100 + 30) / 3600:.2f}"


def test_examples_in_the_prompt_cost_their_tokens_up_to_the_prompts_limit(tmp_path: Path) -> None:
    prepare(tmp_path, test=9000)
    leave_predict(tmp_path, "llm/large")
    study = study_with(designs={"few_shot": {"models": ["large"], "k": [1, 5]}})
    plain, more, most = (
        float(hours(table(study, [Job("predict", f"llm/large{variant}")], tmp_path), "total"))
        for variant in ("", "/shots1", "/shots5")
    )
    for counted, tokens in ((plain, 200), (more, 400), (most, 1200)):  # 200 tokens each, as counted
        assert counted == pytest.approx((9000 * tokens / 500 + 10) / 3600, abs=0.01)


def test_shards_share_the_work_and_each_starts_its_own_process(tmp_path: Path) -> None:
    prepare(tmp_path, test=9000)
    leave_predict(tmp_path, "llm/large")
    output = table(study_with(answering={"shards": 4}), [Job("predict_shard", "llm/large")] * 4, tmp_path)
    assert hours(output, "total") == f"{(9000 * 200 / 500 + 4 * 10) / 3600:.2f}"
    assert output.splitlines()[1].split()[1:3] == ["0", "4"]


def test_answers_on_validation_count_its_samples(tmp_path: Path) -> None:
    prepare(tmp_path)
    leave_predict(tmp_path, "llm/large")
    output = table(study_with(), [Job("predict_validation", "llm/large")], tmp_path)
    assert hours(output, "total") == f"{(2000 * 200 / 500 + 10) / 3600:.2f}"


def test_what_was_not_measured_is_a_question_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "MEASURED", ())
    prepare(tmp_path)
    leave_finetune(tmp_path)
    jobs = [Job("finetune", "slm/small"), Job("predict", "slm/small"), Job("predict", "llm/large")]
    output = table(study_with(), jobs, tmp_path)
    assert hours(output, "total").replace(".", "").isdigit()
    assert "> " in next(line for line in output.splitlines() if line.startswith("total"))
    assert "predict of small, large: no rate" in output or "predict of small: no rate" in output


def test_without_data_the_size_of_another_source_is_not_guessed(tmp_path: Path) -> None:
    leave_finetune(tmp_path)
    output = table(study_with(), [Job("finetune", "slm/small")], tmp_path)
    assert hours(output, "total") == "?"
    assert "known after `snakemake data`" in output


@pytest.mark.parametrize("changes", [{"earlier_seconds": 5.0}, {"trained_tokens": 0}, {"seconds": {}}])
def test_a_record_that_tells_no_rate_is_not_used(tmp_path: Path, changes: dict[str, Any]) -> None:
    leave_finetune(tmp_path, **changes)
    assert estimate.own_rates(study_with(), tmp_path) == []


def test_cached_answers_make_no_rate_and_fresh_ones_do(tmp_path: Path) -> None:
    leave_predict(tmp_path, "llm/large", cached_samples=40)
    assert estimate.own_rates(study_with(), tmp_path) == []
    leave_predict(tmp_path, "llm/large", cached_samples=40, fresh_tokens=2000)
    assert [rate.tokens_per_second for rate in estimate.own_rates(study_with(), tmp_path)] == [100.0]


def test_a_rate_of_another_quantization_or_device_is_not_used() -> None:
    study = study_with()
    facts: dict[str, Any] = {"model": "x", "parameters": 3e9, "tokens_per_second": 1.0, "setup": 0.0, "source": "s"}
    other = Rate(step="finetune", quantization="nf4", unit="GPU", **facts)
    on_cpu = Rate(step="finetune", quantization="none", unit="CPU", **facts)
    assert estimate.nearest_rate([other, on_cpu], Job("finetune", "slm/small"), "small", study) is None


def test_a_plan_without_model_steps_says_nothing(tmp_path: Path) -> None:
    assert table(study_with(), jobs_of([("score", "slm/small", None), ("report", None, None)]), tmp_path) == ""


def test_a_plan_of_rivals_alone_says_how_much_there_is_and_that_no_time_is_known(tmp_path: Path) -> None:
    jobs = jobs_of([("fit", "baseline/tfidf", None), ("score", "baseline/tfidf", None)])
    assert "known after `snakemake data`" in table(study_with(), jobs, tmp_path / "results")
    prepare(tmp_path / "results")
    text = table(study_with(), jobs, tmp_path / "results")
    assert "The time of baseline/tfidf is not estimated" in text
    assert "test" in text and "show a difference" in text


def test_tokens_hold_the_instruction_and_are_each_models_own(tmp_path: Path) -> None:
    study = study_with()
    prepare(tmp_path / "results")
    before = estimate.volume_of(study, tmp_path / "results")
    assert before is not None
    assert before.tokens_of("small") > 1.35 * 140  # 100 words of the dialogue, 48 of the default prompt
    leave_predict(tmp_path / "results", "slm/small")
    raw = study.model_dump(mode="json")
    raw["slm"]["other"]["prompt"]["answer"] = "description code"
    counted = estimate.volume_of(parse_study(raw), tmp_path / "results")
    assert counted is not None
    assert counted.tokens_of("small") == 200
    assert counted.tokens_of("other") == pytest.approx(before.tokens_of("other"), rel=0.1)  # another prompt: not 200


def test_counts_of_an_earlier_max_samples_are_limited_and_said(tmp_path: Path) -> None:
    prepare(tmp_path / "results")
    path = tmp_path / "results/data/dataset.json"
    none = {"train": None, "validation": None, "test": None}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"spec": {"data": {"max_samples": none}}}))
    raw = copy.deepcopy(STUDY)
    raw["data"]["max_samples"] = {"train": 10, "test": 20}
    volume = estimate.volume_of(parse_study(raw), tmp_path / "results")
    assert volume is not None
    assert (volume.train, volume.validation, volume.test) == (10, 2000, 20)
    assert "max_samples changed" in volume.source
