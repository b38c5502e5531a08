"""Finetune a model with LoRA on a study's train samples, and keep the adapter that does best on validation.

Writes the adapter (in peft's format), training.json, training_log.jsonl and the step's record. A killed run goes on
from its last checkpoint and ends in the same adapter.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from slingshot import cli
from slingshot.config import FinetuneSpec, parse_spec


def main() -> None:
    arguments = cli.parser(__doc__)
    cli.add_spec(arguments, "FinetuneSpec")
    arguments.add_argument("--arm", required=True, help="e.g. slm/qwen3b")
    for name, text in (
        ("model", "the model's card, results/models/MODEL.json"),
        ("labels", "results/data/labels.json"),
        ("train", "results/data/train.parquet"),
        ("validation", "results/data/validation.parquet"),
        ("adapter", "folder for adapter_config.json and adapter_model.safetensors"),
        ("training", "summary to write, JSON"),
        ("log", "a line a step to write, JSON Lines"),
        ("record", "the step's record to write, JSON"),
    ):
        arguments.add_argument(f"--{name}", type=Path, required=True, help=text)
    cli.add_hardware(arguments)
    arguments.add_argument("--gpus", type=int, default=1, help="processes that train data-parallel, a GPU each")
    arguments.add_argument("--tensorboard", type=Path, help="folder for TensorBoard files")
    arguments.add_argument("--checkpoint-steps", type=int, help="also write a checkpoint every so many steps")
    given = arguments.parse_args()
    if given.gpus > 1 and "WORLD_SIZE" not in os.environ:
        launch(given.gpus, given.device)
    spec = parse_spec(FinetuneSpec, given.spec)
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")  # before torch is imported

    from slingshot.finetuning import Job, finetune

    taken = {key: value for key, value in vars(given).items() if key not in ("spec", "gpus")}
    finetune(Job(spec=spec, **taken))


def launch(processes: int, device: str) -> None:
    """Become `accelerate launch` of this very command."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes)]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--cpu"] if device == "cpu" else ["--multi_gpu"]
    os.execv(sys.executable, [*command, *sys.argv])


if __name__ == "__main__":
    cli.run(main)
