"""CodiEsp as documents with several codes each: prepared by `data.several`, answered by scikit-learn, scored by ours.

One-against-rest logistic regression on TF-IDF of words. Two ways to make a set of the probabilities, both chosen on
validation: one threshold for the best micro F1, and the k likeliest labels. Scores of `analysis/set_scores.py` stand
beside scikit-learn's own. Needs ../shared/data.

    python benchmarks/label_sets.py [--least 10]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier

HOUSE = Path(__file__).resolve().parents[1]
SHARED = HOUSE.parent / "shared" / "data"
sys.path.insert(0, str(HOUSE / "scripts"))

from slingshot.analysis.groups import groups_of  # noqa: E402
from slingshot.analysis.set_scores import indicators, micro_f1_difference, set_scores  # noqa: E402
from slingshot.artifacts.labels import read_labels  # noqa: E402
from slingshot.artifacts.layout import DataFiles  # noqa: E402
from slingshot.artifacts.splits import SPLITS, read_split  # noqa: E402
from slingshot.config.specs import PrepareDataSpec  # noqa: E402
from slingshot.data import icd10  # noqa: E402
from slingshot.data.prepare import prepare  # noqa: E402


def write_documents(path: Path, least: int) -> None:
    """One document per line: its distinct sentences, and its codes that `least` documents or more have."""
    rows = pd.read_csv(SHARED / "codiesp/mentions_es.csv", dtype=str, keep_default_na=False)
    documents = rows.groupby("document")
    count = Counter(code for _, part in documents for code in set(part["ICD10"]))
    with path.open("w", encoding="utf-8") as out:
        for name, part in documents:
            codes = [code for code in dict.fromkeys(part["ICD10"]) if count[code] >= least]
            text = "\n".join(sentence for sentence in dict.fromkeys(part["sentence"]) if sentence)
            out.write(json.dumps({"text": text, "label": codes, "document": name}, ensure_ascii=False) + "\n")


def prepare_documents(least: int) -> tuple[dict[str, Any], dict[str, int]]:
    """The splits of the documents as prepare_data deals them, and each label's train samples; prints what is left."""
    with tempfile.TemporaryDirectory() as folder:
        write_documents(Path(folder) / "documents.jsonl", least)
        data = {"source": {"path": "documents.jsonl"}, "columns": {"group": "document"}, "several": {}}
        spec = PrepareDataSpec.model_validate({"data": data | {"max_dropped_share": 0.2}, "source_digest": None})
        files = DataFiles(Path(folder) / "data")
        report = prepare(spec, Path(folder), files)
        parts = {name: read_split(files.split(name)) for name in SPLITS}
        labels = {label.label: label.train_samples for label in read_labels(files.labels)}
    sizes = {name: f"{split['samples']} documents" for name, split in report["splits"].items()}
    print(f"codes with {least} documents or more: {len(labels)}; {sizes}; {report['dropped']}")
    return parts, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--least", type=int, default=10, help="documents that a code must have; 1: all codes")
    given = parser.parse_args()
    parts, labels = prepare_documents(given.least)
    names = sorted(label for label, count in labels.items() if count)
    vectorizer = TfidfVectorizer(sublinear_tf=True, strip_accents="unicode")
    features = {"train": vectorizer.fit_transform(parts["train"]["text"])}
    features |= {name: vectorizer.transform(parts[name]["text"]) for name in SPLITS[1:]}
    truths = {name: [list(each) for each in part["labels"]] for name, part in parts.items()}
    true = {name: indicators(each, names).toarray().astype(int) for name, each in truths.items()}
    model = OneVsRestClassifier(LogisticRegression(C=10, class_weight="balanced", solver="liblinear"))
    model.fit(features["train"], true["train"])
    chances = {name: model.predict_proba(features[name]) for name in SPLITS[1:]}

    micro = {}
    for threshold in np.linspace(0.05, 0.95, 91):
        predicted = chances["validation"] >= threshold
        micro[threshold] = f1_score(true["validation"], predicted, average="micro", zero_division=0)
    threshold = max(micro, key=lambda each: (micro[each], -each))
    order = {name: np.argsort(-each, axis=1) for name, each in chances.items()}

    def top(name: str, k: int) -> list[list[str]]:
        return [[names[at] for at in row[:k]] for row in order[name]]

    by_k = {k: f1_score(true["validation"], indicators(top("validation", k), names).toarray(), average="micro",
                        zero_division=0) for k in range(1, 21)}  # fmt: skip
    k = max(by_k, key=lambda each: (by_k[each], -each))
    by_threshold = [[names[at] for at in np.flatnonzero(row >= threshold)] for row in chances["test"]]
    rankings, groups = top("test", len(names)), groups_of(parts["test"])
    answers = {f"threshold {threshold:.2f}": by_threshold, f"top {k}": top("test", k)}
    print(
        "way | micro F1 | scikit-learn's | macro F1 of test's labels | examples' F1 | exact | hierarchical F1 | answers"
    )
    print("--- | ---: | ---: | ---: | ---: | ---: | ---: | ---:")
    for way, sets in answers.items():
        found = set_scores(truths["test"], sets, rankings, labels, icd10, groups, 0.95)  # type: ignore[arg-type]
        every = sorted({*names, *(label for each in truths["test"] for label in each)})
        tables = [indicators(each, every).toarray() for each in (truths["test"], sets)]
        theirs = f1_score(*tables, average="micro", zero_division=0)
        shown = [f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]" for score in
                 (found.micro.f1, found.macro.f1, found.examples.f1, found.exact_match)]  # fmt: skip
        tree = found.hierarchical.f1.value if found.hierarchical else 0.0
        print(f"{way} | {shown[0]} | {theirs:.3f} | {shown[1]} | {shown[2]} | {shown[3]} | {tree:.3f} | "
              f"{found.mean_answered:.1f} of {found.mean_labels:.1f}")  # fmt: skip
    at = ", ".join(
        f"P@{each.k} {each.precision.value:.3f} R@{each.k} {each.recall.value:.3f}" for each in found.at_rank
    )
    print(f"ranked: MAP {found.mean_average_precision.value if found.mean_average_precision else 0:.3f}, {at}")
    first, second = answers.values()
    difference = micro_f1_difference(truths["test"], first, second, groups, 0.95)
    print(f"micro F1, threshold minus top k: {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]")


if __name__ == "__main__":
    main()
