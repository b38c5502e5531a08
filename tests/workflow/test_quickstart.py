"""The README's quickstart, as typed: its config is the one that `make study` writes, and it runs."""

import re
from collections import Counter

import yaml

from slingshot.study.new_study import find_hints
from tests.workflow.small_study import FINDINGS, HOUSE, program, run

README = (HOUSE / "README.md").read_text(encoding="utf-8")
WRITTEN = re.search(r"```yaml\n(# Made by `make study`.*?)```", README, flags=re.DOTALL)[1]


def write_texts(path, column="label"):
    rows = [
        f'"{complaint}, since {day} {number}",{name.split()[0]}'
        for number, day in enumerate(("Monday", "Tuesday", "spring", "the holidays", "my birthday") * 3)
        for name, complaint in FINDINGS.values()
    ]
    path.write_text(f"text,{column}\n" + "\n".join(rows) + "\n", encoding="utf-8")


def new_study(folder, data, text="text", label="label"):
    return program(f"scripts/new_study.py {folder} {data} --text {text} --label {label}")


def test_the_quickstart_runs_as_typed(tmp_path):
    write_texts(tmp_path / "texts.csv")
    study = tmp_path / "studies/mine"
    done = new_study(study, tmp_path / "texts.csv")
    assert done.returncode == 0, done.stderr
    assert "60 rows, 4 different labels (plain labels)" in done.stdout
    assert len(WRITTEN.splitlines()) <= 22
    assert (study / "config.yaml").read_text(encoding="utf-8") == WRITTEN
    code, output = run(study, "--dry-run", "results/report.html")
    assert code == 0, output[-2000:]
    assert "embedding/minilm" in output
    code, output = run(study, "results/baseline/tfidf/metrics.json")
    assert code == 0, output[-2000:]
    assert "prepare_data: 60 rows read, 0 dropped, 60 samples" in output
    assert "prepare_data: two arms: " in output  # what the test split can show, before any model runs
    assert "exact match" in output and "interval" in output
    wrong = WRITTEN.replace("label: label", "label: diagnosis").replace("labels: plain", "labels: icd10cm")
    (study / "config.yaml").write_text(wrong, encoding="utf-8")
    code, output = run(study, "--dry-run", "results/report.html")
    assert code != 0 and "this study would fail" in output and "diagnosis" in output


def test_codes_are_told_from_plain_labels_and_names_are_quoted(tmp_path):
    (tmp_path / "codes.csv").write_text("a: b,ICD\n" + "".join(f"text {n},I10\ntext {n} b,E11.9\n" for n in range(9)))
    done = new_study(tmp_path / "mine", tmp_path / "codes.csv", "'a: b'", "ICD")
    assert done.returncode == 0, done.stderr
    data = yaml.safe_load((tmp_path / "mine/config.yaml").read_text())["data"]
    assert (data["labels"], data["columns"]["text"]) == ("icd10cm", "a: b")


def test_rows_without_a_label_are_counted_and_allowed(tmp_path):
    texts = [f"text {number},{'yes' if number % 2 else 'no'}" for number in range(40)]
    (tmp_path / "t.csv").write_text(
        "text,label\n" + "\n".join([*texts, *(f"text {n} b,{'NULL' * (n % 2)}" for n in range(10))])
    )
    done = new_study(tmp_path / "mine", tmp_path / "t.csv")
    assert done.returncode == 0, done.stderr
    assert "50 rows, 10 of them without a label, 2 different labels" in done.stdout
    data = yaml.safe_load((tmp_path / "mine/config.yaml").read_text())["data"]
    assert data["max_dropped_share"] == 0.25


def test_a_study_that_is_there_stays_and_a_wrong_column_is_named(tmp_path):
    write_texts(tmp_path / "texts.csv")
    assert "did you mean label" in new_study(tmp_path / "mine", tmp_path / "texts.csv", label="labels").stderr
    assert not (tmp_path / "mine").exists()
    assert new_study(tmp_path / "mine", tmp_path / "texts.csv").returncode == 0
    assert "is there already" in new_study(tmp_path / "mine", tmp_path / "texts.csv").stderr


def test_labels_that_tell_a_model_nothing_are_noted(tmp_path):
    (tmp_path / "texts.csv").write_text("text,class\n" + "".join(f"text {n},{1 + n % 3}\n" for n in range(30)))
    output = new_study(tmp_path / "mine", tmp_path / "texts.csv", label="class").stdout
    assert "note: the labels are numbers (1, 2, 3)" in output


def test_a_column_that_is_no_label_is_noted():
    assert "is LABEL the right column" in find_hints(Counter(f"text {number}" for number in range(30)), False)[0]
    assert "one label only" in find_hints(Counter({"yes": 9}), False)[0]
    assert find_hints(Counter({"yes": 9, "no": 4}), False) == []
    assert find_hints(Counter({"I10": 9, "E119": 4}), True) == []


def test_a_refused_study_leaves_no_config_behind(tmp_path):
    write_texts(tmp_path / "texts.csv")
    refused = new_study(tmp_path / "mine", tmp_path / "texts.csv", text="label")
    assert refused.returncode and "label" in refused.stderr
    assert new_study(tmp_path / "mine", tmp_path / "texts.csv").returncode == 0
    missing = new_study(tmp_path / "other", tmp_path / "nothing.csv")
    assert "relative to the folder that make runs in" in missing.stderr


def test_published_splits_and_a_folder_with_a_blank_are_said_as_they_are_typed(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("TrainingSet", "Valid-1", "TestSet"):
        write_texts(tmp_path / f"data/{name}.csv")
    output = program(f"scripts/new_study.py '{tmp_path}/of mine' {tmp_path}/data --text text --label label").stdout
    assert "{train: TrainingSet.csv, validation: Valid-1.csv, test: TestSet.csv}" in output
    assert "data.split: {method: source}" in output
    assert f"snakemake --directory '{tmp_path}/of mine' data" in output
