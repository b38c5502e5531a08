"""Finetune a model with LoRA on a study's train samples, and keep the adapter that does best on validation.

Writes the adapter (in peft's format), training.json, training_log.jsonl and the step's record. A killed run goes on
from its last checkpoint and ends in the same adapter.
"""

from __future__ import annotations

import os
from pathlib import Path

from slingshot.artifacts.records import timed
from slingshot.config.specs import FinetuneSpec, parse_spec
from slingshot.models.lean_imports import prepare_imports
from slingshot.runtime import cli
from slingshot.runtime.torchrun import become_torchrun


def main() -> None:
    arguments = cli.make_parser(__doc__)
    cli.add_spec(arguments, "FinetuneSpec")
    arguments.add_argument("--arm", required=True, help="e.g. slm/qwen3b")
    for name, text in (
        ("model", "the model's card, results/models/MODEL.json"),
        ("labels", "results/data/labels.json"),
        ("train", "results/data/train.parquet"),
        ("validation", "results/data/validation.parquet"),
        ("adapter", "folder for adapter_config.json and adapter_model.safetensors"),
        ("training", "summary to write, JSON"),
        ("log", "one line per step to write, JSON Lines"),
        ("record", "the step's record to write, JSON"),
    ):
        arguments.add_argument(f"--{name}", type=Path, required=True, help=text)
    cli.add_hardware(arguments)
    arguments.add_argument("--gpus", type=int, default=1, help="processes that train data-parallel, a GPU each")
    arguments.add_argument("--tensorboard", type=Path, help="folder for TensorBoard files")
    arguments.add_argument("--checkpoint-minutes", type=float, default=10, help="time between checkpoints (10)")
    arguments.add_argument("--checkpoint-steps", type=int, help="also write a checkpoint every N steps")
    given = arguments.parse_args()
    if given.gpus > 1 and "WORLD_SIZE" not in os.environ:
        become_torchrun(given.gpus)
    spec = parse_spec(FinetuneSpec, given.spec)
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")  # before torch is imported

    seconds: dict[str, float] = {}
    with timed(seconds, "imports"):
        prepare_imports(alone="WORLD_SIZE" not in os.environ)
        from slingshot.training.finetune import finetune
        from slingshot.training.state import FinetuneJob

    taken = {key: value for key, value in vars(given).items() if key not in ("spec", "gpus")}
    finetune(FinetuneJob(spec=spec, **taken), seconds)


if __name__ == "__main__":
    cli.run(main)
