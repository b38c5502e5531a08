"""Data as it is published: TF-IDF as an arm beside an independent scikit-learn pipeline on the same rows.

MTS-Dialog with its own three splits and a further test set (the notes of the same visits instead of the dialogues),
and CodiEsp with its documents as groups. The pipeline reads the published CSV files itself, with pandas; for CodiEsp it
takes from prepare_data which row is of which split. Needs ../shared/data.

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

import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

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


def our_arm(files: DataFiles, arm: ArmFiles, sets: dict[str, Path]) -> dict[str, float]:
    """Accuracy of the arm baseline/tfidf on each set, by its own programs."""
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
            program / "predict_fitted.py", "--spec", answer, "--arm", name, "--fitted", fitted, "--split", split,
            "--predictions", out.predictions, "--record", out.record("predict"), "--device", "cpu",
        )  # fmt: skip
        answers = read_predictions(out.predictions)
        found[called] = sum(each.code == each.label for each in answers) / len(answers)
    return found


def independent(train: pd.DataFrame, sets: dict[str, pd.DataFrame]) -> dict[str, float]:
    """Accuracy of scikit-learn's own pipeline: TF-IDF and multinomial logistic regression, C of 30."""
    pipeline = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, strip_accents="unicode"), LogisticRegression(C=30, max_iter=1000)
    )
    pipeline.fit(train["text"], train["label"])
    return {name: float((pipeline.predict(part["text"]) == part["label"]).mean()) for name, part in sets.items()}


def published(path: str, text: str, label: str) -> pd.DataFrame:
    frame = pd.read_csv(SHARED / path, dtype=str, keep_default_na=False)
    return frame.rename(columns={text: "text", label: "label"})[["text", "label"]]


def show(name: str, data: dict[str, Any], out: Path) -> None:
    files = DataFiles(out / name / "data")
    report = prepare(PrepareDataSpec.model_validate({"data": data, "source_digest": None}), SHARED, files)
    write_data_page(files)
    print(f"## {name}\n{json.dumps(report['rows'])}; {files.page}")
    for line in warnings_of(report):
        print(f"- {line}")
    sets = {"test": files.test} | {each: files.test_set(each) for each in report["test_sets"]}
    ours = our_arm(files, ArmFiles(out / name / "baseline/tfidf"), sets)
    if name == "MTS-Dialog":
        parts = {split: published(path, "dialogue", "section_header") for split, path in data["source"]["path"].items()}
        parts["notes"] = published(data["source"]["path"]["test"], "section_text", "section_header")
    else:  # which row is of which split is prepare_data's choice; the rest is pandas'
        frames = {split: read_split(files.split(split)) for split in SPLITS}
        parts = {split: frame[["text", "label"]] for split, frame in frames.items()}
    theirs = independent(parts["train"], {each: parts[each] for each in sets})
    print("set | samples | our arm | scikit-learn's pipeline\n--- | ---: | ---: | ---:")
    for each, path in sets.items():
        rows = len(read_split(path))
        print(f"{each} | {rows} (theirs: {len(parts[each])}) | {ours[each]:.1%} | {theirs[each]:.1%}")


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
