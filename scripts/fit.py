"""Fit an arm that writes nothing (TF-IDF, an embedding, an encoder), and keep its pipeline in files."""

from __future__ import annotations

from pathlib import Path

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.model_card import read_model_card
from slingshot.artifacts.splits import read_split
from slingshot.config.specs import FitSpec, parse_spec
from slingshot.rivals.fitting import fit
from slingshot.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__)
    cli.add_spec(parser, "FitSpec")
    parser.add_argument("--arm", required=True, help="the arm's path, e.g. embedding/minilm")
    parser.add_argument("--model", type=Path, nargs="?", help="results/models/MODEL.json of an arm with a network")
    for name in ("train", "validation", "labels"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"{name}, as prepare_data wrote it")
    parser.add_argument("--fitted", type=Path, required=True, help="folder for the pipeline, written")
    parser.add_argument("--training", type=Path, required=True, help="results/ARM/training.json, written")
    parser.add_argument("--record", type=Path, required=True, help="results/ARM/finetune.json, written")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    given = parser.parse_args()
    spec = parse_spec(FitSpec, given.spec)
    known = {label.label for label in read_labels(given.labels)}
    columns = ("sample_id", "text", "label")
    train, validation = (read_split(path, columns, known) for path in (given.train, given.validation))
    card = read_model_card(given.model) if given.model else None
    fit(spec, given.arm, train, validation, card, given.device, given.fitted, given.training).write(given.record)


if __name__ == "__main__":
    cli.run(main)
