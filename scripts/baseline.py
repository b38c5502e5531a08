"""Answer the test split with TF-IDF and a linear classifier: what a language model has to beat."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.predictions import write_predictions
from slingshot.artifacts.splits import read_split
from slingshot.config.specs import BaselineSpec, parse_spec
from slingshot.data.splitting import stratified_order
from slingshot.rivals import tfidf
from slingshot.runtime import cli

log = logging.getLogger("baseline")
MOST_TRAIN_SAMPLES = 200_000  # more hardly help a bag of words, and all are in memory at once


def main() -> None:
    arguments = cli.parser(__doc__)
    cli.add_spec(arguments, "BaselineSpec")
    for name in ("train", "validation", "test", "labels"):
        arguments.add_argument(f"--{name}", type=Path, required=True, help=f"{name}, as prepare_data wrote it")
    arguments.add_argument("--predictions", type=Path, required=True, help="write the answers here")
    given = arguments.parse_args()
    spec = parse_spec(BaselineSpec, given.spec)
    known = {label.label for label in read_labels(given.labels)}
    train, validation, test = (
        read_split(path, ("sample_id", "text", "label"), known) for path in (given.train, given.validation, given.test)
    )
    if len(train) > MOST_TRAIN_SAMPLES:
        keys = np.array([int(sample, 16) for sample in train["sample_id"]], np.uint64)
        order = stratified_order(keys, np.unique(train["label"], return_inverse=True)[1], spec.seed)
        log.info("train: a stratified sample of %d of %d", MOST_TRAIN_SAMPLES, len(train))
        train = train.iloc[np.sort(order[:MOST_TRAIN_SAMPLES])]
    classifier = tfidf.fit(
        train["text"].tolist(),
        train["label"].tolist(),
        validation["text"].tolist(),
        validation["label"].tolist(),
        spec.seed,
    )
    answers = tfidf.predictions(
        classifier, test["sample_id"].tolist(), test["text"].tolist(), test["label"].tolist(), spec.candidates
    )
    write_predictions(given.predictions, answers)
    right = sum(answer.code == answer.label for answer in answers)
    log.info("test: %d of %d right, penalty %g", right, len(answers), classifier.penalty)


if __name__ == "__main__":
    cli.run(main)
