"""Score one arm's answers: exact match, every level of the code tree, ranked candidates, each with its interval."""

from __future__ import annotations

from pathlib import Path

from slingshot.analysis.score_files import ScoreFiles, score
from slingshot.config.specs import ScoreSpec, parse_spec
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    cli.add_spec(parser, "ScoreSpec")
    parser.add_argument("--predictions", type=Path, required=True, help="results/ARM/predictions.jsonl")
    parser.add_argument("--test", type=Path, required=True, help="results/data/test.parquet")
    parser.add_argument("--labels", type=Path, required=True, help="results/data/labels.json")
    parser.add_argument("--training", type=Path, nargs="?", help="results/ARM/training.json of a finetuned arm")
    parser.add_argument("--metrics", type=Path, required=True, help="results/ARM/metrics.json, written")
    given = vars(parser.parse_args())
    score(parse_spec(ScoreSpec, given.pop("spec")), ScoreFiles(**given))


if __name__ == "__main__":
    cli.run(main)
