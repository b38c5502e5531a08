"""After the verdict: answers to new texts, an exported folder, an archive, each from a study that was run."""

import csv
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file, save_file

from slingshot.analysis.score_files import ScoreFiles, score
from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.predictions import read_predictions
from slingshot.config.arms import arms_of
from slingshot.config.study import load_study
from slingshot.core.errors import StudyError
from slingshot.deployment.answer import AnswerJob, answer
from slingshot.deployment.archive import archive
from slingshot.deployment.export import ExportJob, export
from slingshot.report.available import _why_not, report_available
from slingshot.rivals.imported import import_file
from slingshot.study.steps import step_spec
from tests.workflow import small_study

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def study(finished, tmp_path_factory):
    return small_study.copy(finished, tmp_path_factory.mktemp("deployed") / "study")


@pytest.mark.parametrize("arm", ["slm/c", "llm/b", "baseline/tfidf"])
def test_the_test_split_gets_the_bytes_that_the_study_wrote(study, tmp_path, arm):
    results = ResultFiles(study / "results")
    answer(
        AnswerJob(
            study=study,
            arm=arm,
            source=str(results.data.test),
            output=tmp_path / "answers.csv",
            predictions=tmp_path / "predictions.jsonl",
            force=True,
        )
    )
    assert (tmp_path / "predictions.jsonl").read_bytes() == results.arm(arm).predictions.read_bytes()
    with (tmp_path / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = [one.constrained_code or one.code for one in read_predictions(tmp_path / "predictions.jsonl")]
    assert [row["code"] or None for row in rows] == expected


def test_new_texts_without_labels_are_answered_in_their_order(study, tmp_path):
    texts = ["Patient: my lower back hurts when I lift anything", "", "Patient: I am thirsty all day, my sugar is up"]
    pd.DataFrame({"id": [7, 8, 9], "dialogue": texts}).to_csv(tmp_path / "monday.csv", index=False)
    answer(
        AnswerJob(
            study=study,
            arm="baseline/tfidf",
            source=str(tmp_path / "monday.csv"),
            output=tmp_path / "coded.jsonl",
            drift=tmp_path / "drift.json",
            text=["dialogue"],
            identifier="id",
        )
    )
    rows = [json.loads(line) for line in (tmp_path / "coded.jsonl").read_text().splitlines()]
    assert [(row["row"], row["id"]) for row in rows] == [(1, "7"), (3, "9")]
    assert [row["code"] for row in rows] == ["M545", "E119"]
    assert rows[0]["description"] == "Low back pain" and 0 < rows[0]["probability"] <= 1
    drift = json.loads((tmp_path / "drift.json").read_text())
    assert drift["texts"] == 2 and drift["unknown_words"] >= 0 and drift["study_nearest_similarity_median"] > 0.5


def test_standard_input_takes_a_dialogue_on_each_line(study):
    command = [sys.executable, str(SCRIPTS / "answer.py"), "-", "--study", str(study), "--arm", "baseline/tfidf"]
    done = subprocess.run(
        command, input="my sugar is up\nmy lower back hurts\n", capture_output=True, text=True, check=True
    )
    assert [json.loads(line)["code"] for line in done.stdout.splitlines()] == ["E119", "M545"]
    assert "2 texts answered" in done.stderr and "% right" not in done.stderr  # nobody gave labels


def test_answers_are_held_against_the_labels_that_there_are(study, tmp_path):
    (tmp_path / "new.csv").write_text("said,noted,right\nmy sugar is up,,E119\n,my lower back hurts,\n")
    done = small_study.program(
        f"scripts/answer.py --study {study} --arm baseline/tfidf --text said --text noted --label right "
        f"{tmp_path / 'new.csv'}"
    )
    assert done.returncode == 0, done.stderr
    assert "2 samples, 100.0% right of 1 with a label" in done.stderr and "1 of 1 equal the label given" in done.stderr


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"arm": "slm/nobody"}, "no arm slm/nobody"),
        ({"source": "gone.csv"}, "gone.csv is missing"),
        ({"text": ["dialog"]}, "has no column 'dialog'"),
        ({"output": Path("answers.docx")}, r"must end in \.csv"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(study, job, message):
    given = {"study": study, "arm": "baseline/tfidf", "source": str(study / "dialogues.csv")}
    with pytest.raises(StudyError, match=message):
        answer(AnswerJob(**given | job))


@pytest.fixture(scope="module")
def handed_over(study, house):
    """The study after Snakemake has exported two arms and packed the archive."""
    targets = [f"results/{arm}/export" for arm in ("slm/c", "baseline/tfidf")]
    code, output = small_study.run(study, "--cores", "2", "--", *targets, "archive", house=house)
    assert code == 0, output[-3000:]
    return study


def test_an_exported_arm_answers_in_plain_transformers_as_in_the_study(handed_over):
    folder = ResultFiles(handed_over / "results").arm("slm/c").export
    card = (folder / "README.md").read_text()
    assert "10 of 10 test samples answered by plain transformers as in the study" in card
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "generation_config.json", "prompt.yaml", "Modelfile"} <= names
    assert yaml.safe_load((folder / "prompt.yaml").read_text())["system"] == "Name the code."
    assert json.loads((folder / "generation_config.json").read_text())["do_sample"] is False


