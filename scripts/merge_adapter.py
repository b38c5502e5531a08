"""Merge a finetuned adapter into its base model: a folder that transformers loads without peft.

The sum is made in float32 and stored in the model's own type.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.deployment.merge import write_merged_model
from slingshot.runtime import cli


def main() -> None:
    arguments = cli.make_parser(__doc__)
    arguments.add_argument("--model", type=Path, required=True, help="the model's card, results/models/MODEL.json")
    arguments.add_argument("--adapter", type=Path, required=True, help="results/ARM/adapter")
    arguments.add_argument("--merged", type=Path, required=True, help="folder to write; it must not exist yet")
    arguments.add_argument(
        "--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16", help="as in the study"
    )
    write_merged_model(**vars(arguments.parse_args()))


if __name__ == "__main__":
    cli.run(main)
