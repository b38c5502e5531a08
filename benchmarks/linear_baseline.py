"""The linear baseline on public data: hits, top 5, calibration, likelihood and time; docs/baseline.md's table.

    python benchmarks/linear_baseline.py [--rivals | --long SAMPLES LABELS]

Reads CodiEsp (sentence to code or category, split by document, 70/15/15) and MTS-Dialog (dialogue to section header,
its own splits) from /work/shared/data. `--long` times a fit on made-up dialogues of 800 words instead. `--rivals` sets
scikit-learn's classifiers beside it, each at the penalty that validation chose, on the same rows with McNemar's exact
test: where one of them is significantly better, the baseline is not the strongest.
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
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.svm import LinearSVC

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from slingshot.analysis.significance import discordant, mcnemar_p
from slingshot.rivals import tfidf

DATA = Path("/work/shared/data")
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # scikit-learn's C
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


def at_least(splits: list[Split], samples: int) -> list[Split]:
    """Only the rows of labels whose number of train samples is in a range."""
    names, counts = np.unique(splits[0][1], return_counts=True)
    kept = set(names[counts >= samples].tolist())
    rows = [[(text, label) for text, label in zip(*split, strict=True) if label in kept] for split in splits]
    return [([text for text, _ in part], [label for _, label in part]) for part in rows]


def folds(splits: list[Split], count: int) -> list[list[Split]]:
    """All rows as train, validation and test, each a test row once."""
    rows = [row for split in splits for row in zip(*split, strict=True)]
    part = np.random.default_rng(0).permutation(len(rows)) % count
    found = []
    for test in range(count):
        validation = (test + 1) % count
        chosen = (part != test) & (part != validation), part == validation, part == test
        parts = [[rows[row] for row in np.flatnonzero(which)] for which in chosen]
        found.append([([text for text, _ in each], [label for _, label in each]) for each in parts])
    return found


def rivals(few: bool) -> dict[str, list[Pipeline]]:
    """scikit-learn's classifiers at each penalty; logistic regression where labels are few, as it is slow."""
    words = TfidfVectorizer(sublinear_tf=True, strip_accents="unicode")
    characters = TfidfVectorizer(sublinear_tf=True, strip_accents="unicode", analyzer="char_wb", ngram_range=(2, 5))
    both = make_union(words, characters)
    made = {
        "LinearSVC, words": [make_pipeline(words, LinearSVC(C=penalty)) for penalty in PENALTIES[:4]],
        "LinearSVC, words and characters": [make_pipeline(both, LinearSVC(C=penalty)) for penalty in PENALTIES[:3]],
    }
    if few:
        logistic = [make_pipeline(words, LogisticRegression(C=penalty, max_iter=1000)) for penalty in PENALTIES[2:]]
        made["logistic regression, words"] = logistic
    return made


def beside_rivals(name: str, several: list[list[Split]], few: bool = False) -> None:
    """Ours and each rival over the test rows of all splits together."""
    own: list[np.ndarray] = []
    right: dict[str, list[np.ndarray]] = {}
    for (train, labels), (validation, validation_labels), (test, truths) in several:
        classifier = tfidf.fit(train, labels, validation, validation_labels, 42)
        own.append(np.asarray(classifier.labels)[classifier.probabilities(test).argmax(axis=1)] == np.asarray(truths))
        for rival, candidates in rivals(few).items():
            best, most = None, -1.0
            for candidate in candidates:
                candidate.fit(train, labels)
                hits = float(np.mean(candidate.predict(validation) == np.asarray(validation_labels)))
                if hits > most:
                    best, most = candidate.predict(test), hits
            right.setdefault(rival, []).append(best == np.asarray(truths))
    ours = np.concatenate(own)
    labels_of_train = len(set(several[0][0][1]))
    print(f"{name}: {labels_of_train} labels, n = {len(ours)}, ours {100 * ours.mean():.1f}%", flush=True)
    for rival, parts in right.items():
        other = np.concatenate(parts)
        counts = discordant(ours, other)
        print(f"  {rival} {100 * other.mean():.1f}%: {counts[0]} to {counts[1]} samples, p = {mcnemar_p(*counts):.3g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", nargs=2, type=int, metavar=("SAMPLES", "LABELS"))
    parser.add_argument("--rivals", action="store_true")
    given = parser.parse_args()
    if given.rivals:
        beside_rivals("MTS-Dialog, test 1", [mts_dialog()], few=True)
        beside_rivals("MTS-Dialog, five folds of all", folds(mts_dialog(), 5), few=True)
        beside_rivals("CodiEsp codes of 3 train samples or more", [at_least(codiesp(None, 0), 3)])
        beside_rivals("CodiEsp categories", [codiesp(3, 0)])
        return
    if given.long:
        measure("made-up dialogues of 800 words", invented(*given.long))
        return
    for seed in range(3):
        measure(f"CodiEsp codes, split {seed}", codiesp(None, seed))
        measure(f"CodiEsp categories, split {seed}", codiesp(3, seed))
    measure("MTS-Dialog", mts_dialog())


if __name__ == "__main__":
    main()