def test_an_exported_model_with_other_weights_is_refused(study, tmp_path):
    other = small_study.copy(study, tmp_path / "other")
    weights = ResultFiles(other / "results").arm("slm/c").adapter_weights
    save_file({name: -50 * value for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(StudyError, match="answers of the exported model differ"):
        export(ExportJob(study=other, arm="slm/c", folder=tmp_path / "exported", check=18))
    assert not (tmp_path / "exported").exists()


def test_a_fitted_pipeline_is_exported_with_its_card(handed_over):
    folder = ResultFiles(handed_over / "results").arm("baseline/tfidf").export
    assert (folder / "pipeline.json").exists()
    card = (folder / "README.md").read_text()
    assert "exact match" in card and "10 of 10 test samples answered by this folder as in the study" in card
    assert "holds words and pairs of words of the train texts" in card
    assert card.startswith("# TF-IDF, with a classifier fitted on the train texts\n")


def test_an_export_and_an_archive_follow_their_code_and_what_they_were_made_from(handed_over, house, tmp_path):
    study, export_of_c = small_study.copy(handed_over, tmp_path / "study"), "results/slm/c/export"
    assert small_study.planned(study, "--", export_of_c, "archive", house=house) == {}
    other = shutil.copytree(house, tmp_path / "house")
    for name in ("export", "archive"):
        with (other / f"scripts/slingshot/deployment/{name}.py").open("a") as code:
            code.write("\nCHANGED = 1\n")
    assert set(small_study.planned(study, "--", export_of_c, "archive", house=other)) == {"export slm/c", "archive"}
    record = ResultFiles(study / "results").arm("slm/c").record("predict")
    record.write_text(record.read_text().replace("Name the code.", "Name a code."))  # other prompts, the same answers
    assert set(small_study.planned(study, "--", export_of_c, house=house)) == {"export slm/c"}


def test_options_that_would_change_nothing_are_refused(study, tmp_path):
    test = str(ResultFiles(study / "results").data.test)
    with pytest.raises(StudyError, match="leave --text, --identifier and --label out"):
        answer(AnswerJob(study=study, arm="baseline/tfidf", source=test, label="category"))
    with pytest.raises(StudyError, match="leave --merge and --gguf out"):
        export(ExportJob(study=study, arm="baseline/tfidf", folder=tmp_path / "exported", gguf=True))


def test_new_texts_are_not_answered_with_what_was_made_again_since(study, tmp_path):
    other = small_study.copy(study, tmp_path / "study")
    results = ResultFiles(other / "results")
    weights = results.arm("slm/c").adapter_weights
    save_file({name: -value for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    job = {"study": other, "source": str(results.data.test), "output": tmp_path / "answers.csv"}
    with pytest.raises(StudyError, match="adapter was made again since slm/c answered"):
        answer(AnswerJob(arm="slm/c", **job))
    results.data.labels.write_text(results.data.labels.read_text() + " ")
    with pytest.raises(StudyError, match=r"labels\.json was made again since llm/b answered"):
        answer(AnswerJob(arm="llm/b", **job))


@pytest.mark.slow  # 30 s; the archive itself is tested beside
def test_what_snakemake_packed_is_reported_elsewhere_by_snakemake(handed_over, house, tmp_path):
    with tarfile.open(ResultFiles(handed_over / "results").archive) as tar:
        tar.extractall(tmp_path / "elsewhere", filter="data")
    code, output = small_study.run(tmp_path / "elsewhere", "--cores", "1", "--", "report_available", house=house)
    assert code == 0, output[-3000:]
    page = ResultFiles(ResultFiles(tmp_path / "elsewhere/results").available).report.read_text()
    assert "slm/c" in page and not list((tmp_path / "elsewhere").rglob("*.safetensors"))


def unpacked(study, folder, texts=True):
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["report"] = {"archive_texts": texts}
    (study / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    folder.mkdir(exist_ok=True)
    archive(study, folder / "study.tar.gz")
    with tarfile.open(folder / "study.tar.gz") as tar:
        tar.extractall(folder / "elsewhere", filter="data")
    return folder / "elsewhere"


@pytest.mark.parametrize("texts", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_archive_gives_the_report_elsewhere_without_weights(study, tmp_path, texts):
    other = unpacked(small_study.copy(study, tmp_path / "study"), tmp_path, texts)
    assert not list(other.rglob("*.safetensors"))
    results = ResultFiles(other / "results")
    assert pd.read_parquet(results.data.test)["text"].str.len().gt(0).all() == texts
    report_available(other, results.folder, results.available)
    page = ResultFiles(results.available).report.read_text()
    assert "slm/c" in page


def changed_config(study, key, value):
    config = yaml.safe_load((study / "config.yaml").read_text())
    *parents, last = key.split(".")
    section = config
    for parent in parents:
        section = section.setdefault(parent, {})
    section[last] = value
    (study / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def reasons(study):
    """Each arm of the study to why report_available leaves it out, as the study stands."""
    config, results = load_study(study / "config.yaml"), ResultFiles(study / "results")
    return {arm.path: _why_not(config, study, results, arm) for arm in arms_of(config)}


def with_a_coder(study):
    """Give the study an arm of imported answers, with its scores."""
    rows = pd.read_csv(study / "dialogues.csv").rename(columns={"label": "answer"})
    rows[["text", "answer"]].to_csv(study / "answers.csv", index=False)
    changed_config(study, "predictions", {"coder": {"file": "answers.csv", "columns": {"text": "text"}}})
    config, data = load_study(study / "config.yaml"), ResultFiles(study / "results").data
    files, arm = ResultFiles(study / "results").arm("predictions/coder"), "predictions/coder"
    files.folder.mkdir(parents=True)
    import_file(step_spec(config, study, "import_predictions", arm), study, data.test, data.labels, files.predictions)
    read = ScoreFiles(files.predictions, data.test, data.labels, None, files.metrics)
    score(step_spec(config, study, "score", arm), read)


def test_results_of_an_earlier_study_are_left_out_of_what_is_available(study, tmp_path):
    """The metrics of another confidence, the answers of another file, of other weights, of other splits."""
    other = small_study.copy(study, tmp_path / "study")
    with_a_coder(other)
    assert not any(reasons(other).values())
    changed_config(other, "statistics.confidence", 0.8)
    assert all("metrics.json is of an earlier config" in reason for reason in reasons(other).values())
    changed_config(other, "statistics.confidence", 0.95)
    (other / "answers.csv").write_text((other / "answers.csv").read_text().replace("I10", "M545"))
    changed_config(other, "llm.a.source.revision", small_study.OTHER_REVISION)
    weights = other / "models/c/model.safetensors"
    save_file({name: -value for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    found = reasons(other)
    assert "not what the file of its answers says" in found.pop("predictions/coder")
    assert "a.json is of an earlier config" in found.pop("llm/a")
    assert "c.json is of other files than models/c holds" in found.pop("slm/c")
    assert not any(found.values())
    changed_config(other, "data.split.seed", 2)
    with pytest.raises(StudyError, match=r"dataset\.json is of an earlier config.*run `snakemake data`"):
        report_available(other, other / "results", other / "results/available")


def test_an_archive_needs_no_file_from_outside_the_study(study, tmp_path):
    """A prompt beside other studies' is named with ../, and a code tree of one's own stays where it is."""
    own = small_study.copy(study, tmp_path / "study")
    (tmp_path / "prompt.yaml").write_text((own / "prompt.yaml").read_text())
    (tmp_path / "tree.csv").write_text("code,parent,description\n" + "".join(f"{c},,x\n" for c in small_study.FINDINGS))
    changed_config(own, "prompt.file", "../prompt.yaml")
    changed_config(own, "data.labels", {"tree": "../tree.csv"})
    other = unpacked(own, tmp_path / "packed")
    results = ResultFiles(other / "results")
    report_available(other, results.folder, results.available)
    assert "slm/c" in ResultFiles(results.available).report.read_text()


def test_a_changed_file_of_an_archive_is_refused(study, tmp_path):
    other = unpacked(small_study.copy(study, tmp_path / "study"), tmp_path)
    results = ResultFiles(other / "results")
    metrics = results.arm("llm/b").metrics
    metrics.write_text(metrics.read_text().replace('"exact_match_accuracy": 0.0', '"exact_match_accuracy": 0.99'))
    with pytest.raises(StudyError, match="is not what was archived"):
        report_available(other, results.folder, results.available)
