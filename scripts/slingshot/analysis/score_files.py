"""The step `score`: an arm's files read, scored, and its metrics written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slingshot.analysis.scoring import score_arm
from slingshot.analysis.set_scoring import score_sets
from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.metrics import Score, write_metrics
from slingshot.artifacts.predictions import read_predictions
from slingshot.artifacts.splits import read_split
from slingshot.artifacts.training import read_training
from slingshot.config.specs import ScoreSpec
from slingshot.core.hashing import digest_of_file
from slingshot.core.terminal import say
from slingshot.data.code_trees import tree_of


@dataclass(frozen=True)
class ScoreFiles:
    """What is read, and `metrics`, which is written; `training` is there for finetuned arms alone."""

    predictions: Path
    test: Path
    labels: Path
    training: Path | None
    metrics: Path


def score(spec: ScoreSpec, files: ScoreFiles) -> None:
    """Write metrics.json of one arm and say its exact match, of sets micro F1, too.

    Raises:
        StudyError: the predictions are not of this split, sample for sample.
    """
    provenance = {"predictions": digest_of_file(files.predictions), "test": digest_of_file(files.test)}
    provenance["spec"] = spec.digest
    if tree := tree_of(spec.labels):
        provenance["code_set"] = tree.code_set_version()
    metrics = (score_sets if spec.several else score_arm)(
        spec,
        read_predictions(files.predictions),
        read_split(files.test),
        read_labels(files.labels),
        read_training(files.training) if files.training else None,
        provenance,
    )
    write_metrics(files.metrics, metrics)
    found = next(iter(metrics.answers.values()))
    if found.sets is not None:
        say(f"micro F1 {_in_words(found.sets.micro.f1, metrics.confidence)}")
    say(f"exact match {_in_words(found.exact_match, metrics.confidence)}")


def _in_words(score: Score, confidence: float) -> str:
    return f"{score.value:.1%} ({confidence:.0%} interval {score.low:.1%} to {score.high:.1%}, n {score.n})"
