"""Score one arm's answers: exact match, every level of the code tree, ranked candidates, each with its interval."""

from __future__ import annotations

from pathlib import Path

from slingshot.analysis.scoring import score_arm
from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.metrics import write_metrics
from slingshot.artifacts.predictions import read_predictions
from slingshot.artifacts.splits import read_split
from slingshot.config.specs import ScoreSpec, parse_spec
from slingshot.core.files import read_json
from slingshot.core.hashing import digest_of_file
from slingshot.core.terminal import say
from slingshot.data.code_trees import tree_of
from slingshot.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__)
    cli.add_spec(parser, "ScoreSpec")
    parser.add_argument("--predictions", type=Path, required=True, help="results/ARM/predictions.jsonl")
    parser.add_argument("--test", type=Path, required=True, help="results/data/test.parquet")
    parser.add_argument("--labels", type=Path, required=True, help="results/data/labels.json")
    parser.add_argument("--training", type=Path, nargs="?", help="results/ARM/training.json of a finetuned arm")
    parser.add_argument("--metrics", type=Path, required=True, help="results/ARM/metrics.json, written")
    given = parser.parse_args()
    spec = parse_spec(ScoreSpec, given.spec)
    provenance = {"predictions": digest_of_file(given.predictions), "test": digest_of_file(given.test)}
    if tree := tree_of(spec.labels):
        provenance["code_set"] = tree.code_set_version()
    metrics = score_arm(
        spec,
        read_predictions(given.predictions),
        read_split(given.test),
        read_labels(given.labels),
        read_json(given.training) if given.training else None,
        provenance,
    )
    write_metrics(given.metrics, metrics)
    match = next(iter(metrics.answers.values())).exact_match
    say(
        f"exact match {match.value:.1%} ({metrics.confidence:.0%} interval {match.low:.1%} to {match.high:.1%}, "
        f"n {match.n})"
    )


if __name__ == "__main__":
    cli.run(main)
