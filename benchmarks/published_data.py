"""Data as it is published: TF-IDF as an arm beside independent scikit-learn pipelines on the same rows.

MTS-Dialog with its own three splits and a further test set, and CodiEsp with its documents as groups. MTS-Dialog's
second official test set is not in ../shared/data, so the further set is what its users have: the notes of the same
visits instead of the dialogues; whoever has the file names it under `data.test_sets` likewise.

Two pipelines, neither with a line of slingshot/rivals: scikit-learn's KernelRidge on its own TF-IDF of words and
character n-grams, with the strength that our arm chose (it must give the same answers but for what cleaning changes),
and what one writes first, multinomial logistic regression on words. Both read the published CSV files themselves, with
pandas; for CodiEsp they take from prepare_data which row is of which split. Needs ../shared/data.

    python benchmarks/published_data.py [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import LabelBinarizer

HOUSE = Path(__file__).resolve().parents[1]
SHARED = HOUSE.parent / "shared" / "data"
sys.path.insert(0, str(HOUSE / "scripts"))

from slingshot.artifacts.layout import ArmFiles, DataFiles  # noqa: E402
from slingshot.artifacts.predictions import read_predictions  # noqa: E402
from slingshot.artifacts.splits import SPLITS, read_split  # noqa: E402
from slingshot.config.rivals import TfidfRecipe  # noqa: E402
from slingshot.config.specs import FitSpec, PredictFittedSpec, PrepareDataSpec  # noqa: E402
from slingshot.data.prepare import prepare  # noqa: E402
from slingshot.data.summary import warnings_of  # noqa: E402
from slingshot.report.data_page import write_data_page  # noqa: E402

MTS = {
    "source": {
        "path": {
            "train": "mts-dialog/MTS-Dialog-TrainingSet.csv",
            "validation": "mts-dialog/MTS-Dialog-ValidationSet.csv",
            "test": "mts-dialog/MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv",
        }
    },
    "columns": {"text": "dialogue", "label": "section_header"},
    "labels": "plain",
    "split": {"method": "source"},
    "test_sets": {
        "notes": {
            "source": {"path": "mts-dialog/MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv"},
            "columns": {"text": "section_text", "label": "section_header"},
        }
    },
}
CODIESP = {
    "source": {"path": "codiesp/mentions_es.csv"},
    "columns": {"text": "sentence", "label": "ICD10", "group": "document"},
    "level": "block",
    "max_dropped_share": 0.2,
}


def run(*command: object) -> None:
    subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True)


def our_arm(files: DataFiles, arm: ArmFiles, sets: dict[str, Path]) -> dict[str, list[str | None]]:
    """The answers of the arm baseline/tfidf to each set, by its own programs, in the order of the split."""
    program, name = HOUSE / "scripts", "baseline/tfidf"
    spec = FitSpec(recipe=TfidfRecipe(), seed=42).model_dump_json()
    fitted = arm.pipeline.parent
    run(
        program / "fit.py", "--spec", spec, "--arm", name, "--labels", files.labels, "--train", files.train,
        "--validation", files.validation, "--fitted", fitted, "--training", arm.training,
        "--log", arm.training_log, "--record", arm.record("finetune"), "--checkpoints", arm.checkpoints,
        "--device", "cpu",
    )  # fmt: skip
    answer = PredictFittedSpec(rival="tfidf", candidates=5).model_dump_json()
    found = {}
    for called, split in sets.items():
        out = arm.test_set(called)
        run(
            program / "predict_fitted.py", "--spec", answer, "--arm", name, "--fitted", fitted, "--splits", split,
            "--predictions", out.predictions, "--record", out.record("predict"), "--device", "cpu",
        )  # fmt: skip
        found[called] = [each.code for each in read_predictions(out.predictions)]
    return found


def same_model(train: pd.DataFrame, chosen: dict[str, Any], sets: dict[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """Answers of scikit-learn's kernel ridge regression with the settings that our arm chose."""
    shared = {"sublinear_tf": True, "strip_accents": "unicode", "max_features": 200_000}
    most = 0.5 if len(train) >= 1000 else 1.0
    characters = TfidfVectorizer(**shared, analyzer="char_wb", ngram_range=(2, 5), max_df=most)
    parts = [("words", TfidfVectorizer(**shared))] + ([("characters", characters)] if chosen["characters"] else [])
    labels = LabelBinarizer()
    indicators = labels.fit_transform(train["label"])
    model = make_pipeline(FeatureUnion(parts), KernelRidge(alpha=chosen["penalty"], kernel="linear"))
    model.fit(train["text"], indicators)
    return {name: labels.classes_[model.predict(part["text"]).argmax(axis=1)] for name, part in sets.items()}


def first_model(train: pd.DataFrame, sets: dict[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """Answers of what one writes first: TF-IDF of words and multinomial logistic regression, C of 30."""
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, strip_accents="unicode"), LogisticRegression(C=30, max_iter=1000)
    )
    model.fit(train["text"], train["label"])
    return {name: model.predict(part["text"]) for name, part in sets.items()}


def published(path: str, text: str, label: str) -> pd.DataFrame:
    """A published file's rows, each text with its label once, as prepare_data keeps them."""
    frame = pd.read_csv(SHARED / path, dtype=str, keep_default_na=False).rename(columns={text: "text", label: "label"})
    frame["text"] = frame["text"].str.split().str.join(" ")
    return frame[["text", "label"]].drop_duplicates()


def show(name: str, data: dict[str, Any], out: Path) -> None:
    files, arm = DataFiles(out / name / "data"), ArmFiles(out / name / "baseline/tfidf")
    report = prepare(PrepareDataSpec.model_validate({"data": data, "source_digest": None}), SHARED, files)
    write_data_page(files)
    print(f"## {name}\n{json.dumps(report['rows'])}; lines {json.dumps(report['lines'])}; {files.page}")
    for line in warnings_of(report):
        print(f"- {line}")
    sets = {"test": files.test} | {each: files.test_set(each) for each in report["test_sets"]}
    ours = our_arm(files, arm, sets)
    written = {each: read_split(path)[["text", "label"]] for each, path in sets.items()}
    if name == "MTS-Dialog":
        parts = {split: published(path, "dialogue", "section_header") for split, path in data["source"]["path"].items()}
        parts["notes"] = published(data["source"]["path"]["test"], "section_text", "section_header")
    else:  # which row is of which split is prepare_data's choice; the rest is pandas'
        parts = {split: read_split(files.split(split))[["text", "label"]] for split in SPLITS}
    asked = {each: parts[each] for each in sets}
    chosen = json.loads(arm.training.read_text("utf-8"))
    answers = {
        "kernel ridge": same_model(parts["train"], chosen, asked),
        "logistic": first_model(parts["train"], asked),
    }
    print(f"penalty {chosen['penalty']}, characters {chosen['characters']}")
    print("set | samples | our arm | scikit-learn, same model | scikit-learn, logistic")
    print("--- | ---: | ---: | ---: | ---:")
    for each, truth in written.items():
        right = float(np.mean(np.array(ours[each], dtype=object) == truth["label"].to_numpy()))
        theirs = [float((answers[model][each] == asked[each]["label"]).mean()) for model in answers]
        print(f"{each} | {len(truth)} (theirs: {len(asked[each])}) | {right:.1%} | {theirs[0]:.1%} | {theirs[1]:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="keep the data, the pages and the answers here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = given.out or Path(temporary)
        show("MTS-Dialog", MTS, out)
        show("CodiEsp, sentences to blocks by document", CODIESP, out)


if __name__ == "__main__":
    main()
