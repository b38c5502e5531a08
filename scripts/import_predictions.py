"""Read answers of another system, or of a second human coder, as an arm's predictions."""

from __future__ import annotations

from pathlib import Path

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.predictions import write_predictions
from slingshot.artifacts.splits import read_split
from slingshot.config.specs import ImportPredictionsSpec, parse_spec
from slingshot.rivals.imported import import_predictions
from slingshot.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__)
    cli.add_spec(parser, "ImportPredictionsSpec")
    parser.add_argument("--study", type=Path, required=True, help="the study's folder, which the file lies in")
    parser.add_argument("--test", type=Path, required=True, help="results/data/test.parquet")
    parser.add_argument("--labels", type=Path, required=True, help="results/data/labels.json")
    parser.add_argument("--predictions", type=Path, required=True, help="write the answers here")
    given = parser.parse_args()
    spec = parse_spec(ImportPredictionsSpec, given.spec)
    test = read_split(given.test, ("sample_id", "text", "label"))
    labels = [label.label for label in read_labels(given.labels)]
    write_predictions(given.predictions, import_predictions(spec, given.study, test, labels))


if __name__ == "__main__":
    cli.run(main)
