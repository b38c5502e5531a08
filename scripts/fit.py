"""Fit an arm that writes nothing (TF-IDF, an embedding, an encoder), and keep its pipeline in files."""

from __future__ import annotations

from pathlib import Path

from slingshot.config.specs import FitSpec, parse_spec
from slingshot.rivals.fitting import FitFiles, fit
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    cli.add_spec(parser, "FitSpec")
    parser.add_argument("--arm", required=True, help="the arm's path, e.g. embedding/minilm")
    parser.add_argument("--model", type=Path, nargs="?", help="results/models/MODEL.json of an arm with a network")
    for name, text in (
        ("train", "results/data/train.parquet"),
        ("validation", "results/data/validation.parquet"),
        ("labels", "results/data/labels.json"),
        ("fitted", "folder for the pipeline, written"),
        ("training", "summary to write, JSON"),
        ("log", "training's log to write, JSON Lines; empty where a rival has none"),
        ("record", "the step's record to write, JSON"),
        ("checkpoints", "folder that a run which was killed goes on from"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=text)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    given = vars(parser.parse_args())
    spec, arm, device = (given.pop(name) for name in ("spec", "arm", "device"))
    fit(parse_spec(FitSpec, spec), arm, FitFiles(**given), device)


if __name__ == "__main__":
    cli.run(main)
