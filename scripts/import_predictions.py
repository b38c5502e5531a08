"""Read answers of another system, or of a second human coder, as an arm's predictions."""

from __future__ import annotations

from pathlib import Path

from slingshot.config.specs import ImportPredictionsSpec, parse_spec
from slingshot.rivals.imported import import_file
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    cli.add_spec(parser, "ImportPredictionsSpec")
    parser.add_argument("--study", type=Path, required=True, help="the study's folder, which the file lies in")
    parser.add_argument("--test", type=Path, required=True, help="results/data/test.parquet")
    parser.add_argument("--labels", type=Path, required=True, help="results/data/labels.json")
    parser.add_argument("--predictions", type=Path, required=True, help="write the answers here")
    given = vars(parser.parse_args())
    import_file(parse_spec(ImportPredictionsSpec, given.pop("spec")), **given)


if __name__ == "__main__":
    cli.run(main)
