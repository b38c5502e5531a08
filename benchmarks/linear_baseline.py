"""The linear baseline on public data: hits, top 5, calibration, likelihood and time; docs/baseline.md's table.

    python benchmarks/linear_baseline.py [--long SAMPLES LABELS]

Reads CodiEsp (sentence to code or category, split by document, 70/15/15) and MTS-Dialog (dialogue to section header,
its own splits) from /work/shared/data. `--long` times a fit on made-up dialogues of 800 words instead.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from slingshot.rivals import tfidf

DATA = Path("/work/shared/data")
Split = tuple[list[str], list[str]]


def codiesp(characters: int | None, seed: int) -> list[Split]:
    """Sentences and codes, cut to N characters, of documents that stand in one split each."""
    frame = pd.read_csv(DATA / "codiesp/mentions_es.csv").dropna(subset=["sentence", "ICD10"])
    frame["label"] = frame["ICD10"].str[:characters]
    frame = frame.drop_duplicates(["sentence", "label"])
    documents = np.array(sorted(set(frame["document"])))
    np.random.default_rng(seed).shuffle(documents)
    bounds = [0, int(0.7 * len(documents)), int(0.85 * len(documents)), len(documents)]
    parts = [frame[frame["document"].isin(documents[low:high])] for low, high in pairwise(bounds)]
    return [(part["sentence"].tolist(), part["label"].tolist()) for part in parts]


def mts_dialog() -> list[Split]:
    names = ("TrainingSet", "ValidationSet", "TestSet-1-MEDIQA-Chat-2023")
    frames = [pd.read_csv(DATA / f"mts-dialog/MTS-Dialog-{name}.csv").dropna(subset=["dialogue"]) for name in names]
    return [(frame["dialogue"].tolist(), frame["section_header"].tolist()) for frame in frames]


def invented(samples: int, labels: int) -> list[Split]:
    """Dialogues of 800 words that follow Zipf's law, 20 of them of the label's own 30."""
    random = np.random.default_rng(0)
    letters = list("etaoinshrdlucmfw")
    vocabulary = np.array(["".join(random.choice(letters, random.integers(2, 11))) for _ in range(20_000)])
    chance = 1 / (np.arange(len(vocabulary)) + 3)
    own = random.integers(len(vocabulary), size=(labels, 30))

    def drawn(count: int) -> Split:
        truth = random.integers(labels, size=count)
        spoken = random.choice(len(vocabulary), size=(count, 780), p=chance / chance.sum())
        words = np.concatenate([spoken, own[truth][:, random.integers(30, size=20)]], axis=1)
        return [" ".join(vocabulary[row]) for row in words], [f"L{label}" for label in truth]

    return [drawn(samples), drawn(samples // 5), drawn(samples // 5)]


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    bins = np.minimum((10 * confidence).astype(int), 9)
    return sum(abs(float((confidence - right)[bins == one].sum())) for one in range(10)) / len(right)


def measure(name: str, splits: list[Split]) -> None:
    (train, labels), (validation, validation_labels), (test, truths) = splits
    start = time.monotonic()
    classifier = tfidf.fit(train, labels, validation, validation_labels, 42)
    probability = classifier.probabilities(test)
    seconds = time.monotonic() - start
    order = np.argsort(-probability, axis=1)
    names = np.asarray(classifier.labels)
    truth = np.asarray(truths)
    right = names[order[:, 0]] == truth
    top_5 = np.mean((names[order[:, :5]] == truth[:, None]).any(axis=1))
    place = {label: column for column, label in enumerate(names)}
    seen = [(row, place[label]) for row, label in enumerate(truths) if label in place]
    likelihood = -np.mean([np.log(max(probability[row, column], 1e-12)) for row, column in seen])
    error = calibration_error(probability.max(axis=1), right)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{name}: {len(train)} train, {len(names)} labels, n = {len(test)}: {100 * right.mean():.1f}% right, "
        f"top 5 {100 * top_5:.1f}%, ECE {error:.3f}, {likelihood:.2f} nats, {seconds:.0f} s, {memory:.1f} GB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", nargs=2, type=int, metavar=("SAMPLES", "LABELS"))
    given = parser.parse_args()
    if given.long:
        measure("made-up dialogues of 800 words", invented(*given.long))
        return
    for seed in range(3):
        measure(f"CodiEsp codes, split {seed}", codiesp(None, seed))
        measure(f"CodiEsp categories, split {seed}", codiesp(3, seed))
    measure("MTS-Dialog", mts_dialog())


if __name__ == "__main__":
    main()
