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
    from slingshot.nn.adapter_files import is_plain_lora, merge_adapter, read_adapter
    from slingshot.nn.class_head import labels_in

    if not is_plain_lora(given.adapter):
        raise StudyError(f"--adapter {given.adapter} is no plain LoRA adapter: merge it with peft")
    if labels_in(read_adapter(given.adapter)[1]) is not None:
        raise StudyError(
            f"--adapter {given.adapter} chooses labels with a head and writes nothing: it cannot be merged"
        )
    card = read_model_card(given.model)
    model = load_model(card, "none", given.dtype, "cpu")
    merge_adapter(model, given.adapter)
    partial = given.merged.with_name(f".{given.merged.name}.part")
    model.save_pretrained(partial)
    load_tokenizer(card).save_pretrained(partial)
    partial.rename(given.merged)


if __name__ == "__main__":
    cli.run(main)
