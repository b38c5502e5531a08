"""Further test sets in the plan of the workflow."""

import re

import pytest
import yaml

from tests.workflow import small_study

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def test_every_arm_answers_a_further_test_set_and_none_is_trained_on_it(tmp_path):
    folder = tmp_path / "study"
    small_study.write_study(folder)
    config = small_study.config()
    config["data"]["test_sets"] = {"hospital_b": {"source": {"path": "dialogues.csv"}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    code, output = small_study.run(folder, "--dry-run", "--cores", "1")
    assert code == 0, output[-2000:]
    found = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", output, flags=re.MULTILINE)}
    assert found["predict_test_set"] == found["predict"]
    assert found["predict_fitted_test_set"] == found["predict_fitted"] == 1
    assert found["score_test_set"] == found["score"]
    assert found["compare_test_sets"] == 1
    for block in re.findall(r"rule (?:finetune|fit|compare):\n((?:    .*\n)+)", output):
        assert "hospital_b" not in block


def test_imported_answers_are_there_where_they_have_a_file_for_the_set(tmp_path):
    folder = tmp_path / "study"
    small_study.write_study(folder)
    config = small_study.config()
    config["data"]["test_sets"] = {name: {"source": {"path": "dialogues.csv"}} for name in ("b", "c")}
    (folder / "answers.csv").write_text("text,answer\nx,y\n")
    (folder / "answers_b.csv").write_text("text,answer\nx,z\n")
    config["predictions"] = {
        "coder": {"file": "answers.csv", "columns": {"text": "text"}, "test_sets": {"b": "answers_b.csv"}}
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    code, output = small_study.run(folder, "--dry-run", "--cores", "1", "--printshellcmds")
    assert code == 0, output[-2000:]
    found = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", output, flags=re.MULTILINE)}
    assert (found["import_predictions"], found["import_predictions_test_set"]) == (1, 1)
    assert found["score_test_set"] == 2 * found["score"] - 1
    [block] = re.findall(r"rule import_predictions_test_set:\n(.*?)\n\n", output, flags=re.DOTALL)
    assert '"file":"answers_b.csv"' in block
    assert "results/predictions/coder/test_sets/b/predictions.jsonl" in block
