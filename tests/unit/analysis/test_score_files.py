"""The step `score`: which files it reads, what it writes, and from which files the scores came."""

from pathlib import Path

import pytest

from slingshot.analysis.score_files import ScoreFiles, score
from slingshot.artifacts.metrics import read_metrics
from slingshot.config.reporting import Statistics
from slingshot.config.specs import ScoreSpec
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.core.hashing import digest_of_file
from tests import results_tree

ARM = "slm/qwen3b"
SPEC = ScoreSpec(
    arm=ARM,
    model_type="SLM",
    model_name="Qwen2.5-3B-Instruct",
    model_size="3B",
    training_status="finetuned",
    labels="icd10cm",
    level="code",
    statistics=Statistics(resamples=100),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ScoreFiles:
    results = tmp_path_factory.mktemp("scored") / "results"
    results_tree.build(results, samples=40)
    return ScoreFiles(
        predictions=results / ARM / "predictions.jsonl",
        test=results / "data/test.parquet",
        labels=results / "data/labels.json",
        training=results / ARM / "training.json",
        metrics=results / ARM / "metrics.json",
    )


def test_the_arms_scores_are_written_with_the_digests_of_what_they_come_from(
    files: ScoreFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    score(SPEC, files)
    metrics = read_metrics(files.metrics)
    assert metrics.provenance["predictions"] == digest_of_file(files.predictions)
    assert metrics.provenance["test"] == digest_of_file(files.test)
    assert "simple" in metrics.provenance["code_set"]
    found = metrics.answers["free"].exact_match
    assert found.n == 40
    assert 0.4 < found.value < 0.95
    training = read_json(files.training) if files.training else None
    assert training is not None and metrics.training_metrics is not None
    assert metrics.training_metrics["best_step"] == training["best_step"]


def test_answers_to_another_split_are_refused(files: ScoreFiles, tmp_path: Path) -> None:
    cut = tmp_path / "predictions.jsonl"
    cut.write_text("".join(files.predictions.read_text(encoding="utf-8").splitlines(keepends=True)[1:]))
    with pytest.raises(StudyError, match="its predictions are not of this test split"):
        score(SPEC, ScoreFiles(cut, files.test, files.labels, None, tmp_path / "metrics.json"))
    assert not (tmp_path / "metrics.json").exists()
