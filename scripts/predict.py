"""Let one arm answer every sample of a split.

Answers that the cache holds are not computed again; what a killed run had finished is kept.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from slingshot.config.specs import PredictSpec, parse_spec
from slingshot.generation.predict import PredictJob, predict
from slingshot.runtime import cli
from slingshot.runtime.spread import predict_on_gpus


def main() -> None:
    given = vars(parse_arguments())
    gpus = given.pop("gpus")
    job = PredictJob(**given | {"spec": parse_spec(PredictSpec, given["spec"])})
    if gpus > 1:
        predict_on_gpus(job, gpus)
    else:
        predict(job)


def parse_arguments() -> Namespace:
    parser = cli.make_parser(__doc__)
    cli.add_spec(parser, "PredictSpec")
    parser.add_argument("--arm", required=True, help="e.g. slm/qwen3b")
    parser.add_argument("--model", required=True, type=Path, help="the model's card, results/models/MODEL.json")
    parser.add_argument("--adapter", type=Path, help="folder of a LoRA adapter; without it the model is untrained")
    cli.add_answering_files(parser)
    parser.add_argument(
        "--shard",
        type=cli.parse_share,
        default=(1, 1),
        help="K/N: only every N-th sample, from the K-th on (gather.py)",
    )
    parser.add_argument("--gpus", type=int, default=1, help="processes that share the samples, a GPU each")
    parser.add_argument("--force", action="store_true", help="compute every answer again (also SLINGSHOT_FORCE=1)")
    cli.add_hardware(parser)
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
