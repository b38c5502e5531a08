"""Answer one split or several with the pipeline that fit.py kept."""

from __future__ import annotations

from pathlib import Path

from slingshot.config.specs import PredictFittedSpec, parse_spec
from slingshot.rivals.fitting import predict_splits
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    cli.add_spec(parser, "PredictFittedSpec")
    parser.add_argument("--arm", required=True, help="the arm's path, e.g. embedding/minilm")
    parser.add_argument("--fitted", type=Path, required=True, help="folder of the pipeline, as fit.py wrote it")
    parser.add_argument(
        "--splits", type=Path, nargs="+", required=True, help="the samples to answer, as prepare_data wrote them"
    )
    parser.add_argument("--predictions", type=Path, nargs="+", required=True, help="each split's answers, written")
    parser.add_argument("--record", type=Path, required=True, help="results/ARM/predict.json, written")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    given = vars(parser.parse_args())
    if len(given["splits"]) != len(given["predictions"]):
        parser.error("--splits and --predictions need as many files")
    predict_splits(parse_spec(PredictFittedSpec, given.pop("spec")), **given)


if __name__ == "__main__":
    cli.run(main)
