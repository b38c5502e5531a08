"""Merge a finetuned adapter into its base model: a folder that transformers loads without peft.

The sum is made in float32 and stored in the model's own type.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.core.errors import StudyError
from slingshot.runtime import cli


def main() -> None:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--model", type=Path, required=True, help="the model's card, results/models/MODEL.json")
    arguments.add_argument("--adapter", type=Path, required=True, help="results/ARM/adapter")
    arguments.add_argument("--merged", type=Path, required=True, help="folder to write; it must not exist yet")
    arguments.add_argument(
        "--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16", help="as in the study"
    )
    given = arguments.parse_args()
    if given.merged.exists():
        raise StudyError(f"--merged {given.merged} exists already: name a new folder")

    from slingshot.artifacts.model_card import read_model_card
    from slingshot.models.loading import load_model, load_tokenizer
    from slingshot.nn.adapter_files import merged_weight, read_adapter

    card = read_model_card(given.model)
    model = load_model(card, "none", given.dtype, "cpu")
    config, state = read_adapter(given.adapter)
    scale = config["lora_alpha"] / config["r"]
    for name in sorted({key.rsplit(".", 2)[0] for key in state}):
        module = model.get_submodule(name.removeprefix("base_model.model."))
        module.weight.data = merged_weight(
            module.weight.data, state[f"{name}.lora_A.weight"], state[f"{name}.lora_B.weight"], scale
        )
    partial = given.merged.with_name(f".{given.merged.name}.part")
    model.save_pretrained(partial)
    load_tokenizer(card).save_pretrained(partial)
    partial.rename(given.merged)


if __name__ == "__main__":
    cli.run(main)
