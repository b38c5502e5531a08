"""fit.py and predict_fitted.py, by way of TF-IDF: bytes that come again, pipelines in files, what is not read."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slingshot.artifacts.labels import Label, write_labels
from slingshot.artifacts.predictions import Prediction, read_predictions, set_fields
from slingshot.artifacts.records import read_step_record
from slingshot.config.specs import PredictFittedSpec
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.rivals import tfidf
from slingshot.rivals.fitting import has_label, predict
from slingshot.rivals.kept_objects import write_object
from slingshot.rivals.pipeline import load_fitted
from tests.rival_steps import SCRIPTS, commands_of, fit_and_answer
from tests.unit.rivals.test_tfidf import samples


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number, name in enumerate(("train", "validation", "test")):
        samples(40, number).to_parquet(folder / f"{name}.parquet")
    write_labels(folder / "labels.json", [Label(label=f"L{n}", train_samples=10) for n in range(4)])
    return folder


@pytest.fixture(scope="module")
def outputs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = [tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")]
    for folder in folders:
        fit_and_answer(data, folder, {"rival": "tfidf"}, candidates=2)
    return folders


def test_the_same_bytes_come_again(outputs: list[Path]) -> None:
    first, second = ((folder / "predictions.jsonl").read_bytes() for folder in outputs)
    assert first == second
    answers = read_predictions(outputs[0] / "predictions.jsonl")
    assert [answer.sample_id for answer in answers] == samples(40, 2)["sample_id"].tolist()
    assert {len(answer.candidates) for answer in answers} == {2}


def test_the_pipeline_in_files_answers_new_texts_alike(outputs: list[Path]) -> None:
    fitted = load_fitted(outputs[0] / "fitted")
    answers = read_predictions(outputs[0] / "predictions.jsonl")
    probabilities = fitted.answer(samples(40, 2)["text"].tolist()).probabilities
    best = [fitted.labels[column] for column in probabilities.argmax(axis=1)]
    assert best == [answer.code for answer in answers]
    likeliest = [answer.candidates[0].log_probability for answer in answers]
    np.testing.assert_allclose(np.log(probabilities.max(axis=1)), likeliest, atol=1e-12)


def test_one_process_answers_test_and_validation(outputs: list[Path]) -> None:
    fitted = load_fitted(outputs[0] / "fitted")
    for number, file in ((2, "predictions.jsonl"), (1, "validation/predictions.jsonl")):
        asked, answers = samples(40, number), read_predictions(outputs[0] / file)
        assert [answer.sample_id for answer in answers] == asked["sample_id"].tolist()
        probabilities = fitted.answer(asked["text"].tolist()).probabilities
        assert [answer.code for answer in answers] == [fitted.labels[best] for best in probabilities.argmax(axis=1)]


def test_a_split_without_a_file_for_its_answers_is_refused(data: Path, tmp_path: Path) -> None:
    program, words = commands_of(data, tmp_path, {"rival": "tfidf"})[1]
    words.remove(str(tmp_path / "validation/predictions.jsonl"))
    done = subprocess.run([sys.executable, SCRIPTS / program, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "need as many files" in done.stderr


def test_the_records_say_what_cost_needs(outputs: list[Path]) -> None:
    """Of answering: the samples of both splits, as the process that is paid for answered both."""
    fit, predict = (read_step_record(outputs[0] / f"{step}.json") for step in ("finetune", "predict"))
    assert (fit.step, fit.samples, predict.step, predict.samples) == ("finetune", 40, "predict", 80)
    assert fit.seconds["train"] > 0 and predict.seconds["classify"] > 0
    assert read_json(outputs[0] / "training.json")["train_samples"] == 40


class Foreign:
    """A type that no pipeline holds."""

    def __init__(self) -> None:
        self.field = 1


def test_a_pipeline_that_names_another_type_is_not_read(outputs: list[Path], tmp_path: Path) -> None:
    kept = outputs[0] / "fitted"
    hostile = tmp_path / "fitted"
    hostile.mkdir()
    (hostile / "pipeline.json").write_bytes((kept / "pipeline.json").read_bytes())
    write_object(hostile / "classifier.skops", {"vectorizers": [Foreign()]})
    with pytest.raises(StudyError, match="no pipeline of ours has"):
        load_fitted(hostile)


def test_a_pipeline_of_another_version_is_one_sentence(
    outputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = shutil.copytree(outputs[0] / "fitted", tmp_path / "fitted")
    monkeypatch.setattr(tfidf, "read_object", lambda path: {"vectorizers": [object()]})
    with pytest.raises(StudyError, match=r"was fitted by another version of Slingshot.*run the arm's fit step again"):
        load_fitted(fitted)


def test_no_pipeline_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no fitted pipeline"):
        load_fitted(tmp_path)


def test_tfidf_is_fitted_and_answers_without_torch(data: Path, tmp_path: Path) -> None:
    """The half of the workflow that needs no network starts in a fraction of the time."""
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; "
        f"sys.path.insert(0, {str(SCRIPTS)!r}); runpy.run_path(sys.argv[0], run_name='__main__'); "
        "assert not {'torch', 'transformers'} & set(sys.modules), 'imported'"
    )
    for program, words in commands_of(data, tmp_path, {"rival": "tfidf"}):
        subprocess.run([sys.executable, "-c", code, str(SCRIPTS / program), *words], check=True, timeout=60)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([""] * 4, ": 4 samples"), (["L0", "", "", ""], " right of 1 with a label"), (["L0"] * 4, "% right")],
)
def test_a_share_of_right_answers_is_of_samples_with_a_label(
    outputs: list[Path], caplog: pytest.LogCaptureFixture, labels: list[str], expected: str
) -> None:
    """New texts have no labels: 0.0% right would be said of answers that nobody judged."""
    asked = samples(40, 2).head(4).assign(label=labels)
    with caplog.at_level("INFO", logger="slingshot.rivals.fitting"):
        spec = PredictFittedSpec.model_validate(read_step_record(outputs[0] / "predict.json").spec)
        predict(spec, "baseline/tfidf", outputs[0] / "fitted", [asked], "cpu")
    assert caplog.messages[-1].startswith("baseline/tfidf: 4 samples") and caplog.messages[-1].endswith(expected)


def test_an_empty_set_is_no_label_where_no_sample_has_one() -> None:
    def answered(*sets: list[str]) -> list[Prediction]:
        fixed = {"raw": "", "prompt_tokens": 0, "new_tokens": 0}
        return [Prediction(sample_id=str(n), **set_fields(labels, []), **fixed) for n, labels in enumerate(sets)]

    assert has_label(answered([], [])) == [False, False]
    assert has_label(answered([], ["A"])) == [True, True]
